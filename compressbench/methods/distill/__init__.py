"""TinyBERT's task distillation: a small BERT learns a fine-tuned one's layers, then its answers."""

from compressbench.methods.distill.method import Distill

__all__ = ["Distill"]

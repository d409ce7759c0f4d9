"""TinyBERT distillation."""

"""Plain text by the gigabyte: read line by line, packed into rows of one length, never wholly in memory."""

from compressbench.corpus.source import Corpus

__all__ = ["Corpus"]

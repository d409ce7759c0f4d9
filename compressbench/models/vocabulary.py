"""Pieces and their numbers, as a model's folder says."""

from pathlib import Path


def vocabulary_of(folder: Path) -> dict[str, int]:
    """Number by piece, from ``tokenizer.json`` or else ``vocab.txt``; empty where there is neither."""
    if (folder / "tokenizer.json").exists():
        from tokenizers import Tokenizer

        found: dict[str, int] = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
        return found
    if (folder / "vocab.txt").exists():
        return {piece: number for number, piece in enumerate((folder / "vocab.txt").read_text().splitlines())}
    return {}

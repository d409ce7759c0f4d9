"""A tiny masked language model whose vocabulary is the tiny tokenizer's, with words of several pieces beside it."""

import json
from pathlib import Path

from tests.conftest import BAD_WORDS, FILLERS, GOOD_WORDS, SPECIAL_TOKENS

PLOT_WORDS = ("play", "plot", "actor", "scene", "un", "##kind", "##er", ",", ".")
PIECES = (*SPECIAL_TOKENS, *FILLERS, *GOOD_WORDS, *BAD_WORDS, *PLOT_WORDS)


def make_masked_lm(
    folder: Path, *, has_head: bool = True, positions: int = 64, extra_pieces: int = 0, spread: float = 0.5
) -> Path:
    """Write a random 2x32x2x64 BERT with (or without) its masked-LM head, and a WordPiece tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertForMaskedLM, BertModel

    from compressbench.models.loading import quiet_transformers

    folder.mkdir(parents=True, exist_ok=True)
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=positions, initializer_range=spread,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        (BertForMaskedLM if has_head else BertModel)(config).save_pretrained(folder)
    pieces = (*PIECES, *(f"extra{number}" for number in range(extra_pieces)))
    tokenizer = Tokenizer(models.WordPiece(vocab={piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizerFast"}))
    return folder


def write_vectors(path: Path) -> Path:
    """Four dimensions: `unkind` is near `sour`, then `grim`, then `lovely`; `player` near `actor`."""
    lines = (
        "unkind 1 0 0 0",
        "sour 2 0.1 0 0",
        "grim 1 0.5 0 0",
        "lovely 1 2 0 0",
        "player 0 0 1 0",
        "actor 0 0 3 0.2",
        "scene 0 0 0 1",
    )
    path.write_text("\n".join(lines) + "\n")
    return path

"""A BERT tokenizer for the synthetic suite: BERT's special tokens, the grammar's words, and plain filler to 30,522."""

import json
import string
from itertools import product
from pathlib import Path

from compressbench.tasks.synthetic_words import (
    ADJECTIVES,
    ASPECTS,
    BLAME,
    KINDS,
    MANY_PIECES,
    NOUNS,
    PLACES,
    PRAISE,
    PREPOSITIONS,
    TIMES,
    VERBS,
)

VOCABULARY_SIZE = 30_522
"""As BERT-Base has it, so that the embeddings weigh what they weigh there."""
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FUNCTION_WORDS = (
    "the", "a", "this", "these", "every", "each", "many", "several", "some", "no", "all", "not", "never", "hardly",
    "ever", "has", "have", "will", "was", "by", "and", "but", "although", "overall", "to", "me", "very", "bit",
)  # fmt: skip


def grammar_words() -> list[str]:
    """Every word that a row can hold, sorted."""
    words = {*FUNCTION_WORDS, *KINDS, *KINDS.values(), *PLACES, *PREPOSITIONS, *ASPECTS, *PRAISE, *BLAME, *MANY_PIECES}
    for noun in NOUNS:
        words |= {noun.singular, noun.plural, *(noun.synonym or ())}
    for verb in VERBS:
        words |= {verb.base, verb.third, verb.past, verb.synonym or verb.past}
    for pairs in (ADJECTIVES, TIMES):
        words |= {word for pair in pairs.items() for word in pair if word}
    return sorted(words)


def vocabulary() -> list[str]:
    """All pieces in id order: specials, characters, the grammar's pieces, generated filler."""
    characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = dict.fromkeys((*SPECIALS, *characters, *(f"##{each}" for each in string.ascii_lowercase + string.digits)))
    for word in grammar_words():
        pieces.update(dict.fromkeys(MANY_PIECES.get(word, (word,))))
    for letters in product(string.ascii_lowercase, repeat=4):
        if len(pieces) == VOCABULARY_SIZE:
            break
        pieces.setdefault("zq" + "".join(letters))  # no word of the grammar begins so
    return list(pieces)


def write_tokenizer(to: Path) -> None:
    """Write tokenizer.json, vocab.txt and tokenizer_config.json of the suite's lower-casing WordPiece tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = vocabulary()
    ids = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    to.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(to / "tokenizer.json"))
    (to / "vocab.txt").write_text("\n".join(pieces) + "\n")
    config = {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": True,
        "model_max_length": 512,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    }
    (to / "tokenizer_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

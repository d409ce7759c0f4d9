"""The shape of a BERT-family encoder: read from any config, spelled on the command line, counted."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from compressbench.errors import InvalidParameter


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Layers, widths and vocabulary of an encoder."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int = 30522
    positions: int = 512
    token_types: int = 2
    head_width: int = 0
    """Features of one attention head; 0: ``hidden / heads``, as in every model whose heads were not pruned."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < (0 if name in ("token_types", "head_width") else 1):
                raise InvalidParameter(f"a model cannot have {name}={value}")
        if self.hidden % self.heads and not self.head_width:
            below, above = self.hidden - self.hidden % self.heads, self.hidden + -self.hidden % self.heads
            raise InvalidParameter(
                f"hidden size {self.hidden} is not a multiple of {self.heads} heads: use {below or above} or {above}"
            )

    @property
    def attention_width(self) -> int:
        """Features of all heads of a layer together."""
        return self.heads * self.head_width if self.head_width else self.hidden

    def __str__(self) -> str:
        return f"{self.layers}x{self.hidden}x{self.heads}x{self.intermediate}"


BERT_BASE = Geometry(layers=12, hidden=768, heads=12, intermediate=3072)
STUDENTS = {
    "tinybert4": Geometry(layers=4, hidden=312, heads=12, intermediate=1200),
    "tinybert6": Geometry(layers=6, hidden=768, heads=12, intermediate=3072),
}


def parse_student(text: str) -> Geometry:
    """Read ``tinybert4``, ``tinybert6`` or ``LAYERSxHIDDENxHEADSxFFN``.

    Raises:
        InvalidParameter: If it is neither, or the heads do not divide the hidden size.
    """
    if text in STUDENTS:
        return STUDENTS[text]
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)", text)
    if not match:
        raise InvalidParameter(
            f"student={text} is no geometry: use tinybert4, tinybert6 or LAYERSxHIDDENxHEADSxFFN such as 6x384x12x1536"
        )
    layers, hidden, heads, intermediate = map(int, match.groups())
    return Geometry(layers=layers, hidden=hidden, heads=heads, intermediate=intermediate)


def geometry_of(config: Any) -> Geometry:
    """The geometry of a transformers config of any family whose names optimum knows.

    Raises:
        InvalidParameter: If the family is unknown or the config lacks a size.
    """
    from optimum.utils import NormalizedConfigManager

    try:
        normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
        return Geometry(
            layers=normalized.num_layers,
            hidden=normalized.hidden_size,
            heads=normalized.num_attention_heads,
            # optimum's text configs do not name the FFN width; DistilBERT calls it hidden_dim.
            intermediate=getattr(config, "intermediate_size", None) or config.hidden_dim,
            vocab=normalized.vocab_size,
            positions=config.max_position_embeddings,
            token_types=getattr(config, "type_vocab_size", 0) or 0,
        )
    except (KeyError, AttributeError) as error:
        raise InvalidParameter(f"a model of type {config.model_type!r} has no BERT-family geometry ({error})") from None


def encoder_flops(geometry: Geometry, *, batch: int = 1, tokens: int = 128) -> int:
    """2 x multiply-adds of the encoder's matrix products for one forward pass (embeddings cost none).

    Per layer: four projections between hidden and attention width, two FFN products, and the two attention
    products, which grow with the square of the length. Pooler and classifier add less than 0.1 % and are left out.
    """
    attention = geometry.attention_width
    per_token = 4 * geometry.hidden * attention + 2 * geometry.hidden * geometry.intermediate + 2 * tokens * attention
    return 2 * geometry.layers * batch * tokens * per_token

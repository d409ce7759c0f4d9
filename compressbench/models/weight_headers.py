"""Whether weights and tokenizer belong to the config beside them, told from headers and without loading a tensor."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from compressbench.errors import BadInput
from compressbench.models.geometry import Geometry

PICKLED_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt"})
_LAYER = re.compile(r"(?:^|\.)layer\.(\d+)\.")


def check_weights(folder: Path, shapes: Mapping[str, tuple[int, ...]], geometry: Geometry) -> None:
    """Refuse weights of another number of layers or another vocabulary than config.json tells of.

    transformers would draw the layers that are missing and drop those that are too many, without a word.

    Args:
        folder: Whose weights and config they are.
        shapes: Of the weights, by name.
        geometry: What config.json tells of.

    Raises:
        BadInput: If they differ.
    """
    layers = {int(found[1]) for name in shapes if (found := _LAYER.search(name))}
    pieces = {shape[0] for name, shape in shapes.items() if name.endswith("word_embeddings.weight")}
    for what, held, told in (
        ("layers", len(layers), geometry.layers),
        ("pieces of vocabulary", max(pieces, default=0), geometry.vocab),
    ):
        if held and held != told:  # weights that go by other names are told when they are loaded
            raise BadInput(
                f"{folder}: config.json tells of {told} {what} and the weights hold {held}: copy both from one model"
            )


def check_tokenizer(folder: Path, geometry: Geometry) -> None:
    """Refuse a tokenizer that numbers pieces beyond the rows of the model's embedding.

    Raises:
        BadInput: If it does, or tokenizer.json is damaged.
    """
    highest = _highest_piece(folder)
    if highest is not None and highest >= geometry.vocab:
        raise BadInput(
            f"{folder}: its tokenizer numbers pieces up to {highest} and the model knows those below {geometry.vocab}: "
            "copy the tokenizer that belongs to the model"
        )


def _highest_piece(folder: Path) -> int | None:
    """The largest number that a piece has in tokenizer.json or else vocab.txt; None where there is neither."""
    path = folder / "tokenizer.json"
    if not path.exists():
        plain = folder / "vocab.txt"
        return len(plain.read_bytes().splitlines()) - 1 if plain.exists() else None
    try:
        values = json.loads(path.read_bytes())
        vocabulary = values["model"]["vocab"]
        numbers = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        return int(max([*numbers, *(each["id"] for each in values.get("added_tokens", []))]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged or no tokenizer ({error!r}): copy or download it again") from None


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in a folder's safetensors files, from their headers alone.

    Raises:
        BadInput: If there is no such file, it is none, or it is cut short.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED_SUFFIXES)
        if pickled:
            raise BadInput(
                f"{folder} holds only pickled weights ({', '.join(pickled)}), which can run code when opened: "
                "if you trust them, convert them once with transformers' from_pretrained and save_pretrained"
            )
        raise BadInput(f"{folder} holds no weights: a file model.safetensors is missing")
    return {name: shape for path in files for name, shape in _header_shapes(path).items()}


def _header_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The header of one safetensors file: eight bytes of length, JSON, then the data it points into."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
        header = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        if end > path.stat().st_size:
            raise ValueError(f"{end} bytes expected, {path.stat().st_size} found")
        return {name: tuple(tensor["shape"]) for name, tensor in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is damaged or no safetensors file ({error}): copy or download it again") from None

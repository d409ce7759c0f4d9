"""A data set on the hub as a corpus: its text column, streamed and never stored."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressbench.artifacts.store import home
from compressbench.errors import BadInput, listed

HUB_NAME = re.compile(r"[\w][\w.-]*(/[\w.-]+){0,2}")
TEXT_COLUMN = "text"
_REVISIONS: dict[str, str] = {}
"""Asked of the hub once a process."""


def looks_like_hub_name(text: str) -> bool:
    """Whether `text` may be NAME, OWNER/NAME or OWNER/NAME/CONFIG rather than a path that is missing."""
    return bool(HUB_NAME.fullmatch(text)) and Path(text).suffix not in (".txt", ".gz", ".text")


def hub_revision(name: str, *, offline: bool = False) -> str:
    """The commit that the hub has now, or, without a network, had when the data set was last used.

    Raises:
        BadInput: If the hub has no such data set, or cannot be reached and it was never used before.
    """
    if name not in _REVISIONS:
        from compressbench.models.hub import connection_problem

        problem = "--offline was given" if offline else connection_problem()
        _REVISIONS[name] = _remembered(name, problem) if problem else _asked(name)
    return _REVISIONS[name]


def remember_revision(name: str) -> None:
    """Keep the commit, so that what was made from it is found again without a network."""
    place = _place(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"name": name, "revision": hub_revision(name)}))


def hub_lines(name: str) -> Iterator[str]:
    """Lines of every row's text; ``""`` after each row, which is a document.

    Raises:
        BadInput: If no column holds text, or the hub stops answering.
    """
    import datasets

    repository, config = _repository_and_config(name)
    try:
        rows = datasets.load_dataset(repository, config, split="train", streaming=True, revision=hub_revision(name))
        column = _text_column(name, rows)
        for row in rows:
            yield from (line.strip() for line in row[column].splitlines() if line.strip())
            yield ""
    except BadInput:
        raise
    except Exception as error:  # the client raises a dozen kinds, and the mend is one
        told = next(iter(str(error).splitlines()), type(error).__name__)[:160]
        raise BadInput(f"corpus={name} cannot be read from the hub ({told}): give a local text file") from error


def _text_column(name: str, rows: Any) -> str:
    columns = rows.features or {}
    texts = [each for each, feature in columns.items() if getattr(feature, "dtype", "") in ("string", "large_string")]
    if TEXT_COLUMN in texts:
        return TEXT_COLUMN
    if len(texts) != 1:
        held = f"its text columns are {listed(texts, last='and')}" if texts else "no column holds text"
        raise BadInput(f"corpus={name} has no column {TEXT_COLUMN!r}, and {held}: give a local text file")
    return str(texts[0])


def _asked(name: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return str(HfApi().dataset_info(_repository_and_config(name)[0]).sha)
    except (HfHubHTTPError, HFValidationError):
        raise BadInput(
            f"corpus={name} is neither a file nor a folder here, nor a public data set on the hub: check the spelling"
        ) from None


def _remembered(name: str, problem: str) -> str:
    try:
        return str(json.loads(_place(name).read_text())["revision"])
    except (OSError, ValueError, KeyError):
        raise BadInput(
            f"corpus={name} is neither a file nor a folder here, and {problem}, so the hub cannot be asked: "
            "give a text file or a folder of them"
        ) from None


def _repository_and_config(name: str) -> tuple[str, str | None]:
    owner, *rest = name.split("/")
    if not rest:
        return owner, None
    return f"{owner}/{rest[0]}", rest[1] if len(rest) > 1 else None


def _place(name: str) -> Path:
    return home() / "fingerprints" / f"hub-{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"

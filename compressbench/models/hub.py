"""Models fetched from the hub by name: config, tokenizer and safetensors only."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from compressbench.errors import BadInput

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
CONNECT_TIMEOUT_S = 10.0
FETCHED = (
    "config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "*.model",
)  # fmt: skip


def fetch_model(name: str, *, offline: bool, also: Sequence[str] = ()) -> Path:
    """The local snapshot of a hub model, fetched where it is not cached; its folder is named by the commit.

    Args:
        name: ``owner/name``, or ``name`` alone.
        offline: Whether only the local cache may be read.
        also: Files to fetch beside config, tokenizer and safetensors, such as one ONNX file.

    Raises:
        BadInput: If `name` cannot be one, the hub has no such model, or it cannot be reached.
    """
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise BadInput(f"the model folder {name} does not exist")
    if Path(name).exists():
        raise BadInput(f"{name} is a file: give the folder that holds config.json and model.safetensors")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    # Of whichever HTTP library this version of the client uses: its base error, for broken connections.
    from huggingface_hub.errors import HTTPError as ConnectionFailed  # type: ignore[attr-defined]
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    problem = "--offline was given" if offline else connection_problem()
    disable_progress_bars()
    try:
        return Path(snapshot_download(name, allow_patterns=[*FETCHED, *also], local_files_only=problem is not None))
    except (RepositoryNotFoundError, HFValidationError):
        raise BadInput(f"{name} is neither a folder nor a public model on the hub: check the spelling") from None
    except (ConnectionFailed, HfHubHTTPError, OSError) as error:
        reason = problem or f"the hub answers {first_line(error)}"
        raise BadInput(
            f"{name} is not a folder, it is not in the hub's local cache and {reason}: "
            "give a local model folder, or run once with network"
        ) from None
    finally:
        enable_progress_bars()


@cache
def connection_problem() -> str | None:
    """Why the hub cannot be reached; asked once, because its client tries for half a minute before it gives up."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HTTPError as ConnectionFailed  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids it"
    try:
        get_session().head(constants.ENDPOINT, timeout=CONNECT_TIMEOUT_S)
    except (ConnectionFailed, OSError) as error:
        return f"{constants.ENDPOINT} cannot be reached ({first_line(error)})"
    return None


def first_line(error: Exception) -> str:
    """Kind and first line of an error of another library, for one sentence of ours."""
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text[:160]}".removesuffix(": ")

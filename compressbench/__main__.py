"""``python -m compressbench`` and the console script: calls the command line, turns errors into exit codes."""

import errno
import os
import sys
from collections.abc import Sequence

LEFT_OUT_OF_LIGHT = frozenset({
    "torch", "transformers", "datasets", "optimum", "evaluate", "sklearn", "pandas", "pyarrow", "scipy", "onnxscript",
    "safetensors",
})  # fmt: skip
"""Libraries of the full installation that requirements-gate.txt does not name."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What a disk that takes no more says, without the name of the file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code of the contract."""
    import click

    from compressbench.cli.commands import cli
    from compressbench.errors import CompressbenchError

    # Forked tokenizer threads warn at length; nothing here forks while they run.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return int(cli.main(args=argv, prog_name="compressbench", standalone_mode=False) or 0)
    except CompressbenchError as error:
        print(f"compressbench: {error}", file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        print(f"compressbench: {error.format_message()}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (missing := str(error.name).split(".")[0]) not in LEFT_OUT_OF_LIGHT:
            raise
        print(
            f"compressbench: this needs {missing}, which the light installation leaves out: install all of it by "
            "`pip install .`, or give an ONNX artifact",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        where = "the disk" if error.filename is None else error.filename2 or error.filename
        told = f"{where} cannot be read or written ({error.strerror}): see to that, and give the command again"
        print(f"compressbench: {told}", file=sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        print("compressbench: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

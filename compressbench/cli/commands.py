"""The command group; each command's module loads when that command is called."""

from importlib import import_module
from typing import Any

import click

from compressbench import __version__

COMMANDS = {
    "run": ("compressbench.cli.run", "Make and measure artifacts, and compare them with BERT-Base."),
    "compress": ("compressbench.cli.compress", "Make one artifact and measure nothing."),
    "measure": ("compressbench.cli.measure", "Measure models, whoever made them."),
    "predict": ("compressbench.cli.predict", "Write predictions (a submission file for GLUE tasks)."),
    "augment": ("compressbench.cli.augment", "Write a task's training rows with copies in which words are replaced."),
    "report": ("compressbench.cli.report", "Write the tables of finished runs again, in other formats too."),
    "compare": ("compressbench.cli.report", "Compare two runs, row by row."),
    "recommend": ("compressbench.cli.recommend", "Choose an artifact of a run under limits, and say why."),
    "gate": ("compressbench.cli.gate", "Pass or fail against a baseline."),
    "methods": ("compressbench.cli.listing", "What methods there are, with parameters and defaults."),
    "tasks": ("compressbench.cli.listing", "What tasks there are."),
    "doctor": ("compressbench.cli.doctor", "This machine: cores, INT8 and bf16 kernels, noise."),
    "cache": ("compressbench.cli.cache", "Artifacts in the store: list, verify, clear."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and loads a command's module only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        from compressbench.errors import UnknownName

        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:
                return None
            raise UnknownName("command", cmd_name, COMMANDS)
        module = import_module(COMMANDS[cmd_name][0])
        command: Any = getattr(module, f"{cmd_name}_command")
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Names and one-line helps, without importing a single command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, prog_name="compressbench")
def cli() -> None:
    """Compress BERT-family models and measure every artifact against BERT-Base.

    \b
    compressbench run --methods distill,quant-qdq,prune
    """

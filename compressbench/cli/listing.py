"""`compressbench methods` and `compressbench tasks`: what is registered."""

import dataclasses
import typing

import click
from rich.console import Console
from rich.table import Table


@click.command()
def methods_command() -> None:
    """What methods there are, with parameters and defaults."""
    from compressbench.methods.chain import describe_type
    from compressbench.registry import all_methods

    console = Console(highlight=False)
    for name, method in all_methods().items():
        console.print(f"\n[bold]{name}[/bold]  {(method.__doc__ or '').strip().splitlines()[0]}")
        console.print(
            f"  {' or '.join(sorted(method.consumes))} -> {method.produces}; {method.reference}", markup=False
        )
        table = Table("parameter", "default", "value", "", box=None, padding=(0, 2), show_header=True)
        hints = typing.get_type_hints(method)
        for each in dataclasses.fields(method):
            table.add_row(each.name, str(each.default), describe_type(hints[each.name]), each.metadata.get("help", ""))
        console.print(table)
    console.print(
        "\nWrite name:parameter=value; join methods to a chain by +, chains to a list by commas.", markup=False
    )


@click.command()
def tasks_command() -> None:
    """What tasks there are."""
    from compressbench.tasks.catalog import all_tasks

    table = Table("task", "suite", "texts", "labels", "metrics", "scored splits")
    for task in all_tasks().values():
        table.add_row(
            task.name,
            task.suite,
            ", ".join(task.text_columns),
            ", ".join(task.labels) or "a real number",
            ", ".join(task.metrics),
            ", ".join(task.dev_splits),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "The first metric is the primary score. One's own rows: --train FILE --validation FILE.", markup=False
    )

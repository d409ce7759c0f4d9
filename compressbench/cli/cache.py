"""`compressbench cache`: what the artifact store holds."""

import sys

import click

from compressbench.errors import BadInput, StoreDamaged
from compressbench.units import format_mib


@click.group(no_args_is_help=False)
def cache_command() -> None:
    """Artifacts in the store: list, verify, clear."""


@cache_command.command("list")
def list_command() -> None:
    """Every artifact with its size."""
    from rich.console import Console
    from rich.table import Table

    from compressbench.artifacts.store import open_store

    store = open_store()
    table = Table("key", "method", "task", "format", "seed", "MiB", title=str(store.root), title_justify="left")
    total_bytes = 0
    for artifact in store.all():
        made = artifact.manifest
        size_bytes = sum(path.stat().st_size for path in artifact.path.rglob("*") if path.is_file())
        total_bytes += size_bytes
        table.add_row(made.key, made.method, made.task, made.format, str(made.seed), format_mib(size_bytes))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{format_mib(total_bytes)} MiB in all")
    unfinished = store.unfinished()
    if unfinished:
        size = format_mib(sum(path.stat().st_size for path in unfinished))
        console.print(f"{size} MiB more hold {len(unfinished)} interrupted trainings, for the next run to go on with")


@cache_command.command("verify")
def verify_command() -> None:
    """Compare every artifact's files with its manifest; exit 1 if one differs."""
    from compressbench.artifacts.store import open_store

    store = open_store()
    damaged = []
    artifacts = store.all()
    for artifact in artifacts:
        try:
            store.verify(artifact)
        except StoreDamaged as error:
            damaged.append(str(error))
    if damaged:
        raise StoreDamaged("\n".join(damaged))
    click.echo(f"{len(artifacts)} artifacts, all as their manifests say")


@cache_command.command("clear")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clear_command(*, yes: bool) -> None:
    """Delete every artifact in the store, and what interrupted runs left; runs that need them make them anew."""
    from compressbench.artifacts.store import open_store

    store = open_store()
    artifacts = store.all()
    unfinished = store.unfinished()
    if not artifacts and not unfinished:
        click.echo(f"{store.root} holds no artifact")
        return
    told = f"{len(artifacts)} artifacts" + (f" and {len(unfinished)} unfinished ones" if unfinished else "")
    if not yes:
        _confirm(f"delete {told} under {store.root}?")
    for artifact in artifacts:
        store.remove(artifact)
    for path in unfinished:
        path.unlink(missing_ok=True)
    click.echo(f"{told} deleted")


def _confirm(question: str) -> None:
    try:
        click.confirm(question, abort=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise BadInput("nobody answers here whether to delete: add --yes") from None

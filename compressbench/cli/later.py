"""Commands of the contract that this version does not have yet; each says so and exits 2."""

from typing import NoReturn

import click

from compressbench.errors import NotAvailableYet

ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}


@click.command(context_settings=ANY_ARGUMENTS)
def gate_command() -> NoReturn:
    """Pass or fail against a baseline (not available yet)."""
    raise NotAvailableYet("`compressbench gate`")

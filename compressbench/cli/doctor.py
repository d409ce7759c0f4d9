"""`compressbench doctor`: this machine, and what to expect of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from compressbench.artifacts.artifact import Artifact


@click.command()
@click.option("--threads", type=int, help="Threads to judge by; default: all cores there are.")
def doctor_command(*, threads: int | None) -> None:
    """This machine: cores, INT8 and bf16 kernels, noise."""
    from rich.console import Console
    from rich.table import Table

    from compressbench.artifacts.store import open_store
    from compressbench.cli.int8_advice import int8_advice
    from compressbench.environment import cpu_description, describe_environment, native_precision
    from compressbench.noise import noise_floor
    from compressbench.plan_parts import check_threads
    from compressbench.targets import native_target
    from compressbench.units import MIB, format_percent

    threads = check_threads(threads)
    environment = describe_environment(threads=threads)
    console = Console(highlight=False)
    table = Table(show_header=False, box=None)
    for name in (
        "cpu",
        "isa_class",
        "cores",
        "threads",
        "cgroup_cpu_limit",
        "governor",
        "turbo",
        "load_average",
        "system",
        "python",
    ):
        table.add_row(name, str(environment[name]))
    table.add_row("memory", f"{(environment['memory_bytes'] or 0) // MIB} MiB")
    table.add_row("store", str(open_store().root))
    for name, version in environment["packages"].items():
        table.add_row(name, version)
    console.print(table)
    console.print(int8_advice(cpu_description()[1], target=native_target()))
    console.print(
        "bf16: native, training uses it" if native_precision() == "bf16" else "bf16: emulated, training stays in fp32"
    )
    for line in (*_runtimes(), *_misfits(open_store().all())):
        console.print(line)
    low, high = noise_floor(threads=threads)
    console.print(
        f"noise floor: two runs of the same work differ by {format_percent(low - 1)} to {format_percent(high - 1)} "
        "(95 %); a smaller speedup than that is none"
    )
    for advice in clock_and_load_advice(environment):
        console.print(advice)


def clock_and_load_advice(environment: Mapping[str, Any]) -> Iterator[str]:
    """What to change about the machine before its milliseconds are trusted; ratios of interleaved runs need less."""
    load = (environment["load_average"] or [0.0])[0]
    if load > 0.5:
        yield f"load average {load:.1f}: something else is running; figures will be noisy"
    governor = environment["governor"]
    if governor not in (None, "performance"):
        yield (
            f"clock: the governor {governor!r} lowers it when a core was idle; for steady milliseconds set it to "
            "performance (`cpupower frequency-set -g performance`)"
        )
    if environment["turbo"]:
        yield "clock: turbo is on, so figures fall as the CPU warms; switch it off where milliseconds are compared"
    limit = environment["cgroup_cpu_limit"]
    if limit is not None and limit < environment["threads"]:
        yield (
            f"quota: the container may use {limit:g} CPUs and {environment['threads']} threads would be stopped now "
            f"and then; measure with --threads {max(1, int(limit))}"
        )


def _misfits(artifacts: Iterable[Artifact]) -> Iterator[str]:
    """A line for each INT8 model of the store that was made for another CPU."""
    from compressbench.targets import misfit

    for artifact in artifacts:
        target = artifact.manifest.target
        reason = misfit(target) if target else None
        if reason:
            yield f"{artifact.path}: {reason}"


def _runtimes() -> Iterator[str]:
    """A line for each runtime: that it can be timed here, or why not."""
    from compressbench.environment import package_version
    from compressbench.errors import BadInput
    from compressbench.runtimes.catalog import RUNTIMES, check_runtime

    for name, runtime in RUNTIMES.items():
        try:
            check_runtime(name)
        except BadInput as error:
            yield f"runtime {name}: no; {error}"
        else:
            yield f"runtime {name}: {runtime.package} {package_version(runtime.package)}"

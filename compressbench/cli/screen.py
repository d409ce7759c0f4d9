"""What `run` shows: the plan before, the comparison and the time per stage after."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from compressbench.plan import Plan
from compressbench.progress import Progress
from compressbench.units import format_seconds

if TYPE_CHECKING:
    from compressbench.pipeline import Outcome


def show_plan(plan: Plan, out: Path) -> None:
    """One paragraph on standard error: what will be made and measured, and where it goes."""
    console = Console(stderr=True, highlight=False)
    tasks = ", ".join(each.task.name for each in plan.data)
    teachers = ", ".join(dict.fromkeys(source.name for source in plan.teachers.values()))
    console.print(f"tasks: {tasks}", markup=False)
    console.print(f"methods: baseline{''.join(', ' + line.canonical for line in plan.lines)}", markup=False)
    shapes = ", ".join(map(str, plan.shapes))
    console.print(
        f"teacher: {teachers}; seeds: {', '.join(map(str, plan.seeds))}; {plan.threads} threads; shapes {shapes}; "
        f"{', '.join(plan.runtimes)}",
        markup=False,
    )
    console.print(f"{plan.cell_count} {'cell' if plan.cell_count == 1 else 'cells'} into {out}", markup=False)
    if plan.suite == "synthetic":
        console.print("These tasks are generated, not GLUE; --suite glue --data-dir DIR runs GLUE.", markup=False)


def show_outcome(outcome: "Outcome", progress: Progress) -> None:
    """The comparison on standard output, the time per stage and where the files are on standard error."""
    from compressbench.reporting.console import print_comparison

    print_comparison(outcome.comparison, Console())
    console = Console(stderr=True, highlight=False)
    table = Table("stage", "time", title="Time per stage", title_justify="left")
    for stage, seconds in sorted(progress.durations_s.items(), key=lambda pair: -pair[1])[:12]:
        table.add_row(stage, format_seconds(seconds))
    table.add_row("all stages", format_seconds(sum(progress.durations_s.values())), style="bold")
    console.print(table)
    console.print(f"report: {outcome.folder / 'comparison.md'}", markup=False)
    for failure in outcome.failed:
        console.print(f"failed: {failure}", markup=False, style="red")

"""`compressbench measure`: models, whoever made them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressbench.cli.options import PATH, data_options, latency_options, lock_timeout_s, machine_options

if TYPE_CHECKING:
    from compressbench.cli.setting import Setting
    from compressbench.measurement import Measurement
    from compressbench.measuring import Measurable
    from compressbench.progress import Progress
    from compressbench.records.schema import CellRecord


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--task", help="Task that is scored: a name, or a task TOML.")
@data_options
@machine_options
@latency_options
@click.option("--baseline", help="Model the others are compared with; default: the first PATH.")
@click.option("--file-name", help="ONNX file to take where a folder holds several.")
@click.option("--tokenizer", type=PATH, help="Folder with tokenizer.json, for a bare ONNX file.")
@click.option(
    "--out",
    type=PATH,
    help="Folder for records and reports, new or of the same measurement; default: a table on the screen.",
)
def measure_command(**values: Any) -> int:
    """Measure models, whoever made them.

    \b
    compressbench measure student/ model.onnx --task CoLA --data-dir GLUE --baseline teacher/
    """
    from compressbench.cli.setting import open_setting
    from compressbench.measurement import DIGEST_PREFIX, Measurement
    from compressbench.run_folder import check_digest, check_place

    lock_timeout = lock_timeout_s(values)
    out: Path | None = values["out"]
    if out:
        check_place(out, prefix=DIGEST_PREFIX)
    baseline = values["baseline"] or values["paths"][0]
    setting = open_setting(values, models=[baseline, *values["paths"]])
    models = _open_models(dict.fromkeys((baseline, *values["paths"])), setting, values)
    for split in setting.data.task.dev_splits:
        setting.data.rows(split)
    measurement = Measurement(
        models=models,
        baseline=baseline,
        data=setting.data,
        thread_counts=setting.thread_counts,
        shapes=setting.shapes,
        options=setting.options,
        file_name=values["file_name"],
        tokenizer=values["tokenizer"],
    )
    if out:
        check_digest(out, measurement.digest)
    _measure(measurement, setting.progress, out=out, lock_timeout_s=lock_timeout)
    return 0


def _open_models(sources: Iterable[str], setting: Setting, values: dict[str, Any]) -> dict[str, Measurable]:
    """Every model by the path it was named by; nothing is measured before all of them are found."""
    from compressbench.foreign import open_measurable

    return {
        source: open_measurable(
            source,
            task=setting.data.task,
            workshop=setting.workshop,
            offline=values["offline"],
            file_name=values["file_name"],
            tokenizer=values["tokenizer"],
        )
        for source in sources
    }


def _measure(measurement: Measurement, progress: Progress, *, out: Path | None, lock_timeout_s: float | None) -> None:
    """Measure what this session has no record of yet, show the table, and leave records and reports in `out`."""
    from rich.console import Console

    from compressbench.measuring import Measuring, holds_int8
    from compressbench.reporting.comparison import comparison
    from compressbench.reporting.console import print_comparison
    from compressbench.reporting.writers import write_reports
    from compressbench.run_folder import RunFolder

    options, task, threads = measurement.options, measurement.data.task.name, measurement.thread_counts
    if out:
        folder = RunFolder.open(out, digest=measurement.digest, plan_text=measurement.text, threads=threads)
    else:
        folder = RunFolder.in_memory(threads=threads)
    ledger = folder.ledger
    for warning in ledger.warnings:
        progress.say(warning)
    measuring = Measuring(
        ledger=ledger,
        session=folder.session,
        threads=threads,
        precision=options.precision,
        concurrency=options.concurrency,
        lock_timeout_s=lock_timeout_s,
        shapes=measurement.shapes,
        runtimes=options.runtimes,
        progress=progress,
    )
    measuring.describe_task(measurement.data)
    for source, model in measurement.models.items():
        measuring.model(model, measurement.data)
        name = "baseline" if source == measurement.baseline else source
        is_int8 = any(holds_int8(record.runtime) for record in ledger.index.int8_of(model.key))
        ledger.add_cell(_cell(model, name=name, task=task, is_int8=is_int8))
    measuring.latencies(measurement.models.values())
    folder.finish()
    result = comparison(ledger.records, environment=folder.machine, folder=folder.path)
    if out:
        write_reports(result, out, ("json", "md", "csv", "html"))
    print_comparison(result, Console())


def _cell(model: Measurable, *, name: str, task: str, is_int8: bool) -> CellRecord:
    """The row of a model of which nothing is known but its file."""
    from compressbench.records.schema import CellRecord

    return CellRecord(
        task=task,
        method=name,
        chain=name,
        seed=0,
        parameters={},
        artifact_key=model.key,
        artifact_path=str(model.onnx_path.parent.absolute()),
        format="onnx-int8" if is_int8 else "onnx-fp32",
        measured_key=model.key,
        budget={},
        warnings=model.warnings,
    )

"""`compressbench measure`: models, whoever made them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressbench.cli.options import PATH, data_options, latency_options, lock_timeout_s, machine_options

if TYPE_CHECKING:
    from compressbench.cli.setting import Setting
    from compressbench.measuring import Measurable
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
@click.option("--out", type=PATH, help="New folder for records and reports; default: a table on the screen.")
def measure_command(**values: Any) -> int:
    """Measure models, whoever made them.

    \b
    compressbench measure student/ model.onnx --task CoLA --data-dir GLUE --baseline teacher/
    """
    from compressbench.cli.setting import check_empty, open_setting

    lock_timeout = lock_timeout_s(values)
    if values["out"]:
        check_empty(values["out"], option="--out")
    setting = open_setting(values)
    baseline = values["baseline"] or values["paths"][0]
    models = _open_models(dict.fromkeys((baseline, *values["paths"])), setting, values)
    for split in setting.data.task.dev_splits:
        setting.data.rows(split)
    _measure(models, baseline, setting, out=values["out"], lock_timeout_s=lock_timeout)
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


def _measure(
    models: dict[str, Measurable], baseline: str, setting: Setting, *, out: Path | None, lock_timeout_s: float | None
) -> None:
    """Measure all, show the table, and leave records and reports in `out`."""
    from rich.console import Console

    from compressbench.environment import describe_environment, fingerprint
    from compressbench.ledger import Ledger
    from compressbench.measuring import Measuring, holds_int8
    from compressbench.records.log import LOG_NAME, RecordLog
    from compressbench.records.run_folder import ENVIRONMENT_NAME
    from compressbench.records.schema import SessionRecord
    from compressbench.reporting.comparison import comparison
    from compressbench.reporting.console import print_comparison
    from compressbench.reporting.writers import write_reports

    environment = describe_environment(threads=setting.thread_counts[0])
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / ENVIRONMENT_NAME).write_text(json.dumps(environment, indent=2) + "\n")
    ledger = Ledger(RecordLog(out / LOG_NAME) if out else None)
    ledger.add(
        SessionRecord(
            session=1,
            state="begun",
            time_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            environment=fingerprint(environment),
            threads=setting.thread_counts,
        )
    )
    measuring = Measuring(
        ledger=ledger,
        session=1,
        threads=setting.thread_counts,
        precision=setting.options.precision,
        concurrency=setting.concurrency,
        lock_timeout_s=lock_timeout_s,
        shapes=setting.shapes,
        runtimes=setting.options.runtimes,
        progress=setting.progress,
    )
    measuring.describe_task(setting.data)
    for source, model in models.items():
        measuring.model(model, setting.data)
        name = "baseline" if source == baseline else source
        is_int8 = any(holds_int8(record.runtime) for record in ledger.index.int8_of(model.key))
        ledger.add(_cell(model, name=name, task=setting.data.task.name, is_int8=is_int8))
    measuring.latencies(models.values())
    result = comparison(ledger.records, environment=environment, folder=out or Path())
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

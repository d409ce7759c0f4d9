"""`compressbench measure`: models, whoever made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from compressbench.cli.options import PATH, data_options, machine_options, refuse_precision


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--task", help="Task that is scored: a name, or a task TOML.")
@data_options
@machine_options
@click.option("--baseline", help="Model the others are compared with; default: the first PATH.")
@click.option("--file-name", help="ONNX file to take where a folder holds several.")
@click.option("--tokenizer", type=PATH, help="Folder with tokenizer.json, for a bare ONNX file.")
@click.option("--precision", help="Measure until the interval is this narrow, e.g. 2%.")
@click.option("--out", type=PATH, help="New folder for records and reports; default: a table on the screen.")
def measure_command(**values: Any) -> int:
    r"""Measure models, whoever made them.

    \b
    compressbench measure student/ model.onnx --task CoLA --data-dir GLUE --baseline teacher/
    """
    from compressbench.cli.setting import check_empty, open_setting
    from compressbench.environment import describe_environment
    from compressbench.foreign import open_measurable
    from compressbench.ledger import Ledger
    from compressbench.measuring import Measurable, Measuring
    from compressbench.records.log import LOG_NAME, RecordLog
    from compressbench.records.schema import CellRecord
    from compressbench.reporting.comparison import comparison
    from compressbench.reporting.console import print_comparison
    from compressbench.reporting.run_folder import ENVIRONMENT_NAME
    from compressbench.reporting.writers import write_reports

    refuse_precision(values["precision"])
    out: Path | None = values["out"]
    if out:
        check_empty(out)
    setting = open_setting(values)
    data = setting.data
    baseline = values["baseline"] or values["paths"][0]
    sources = list(dict.fromkeys((baseline, *values["paths"])))
    models: dict[str, Measurable] = {
        source: open_measurable(
            source,
            task=data.task,
            workshop=setting.workshop,
            offline=values["offline"],
            file_name=values["file_name"],
            tokenizer=values["tokenizer"],
        )
        for source in sources
    }
    for split in data.task.dev_splits:
        data.rows(split)
    environment = describe_environment(threads=setting.workshop.threads)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / ENVIRONMENT_NAME).write_text(json.dumps(environment, indent=2) + "\n")
    ledger = Ledger(RecordLog(out / LOG_NAME) if out else None)
    measuring = Measuring(
        ledger=ledger,
        session=1,
        threads=setting.workshop.threads,
        shapes=setting.shapes,
        runtimes=setting.options.runtimes,
        progress=setting.progress,
    )
    measuring.describe_task(data)
    for source, model in models.items():
        measuring.model(model, data)
        is_baseline = source == baseline
        ledger.add(
            CellRecord(
                task=data.task.name,
                method="baseline" if is_baseline else source,
                chain="baseline" if is_baseline else source,
                seed=0,
                parameters={},
                artifact_key=model.key,
                artifact_path=str(model.onnx_path.parent.absolute()),
                format="onnx-int8" if ledger.index.int8_of(model.key) else "onnx-fp32",
                measured_key=model.key,
                budget={},
            )
        )
    measuring.latencies(models.values())
    result = comparison(ledger.records, environment=environment, folder=out or Path())
    if out:
        write_reports(result, out, ("json", "md", "csv", "html"))
    from rich.console import Console

    print_comparison(result, Console())
    return 0

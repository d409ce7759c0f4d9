"""`compressbench predict`: predictions of one model, as a GLUE submission where the task is GLUE's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compressbench.cli.options import PATH, data_options, machine_options


@click.command()
@click.argument("artifact")
@click.option("--task", help="Task whose rows are predicted: a name, or a task TOML.")
@data_options
@machine_options
@click.option("--split", help="Split to predict; default: test where there is one, else the first scored split.")
@click.option("--file-name", help="ONNX file to take where a folder holds several.")
@click.option("--tokenizer", type=PATH, help="Folder with tokenizer.json, for a bare ONNX file.")
@click.option("--to", type=PATH, required=True, help="File to write: index and prediction, tab-separated.")
def predict_command(**values: Any) -> int:
    """Write predictions (a submission file for GLUE tasks).

    \b
    compressbench predict student/ --task CoLA --data-dir GLUE --to CoLA.tsv
    """
    from compressbench.cli.setting import open_setting
    from compressbench.foreign import open_measurable
    from compressbench.output import check_new_file
    from compressbench.prediction import encode_rows, predict
    from compressbench.runtimes.onnxruntime import open_model
    from compressbench.tasks.submission import write_submission

    target: Path = values["to"]
    check_new_file(target)
    setting = open_setting(values, models=[values["artifact"]])
    task = setting.data.task
    split = values["split"] or ("test" if "test" in setting.data.splits else task.dev_splits[0])
    rows = setting.data.rows(split)
    model = open_measurable(
        values["artifact"],
        task=task,
        workshop=setting.workshop,
        offline=values["offline"],
        file_name=values["file_name"],
        tokenizer=values["tokenizer"],
    )
    forward = open_model(model.onnx_path, threads=setting.workshop.threads)
    encoded = encode_rows(rows, tokenizer_path=model.tokenizer_path, max_length=task.max_length)
    logits = predict(forward, encoded, progress=setting.progress, name=f"predict {task.name} {split}")
    write_submission(task, logits, target, split=split)
    click.echo(f"{target}: {len(rows)} predictions for {task.name}, split {split}")
    return 0

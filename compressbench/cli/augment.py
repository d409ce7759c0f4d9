"""`compressbench augment`: a task's training rows and copies of them in which words are replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from compressbench.cli.options import PATH, data_options


@click.command()
@click.option("--task", help="Task whose training rows are augmented: a name, or a task TOML.")
@data_options
@click.option("--mlm", help="Masked LM that proposes words: hub name or folder; default bert-base-uncased.")
@click.option("--vectors", type=PATH, help="Word vectors in GloVe's text format, for words of several pieces.")
@click.option("--factor", type=int, help="Rows after / before, at most; default 21, which is N_a = 20.")
@click.option("--copies", type=int, help="N_a, draws for each row; default: one less than the factor.")
@click.option("--candidates", type=int, help="K, words to choose from for each word; default 15.")
@click.option("--probability", type=float, help="p_t, chance that a word is replaced; default 0.4.")
@click.option("--mode", help="paired (default): the masked LM reads the sentence beside its masked copy; masked: no.")
@click.option("--blanks", type=int, help="Most words of a sentence masked at once; default 1, 3 is twice as fast.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", help="Of the masked LM.")
@click.option("--seeds", help="The seed; default 1.")
@click.option("--threads", type=int, help="Threads; default: all cores there are.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where the masked LM runs; default auto.")
@click.option(
    "--to", type=PATH, required=True, help="New TSV: texts and labels in the columns of the task's train.tsv."
)
def augment_command(**values: Any) -> int:
    """Write a task's training rows with copies in which words are replaced.

    \b
    compressbench augment --task CoLA --data-dir GLUE --mlm DIR --vectors glove.6B.300d.txt --factor 30 --to train.tsv
    """
    from compressbench.cli.setting import open_setting
    from compressbench.environment import native_precision
    from compressbench.errors import BadInput
    from compressbench.methods.augment.row_file import layout_of
    from compressbench.methods.augment.settings import MASKED_LM, settings_from
    from compressbench.methods.augment.stream import Augmentation, augment_rows
    from compressbench.methods.augment.vectors import check_vectors_file, open_vectors
    from compressbench.models.masked_lm import find_masked_lm
    from compressbench.output import check_new_file

    target: Path = values["to"]
    names = ("factor", "copies", "candidates", "probability", "mode", "blanks")
    settings = settings_from(**{name: values[name] for name in names if values[name] is not None})
    check_new_file(target)
    if values["vectors"] is not None:
        check_vectors_file(values["vectors"])
    setting = open_setting(values)
    if len(setting.options.seeds) != 1:
        raise BadInput(f"--seeds {values['seeds']}: one file has one seed")
    task, rows = setting.data.task, setting.data.rows("train")
    masked_lm = find_masked_lm(values["mlm"] or MASKED_LM, offline=values["offline"])
    vectors = open_vectors(values["vectors"], progress=setting.progress) if values["vectors"] else None
    counts = augment_rows(
        rows,
        to=target,
        layout=layout_of(task),
        augmentation=Augmentation(
            settings=settings,
            masked_lm=masked_lm,
            vectors=vectors,
            seed=setting.options.seeds[0],
            precision=native_precision() if values["precision"] == "auto" else values["precision"],
        ),
        name=task.name,
        threads=setting.workshop.threads,
        device=setting.workshop.device,
        progress=setting.progress,
    )
    click.echo(f"{target}: {counts['written']} rows from {counts['rows']} (x{counts['written'] / counts['rows']:.1f})")
    if counts["unknown"]:
        why = "have no vector" if vectors else "stay as they are without --vectors"
        click.echo(f"{counts['unknown']} of {counts['words']} words are of several pieces and {why}")
    return 0

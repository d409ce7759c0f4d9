"""A general student from the command line: by itself, and within a distillation of a task."""

import csv
from pathlib import Path

import pytest

from compressbench.__main__ import main
from compressbench.artifacts.artifact import open_artifact
from compressbench.artifacts.store import open_store
from tests.conftest import draw_tiny_rows

SIZES = "student=1x16x2x32:batch_size=8:precision=fp32:general_length=16:general_epochs=1"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder: Path, tiny_classifier: Path) -> Path:
    """A folder with a corpus, rows and models, in which commands run."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("\n".join(draw_tiny_rows(count=60, seed=4).first))
    Path("encoder").symlink_to(tiny_encoder)
    Path("classifier").symlink_to(tiny_classifier)
    for name in ("train", "dev"):
        rows = draw_tiny_rows(count=24, seed=1)
        with Path(f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([["text", "label"], *zip(rows.first, rows.labels.tolist(), strict=True)])
    return tmp_path


def test_made_by_itself_it_is_found_by_a_task(place: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    made = ["compress", f"distill:corpus=text.txt:{SIZES}", "--teacher", "encoder", "--threads", "1"]
    assert main([*made, "--ingredient", "general", "--to", "general"]) == 0
    general = open_artifact(Path("general"))
    tokens = AutoTokenizer.from_pretrained("general")("the film was fine", return_tensors="pt")
    assert AutoModel.from_pretrained("general")(**tokens).last_hidden_state.shape == (1, 6, 16)
    task = ["--train", "train.csv", "--validation", "dev.csv", "--threads", "1", "--to", "student"]
    stages = f"{SIZES}:intermediate_epochs=1:prediction_epochs=1"
    before = {each.key for each in open_store().all()}
    assert main(["compress", f"distill:corpus=text.txt:{stages}", "--teacher", "encoder", *task]) == 0
    student = open_artifact(Path("student"))
    assert student.manifest.inputs["general"] == general.key
    assert {each.manifest.method for each in open_store().all() if each.key not in before} == {"distill", "finetune"}


@pytest.mark.parametrize(
    ("chain", "options", "message"),
    [
        (f"distill:corpus=text.txt:{SIZES}+prune", ["--teacher", "encoder"], "name that method alone, without +prune"),
        (f"distill:{SIZES}", ["--teacher", "encoder"], "'general': it has none with these parameters"),
        ("prune", ["--teacher", "encoder"], "prune has no ingredient 'general'"),
        (f"distill:corpus=text.txt:{SIZES}", [], "name it by --teacher NAME or DIR"),
        (f"distill:corpus=text.txt:{SIZES}", ["--teacher", "classifier"], "classifier is fine-tuned already"),
        (f"distill:corpus=absent.txt:{SIZES}", ["--teacher", "encoder"], "there is no such file or folder"),
    ],
)
def test_what_cannot_be_made_is_refused(
    chain: str, options: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", chain, "--ingredient", "general", "--to", "general", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("general").exists()


def test_an_ingredient_of_a_tasks_rows_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = ["compress", "distill:augment=2", "--ingredient", "augmented", "--teacher", "encoder", "--to", "rows"]
    assert main(chain) == 2
    assert "made from a task's rows" in capsys.readouterr().err

"""`compressbench augment` as a user calls it, and its file as training rows."""

import shutil
from pathlib import Path

import pytest

from compressbench.__main__ import main
from compressbench.methods.augment.journal import ResumableFile
from compressbench.tasks.data import load_task_data
from compressbench.tasks.own_data import load_own_data
from compressbench.tasks.task import Rows
from tests.unit.masked_lm_folder import make_masked_lm, write_vectors

COLA = "gj04\t1\t\tThe unkind film was dull.\ngj04\t0\t*\tA story is very grim, the actor brave.\n"
RTE = (
    "index\tsentence1\tsentence2\tlabel\n"
    "0\tThe film was dull.\tThe plot was grim.\tentailment\n"
    "1\tThe actor is great.\tA lovely scene.\tnot_entailment\n"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("CoLA", COLA), ("RTE", RTE)):
        for split in ("train", "dev"):
            path = tmp_path / "glue" / name / f"{split}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    make_masked_lm(tmp_path / "mlm")
    write_vectors(tmp_path / "vectors.txt")
    Path("own.csv").write_text('text,label\n"a ""fine"" film, it is",good\n"a dull\nplot",bad\n')
    return tmp_path


def augment(*arguments: str, to: str = "new.tsv") -> int:
    return main(["augment", "--mlm", "mlm", "--candidates", "5", "--threads", "1", "--to", to, *arguments])


def from_glue(name: str, place: Path) -> Rows:
    """What a run reads where the new file stands in the place of the old."""
    from compressbench.tasks.catalog import task_named

    shutil.copyfile("new.tsv", place / "glue" / name / "train.tsv")
    return load_task_data(task_named(name), data_dir=place / "glue").rows("train")


@pytest.mark.parametrize("name", ["CoLA", "RTE"])
def test_a_run_reads_the_file_in_the_place_of_the_original(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert augment("--task", name, "--data-dir", "glue", "--factor", "5", "--vectors", "vectors.txt") == 0
    rows = from_glue(name, place)
    assert f"new.tsv: {len(rows)} rows from 2 (x{len(rows) / 2:.1f})" in capsys.readouterr().out
    assert 6 <= len(rows) <= 10
    assert rows.labels is not None
    second = list(rows.first).index({"CoLA": "A story is very grim, the actor brave."}.get(name, "The actor is great."))
    assert rows.first[0].startswith("The ")
    assert rows.labels.tolist() == [rows.labels[0]] * second + [1 - rows.labels[0]] * (len(rows) - second)


def test_words_of_several_pieces_need_vectors(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert augment("--task", "CoLA", "--data-dir", "glue") == 0
    assert "1 of 7 words are of several pieces and stay as they are without --vectors" in capsys.readouterr().out
    assert all("unkind" in text for text in from_glue("CoLA", place).first if text.startswith("The"))


def test_own_rows_come_back_as_own_rows(place: Path) -> None:
    own = ["--train", "own.csv", "--validation", "own.csv"]
    assert augment(*own, "--factor", "4") == 0
    rows = load_own_data(train=place / "new.tsv", validation=place / "own.csv").rows("train")
    assert len(rows) > 4
    assert {'a "fine" film, it is', "a dull\nplot"} <= set(rows.first)


def test_an_interrupted_command_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("compressbench.methods.augment.stream.CHUNK_TOKENS", 1)
    assert augment("--task", "RTE", "--data-dir", "glue", to="whole.tsv") == 0
    append = ResumableFile.append

    def stopped(self: ResumableFile, text: str, *, counts: dict[str, int]) -> None:
        append(self, text, counts=counts)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "append", stopped)
        assert augment("--task", "RTE", "--data-dir", "glue") == 130
    assert "the same command goes on where it was" in capsys.readouterr().err
    assert not Path("new.tsv").exists()
    assert augment("--task", "RTE", "--data-dir", "glue") == 0
    assert Path("new.tsv").read_bytes() == Path("whole.tsv").read_bytes()
    assert sorted(path.name for path in place.iterdir() if path.name.startswith(".")) == []


def test_the_seed_and_the_mode_change_the_rows(place: Path) -> None:
    given = ["--task", "RTE", "--data-dir", "glue"]
    for number, more in enumerate(([], [], ["--seeds", "2"], ["--mode", "masked"])):
        assert augment(*given, *more, to=f"{number}.tsv") == 0
    texts = [Path(f"{number}.tsv").read_text() for number in range(4)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3

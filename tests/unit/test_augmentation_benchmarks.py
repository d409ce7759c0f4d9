"""The two scripts of benchmarks/ run from their documented commands, at a tiny scale."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from compressbench.methods.augment.candidates import open_candidate_source
from compressbench.methods.augment.proposals import Blank
from compressbench.methods.augment.settings import settings_from
from compressbench.models.masked_lm import find_masked_lm, load_masked_lm
from tests.unit.masked_lm_folder import PIECES, make_masked_lm, write_vectors

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: object) -> int:
    """The exit code; torch's threads are as before."""
    threads = torch.get_num_threads()
    main = runpy.run_path(str(BENCHMARKS / script), run_name="benchmark")["main"]
    try:
        return int(main(list(map(str, arguments))))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Each row is one word over and over, so that any other place of it tells what stood in a blank."""
    path = tmp_path / "corpus.txt"
    words = ("film", "story", "plot", "actor", "scene", "dull", "grim", "lovely")
    path.write_text("".join(f"{f'{word} ' * 22}\n\n" for word in words * 16))
    return path


def test_a_head_is_fitted_to_an_encoder_without_one(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = make_masked_lm(tmp_path / "encoder", has_head=False, spread=0.1)
    given = (encoder, "--corpus", corpus, "--to", tmp_path / "mlm", "--length", 24, "--held-out", 8, "--threads", 1)
    rates = ("--learning-rate", 0.01, "--head-learning-rate", 0.01)
    assert run("fit_masked_lm.py", *given, *rates, "--steps", 40) == 0
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    losses = [float(line[3]) for line in lines if line[1].strip().isdigit()]
    assert losses[-1] < losses[0] - 1
    assert float(lines[-1][4].strip(" %")) > float(lines[1][4].strip(" %"))
    assert find_masked_lm(str(tmp_path / "mlm"))


def test_the_head_alone_leaves_the_encoder_as_it_is(corpus: Path, tmp_path: Path) -> None:
    encoder = make_masked_lm(tmp_path / "encoder")
    given = (encoder, "--corpus", corpus, "--to", tmp_path / "mlm", "--length", 24, "--held-out", 8, "--threads", 1)
    assert run("fit_masked_lm.py", *given, "--steps", 3, "--layers", 0) == 0
    before, after = (load_masked_lm(folder).state_dict() for folder in (encoder, tmp_path / "mlm"))
    assert all(after[name].equal(before[name]) for name in before if name.startswith("bert."))
    assert not after["cls.predictions.bias"].equal(before["cls.predictions.bias"])


@pytest.mark.parametrize(
    ("more", "message"),
    [(("--held-out", 500), "too few to hold 500 out"), (("--to", "."), "is not empty: give a new folder")],
)
def test_fitting_refuses(more: tuple[object, ...], message: str, corpus: Path, tmp_path: Path) -> None:
    given = (make_masked_lm(tmp_path / "encoder"), "--corpus", corpus, "--to", tmp_path / "mlm", "--length", 24)
    with pytest.raises(SystemExit, match=message):
        run("fit_masked_lm.py", *given, "--threads", 1, *more)


def test_the_authors_loop_and_ours_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_masked_lm(tmp_path / "mlm")
    rows = "".join(f"x\t1\t\tthe film was {word} and the unkind actor is lovely\n" for word in PIECES[5:23])
    for split in ("train", "dev"):
        path = tmp_path / "glue" / "CoLA" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows)
    given = (
        "--mlm", folder, "--vectors", write_vectors(tmp_path / "v.txt"), "--data-dir", tmp_path / "glue", "--rounds", 3,
        "--sentences", 4, "--least-words", 5, "--overlap-words", 12, "--precision", "fp32", "--threads", 1,
    )  # fmt: skip
    assert run("augmentation_speed.py", *given) == 0
    output = capsys.readouterr().out
    assert "| authors' loop | " in output
    assert "| paired | 1.000 [1.000, 1.000] |" in output
    assert "targets " in output
    with pytest.raises(SystemExit, match="CoLA has 18 sentences of 5 words or more, not 400"):
        run("augmentation_speed.py", *given, "--rounds", 100)


def test_the_authors_loop_ranks_as_the_model_does(tmp_path: Path) -> None:
    script = runpy.run_path(str(BENCHMARKS / "augmentation_speed.py"), run_name="benchmark")
    sys.modules.pop("benchmark", None)
    folder = make_masked_lm(tmp_path / "mlm")
    settings = settings_from(candidates=5)
    source = open_candidate_source(folder, vectors=None, settings=settings, precision="fp32", device="cpu")
    loop = script["AuthorsLoop"](model=load_masked_lm(folder), source=source, vectors=None, settings=settings)
    blank = Blank(pieces=(6, 7, 8, 9), place=2)
    ranked = loop.ranked(blank)
    assert sorted(ranked) == list(range(len(PIECES)))
    words = [piece for piece in ranked if not PIECES[piece].startswith(("##", "["))]
    assert set(words[:5]) == set(source.proposer.propose([blank])[0].tolist())
    assert script["overlap"](source.proposer.propose([blank]), [[*words[:4], words[20]]]) == [0.8]
    ((copy, *_),) = loop.augment(["the film is great and lovely"])
    assert len(copy[0].split()) == 6

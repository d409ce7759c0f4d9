"""Every plan in benchmarks/plans is understood by today's command line, with stand-ins for the files it names."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from compressbench.__main__ import main
from tests.unit.masked_lm_folder import make_masked_lm, write_vectors

PLANS = sorted((Path(__file__).parents[2] / "benchmarks" / "plans").glob("*.toml"))
ROWS = {
    "CoLA": "gj04\t{label}\t\tThe books number {row} slept.\n",
    "MRPC": "{label}\t{row}\t{row}\tBook {row} slept well.\tThe book {row} slept.\n",
    "RTE": "{row}\tBook {row} slept.\tA book slept.\t{word}\n",
}
ROWS["SST-2"] = "Book {row} slept well \t{label}\n"
HEADERS = {"SST-2": "sentence\tlabel\n", "CoLA": "", "MRPC": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"}
HEADERS["RTE"] = "index\tsentence1\tsentence2\tlabel\n"


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_folder: Path) -> Path:
    """A folder with an `encoder` of BERT-Base's sizes, and `glue`, which holds what plans name by {data_dir} too."""
    folder = tmp_path_factory.mktemp("plans")
    for task, line in ROWS.items():
        (folder / "glue" / task).mkdir(parents=True)
        lines = [
            line.format(row=row, label=row % 2, word=("entailment", "not_entailment")[row % 2]) for row in range(130)
        ]
        for split in ("train", "dev"):
            (folder / "glue" / task / f"{split}.tsv").write_text(HEADERS[task] + "".join(lines))
    (folder / "glue" / "corpus.txt").write_text("The books slept. A book slept well.\n" * 200)
    make_masked_lm(folder / "glue" / "masked-lm")
    write_vectors(folder / "glue" / "glove.txt")
    write_encoder(folder / "encoder", tiny_tokenizer_folder, width=768, layers=12, ffn=3072)
    write_encoder(folder / "glue" / "general", tiny_tokenizer_folder, width=312, layers=4, ffn=1200)
    return folder


def write_encoder(folder: Path, tokenizer_folder: Path, *, width: int, layers: int, ffn: int) -> None:
    """What is read of an encoder before a run begins: its geometry, one of its weights, its pieces."""
    folder.mkdir()
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": 12, "intermediate_size": ffn, "vocab_size": 30522, "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"embeddings.LayerNorm.weight": np.ones(width, dtype=np.float32)}, folder / "model.safetensors")
    for path in tokenizer_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def test_there_are_plans() -> None:
    ours = {
        "mapping",
        "recipes",
        "ablation_losses",
        "ablation_procedures",
        "initialisation",
        "augmentation",
        "seed_study",
    }
    ours |= {"pruning_curve", "seed_study_small"}
    assert ours <= {path.stem for path in PLANS}


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_plan_is_understood(
    plan: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(stand_ins)
    before = sorted(stand_ins.rglob("*"))
    code = main(["run", "--plan", str(plan), "--data-dir", "glue", "--teacher", "encoder", "--offline", "--dry-run"])
    shown = capsys.readouterr().err
    assert code == 0, shown
    content = tomllib.loads(plan.read_text())
    cells = len(content["methods"]) * len(content["tasks"]) * len(content.get("seeds", [1]))
    assert f"{cells} cells into" in " ".join(shown.split())
    assert sorted(stand_ins.rglob("*")) == before


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_a_plan_says_how_it_is_run_and_what_it_costs(plan: Path) -> None:
    head = "".join(line for line in plan.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert f"compressbench run --plan benchmarks/plans/{plan.name} " in head
    if not plan.stem.startswith("glue_"):  # those that compare ways to distil: what do they cost, on which teacher
        assert "Cost: " in head
        assert "inserted" in head


def test_a_file_beside_the_rows_asks_for_their_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('methods = ["distill"]\n[parameters.distill]\nstudent = "{data_dir}/x"\n')
    assert main(["run", "--plan", str(plan), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "the plan's distill.student = '{data_dir}/x' is a file of yours: say by --data-dir DIR where it is" in error
    assert main(["run", "--plan", str(plan), "--dry-run", "--data-dir", "glue"]) == 2
    # Absolute, so that the plan a run writes down is the same plan.
    assert f"student={Path('glue').absolute()}/x is no geometry" in capsys.readouterr().err

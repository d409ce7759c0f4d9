"""Bad input through the real command line: exit code 2, one clear sentence, nothing written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import helper

from compressbench.__main__ import main
from compressbench.targets import cpu_family
from tests.unit.masked_lm_folder import make_masked_lm
from tests.unit.onnx_folder import make_onnx_folder, onnx_classifier

COLA_ROWS = "gj04\t1\t\tOur friends won't buy this analysis.\ngj04\t0\t*\tThe bed slept.\n"


@pytest.fixture
def place(tmp_path: Path, tiny_encoder: Path, tiny_classifier: Path) -> Path:
    """A folder with good and bad inputs, in which the command runs."""
    glue = tmp_path / "glue"
    for name, dev in (
        ("CoLA", COLA_ROWS.encode()),
        ("bad-label", b"gj04\t7\t\tA sentence.\n"),
        ("bad-columns", b"gj04\t1\n"),
        ("bad-encoding", b"gj04\t1\t\tA fine sentence.\ngj04\t1\t\t\xff\xfe\n"),
        ("no-rows", b""),
    ):
        folder = (glue if name == "CoLA" else tmp_path / name) / "CoLA"
        folder.mkdir(parents=True)
        (folder / "train.tsv").write_text(COLA_ROWS)
        (folder / "dev.tsv").write_bytes(dev)
    (tmp_path / "encoder").symlink_to(tiny_encoder)
    (tmp_path / "classifier").symlink_to(tiny_classifier)
    (tmp_path / "empty").mkdir()
    make_masked_lm(tmp_path / "mlm")
    (tmp_path / "vectors-wrong.txt").write_text("a 1 2\nb 1 2\nc 1 2 3\n")
    (tmp_path / "vectors-binary.txt").write_bytes(b"7 2\n\0\0\0\0")
    gpt = tmp_path / "gpt"
    gpt.mkdir()
    (gpt / "config.json").write_text(json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}))
    (tmp_path / "train.csv").write_text("review,label\nfine,good\ndull,bad\n")
    (tmp_path / "three.csv").write_text("text,label\nfine,0\ndull,1\nso,2\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "text.txt").write_text("the film was fine\n")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0")
    other = tmp_path / "other-plan"
    other.mkdir()
    (other / "plan.digest").write_text("00000000\n")
    (other / "records.jsonl").write_text("")
    return tmp_path


GLUE = ["--suite", "glue", "--tasks", "CoLA", "--data-dir", "glue", "--teacher", "encoder"]
OTHER_TARGET = "arm64" if cpu_family() != "arm" else "avx512_vnni"
GENERAL = "distill:student=1x16x2x32:general_length=16"

CASES = {
    "two teachers of one task": (
        ["--methods", "prune", *GLUE[:-1], "CoLA=classifier,cola=encoder"],
        "--teacher names two for CoLA: classifier and encoder",
    ),
    "unknown method": (["--methods", "distil"], "unknown method 'distil': did you mean 'distill'?"),
    "unknown parameter": (["--methods", "prune:amout=0.2"], "did you mean 'amount'?"),
    "bad value": (["--methods", "prune:amount=2"], "amount=2"),
    "prune nothing": (["--methods", "prune:amount=0"], "amount=0.0 is no share above 0 and below 1"),
    "remaining at once": (
        ["--methods", "prune:of=remaining:schedule=one-shot"], "does not say how often amount is taken of what is left",
    ),
    "no heads left": (
        ["--methods", "prune:structured=heads-0.9", *GLUE], "would leave none of the 2 heads of a layer: use 0.5",
    ),
    "no columns left": (
        ["--methods", "distill:student=1x16x2x8+prune:structured=ffn-0.99", *GLUE],
        "would leave none of the 8 FFN columns of a layer",
    ),
    "trained after ONNX": (
        ["--methods", "prune:structured=heads-0.5+prune"], "prune:structured=heads-0.5 makes onnx-fp32",
    ),
    "NaN": (["--methods", "distill:temperature=nan"], "temperature=nan is not a finite number"),
    "quantize then distill": (["--methods", "quant-qdq+distill"], "distill takes torch"),
    "quantize twice": (["--methods", "quant-qdq+quant-qop"], "quant-qop takes onnx-fp32 or torch"),
    "unknown task": (["--methods", "prune", "--suite", "glue", "--tasks", "COLLA"], "did you mean 'CoLA'?"),
    "unknown suite": (["--methods", "prune", "--suite", "superglue"], "unknown suite 'superglue'"),
    "task not in the folder": (
        ["--methods", "prune", "--suite", "glue", "--tasks", "RTE", "--data-dir", "glue", "--teacher", "encoder"],
        "has no folder RTE",
    ),
    "bad label": (["--methods", "prune", *GLUE, "--data-dir", "bad-label"], "dev.tsv"),
    "bad columns": (["--methods", "prune", *GLUE, "--data-dir", "bad-columns"], "dev.tsv"),
    "bad encoding": (["--methods", "prune", *GLUE, "--data-dir", "bad-encoding"], "line 2"),
    "no rows": (["--methods", "prune", *GLUE, "--data-dir", "no-rows"], "dev.tsv"),
    "corpus missing": (["--methods", f"{GENERAL}:corpus=absent.txt", *GLUE], "corpus=absent.txt: there is no such"),
    "corpus nowhere": (["--methods", f"{GENERAL}:corpus=owner/name", *GLUE], "corpus=owner/name is neither a file"),
    "corpus empty": (["--methods", f"{GENERAL}:corpus=file", *GLUE], "corpus=file holds no text"),
    "corpus folder empty": (["--methods", f"{GENERAL}:corpus=empty", *GLUE], "corpus=empty is an empty folder"),
    "corpus binary": (["--methods", f"{GENERAL}:corpus=binary.txt", *GLUE], "line 1 holds a zero byte"),
    "no corpus": (["--methods", f"{GENERAL}:init=general", *GLUE], "init=general needs a text"),
    "general with a fine-tuned teacher": (
        ["--methods", f"{GENERAL}:corpus=text.txt", *GLUE[:-1], "classifier"], "classifier is fine-tuned already"
    ),
    "general student of other sizes": (
        ["--methods", f"{GENERAL}:general_student=encoder", *GLUE], "is a 2x32x2x64 and the student"
    ),
    "cache budget": (["--methods", "distill:student=1x16x2x32:cache_gib=9999999", *GLUE], "lower cache_gib"),
    "no config": (["--methods", "prune", *GLUE[:-1], "empty"], "holds no config.json"),
    "other architecture": (["--methods", "prune", *GLUE[:-1], "gpt"], "gpt2"),
    "wrong number of labels": (
        ["--methods", "quant-qdq", "--teacher", "classifier", "--train", "three.csv", "--validation", "three.csv"],
        "2",
    ),
    "classifier for several tasks": (["--methods", "prune", "--teacher", "classifier"], "serves one task"),
    "unwritable out": (["--methods", "prune", "--out", "file/run"], "--out file/run"),
    "another plan's folder": (["--methods", "prune", "--out", "other-plan"], "holds the run of another plan"),
    "out with name": (["--methods", "prune", "--out", "a", "--name", "b"], "--out and --name"),
    "uniform mapping": (["--methods", "distill:student=5x312x12x1200"], "12"),
    "explicit mapping": (["--methods", "distill:mapping=3-6-9"], "give 4 numbers, none above 12"),
    "falling mapping": (["--methods", "distill:mapping=12-9-6-3"], "rise at each step"),
    "zero in a mapping": (["--methods", "distill:mapping=0-3-6-9"], "count layers from 1"),
    "layer beyond the teacher": (["--methods", "distill:mapping=3-6-9-13"], "none above 12"),
    "a word for a mapping": (["--methods", "distill:mapping=middle"], "uniform, top, bottom, or teacher layers"),
    "a deeper student": (["--methods", "distill:student=13x312x12x1200:mapping=top"], "use 1 to 12 layers"),
    "copied layers of other widths": (["--methods", "distill:init=layers"], "use student=4x768x12x3072"),
    "a recipe's widths": (["--methods", "distill:recipe=pkd"], "use student=4x768x12x3072"),
    "unknown recipe": (["--methods", "distill:recipe=tinybrt"], "is not distilbert, none, pkd or tinybert"),
    "meaningless parameter": (
        ["--methods", "distill:recipe=none:temperature=2"], "means nothing with recipe=none: leave it out"
    ),
    "layer weights": (["--methods", "distill:layer_weights=1-2"], "2 weights, and student=tinybert4 has 4 layers"),
    "nothing to learn": (
        ["--methods", "distill:intermediate_epochs=0:prediction_epochs=0"], "leaves recipe=tinybert nothing to learn"
    ),
    "words masked at once": (
        ["--methods", "distill:augment_blanks=0"], "augment_blanks=0 words masked at once: use a whole number"
    ),
    "heads and hidden": (["--methods", "distill:student=4x310x12x1200"], "310 is not a multiple of 12 heads"),
    "no calibration rows": (["--methods", "quant-qdq:calibration_rows=0", *GLUE], "calibration_rows=0 leaves nothing"),
    "too many calibration rows": (
        ["--methods", "distill:student=1x16x2x32:mapping=2+quant-qop:calibration_rows=3", *GLUE],
        "quant-qop on CoLA: calibration_rows=3, but the training split has 2 rows: use calibration_rows=2",
    ),
    "target": (
        ["--methods", f"quant-qdq:target={OTHER_TARGET}", *GLUE], f"target={OTHER_TARGET} cannot be checked on this"
    ),
    "unknown target": (["--methods", "quant-qdq:target=avx", *GLUE], "target=avx is not native or arm64, avx2,"),
    "percentile": (["--methods", "quant-qdq:percentile=101", *GLUE], "percentile=101 is not above 50 and up to 100"),
    "averaged percentile": (
        ["--methods", "quant-qdq:moving_average=true:calibrate_method=entropy", *GLUE], "use calibrate_method=minmax"
    ),
    "no such layer": (
        ["--methods", "quant-qdq:calibration_rows=2:keep_fp32=*.1.output.dense;pooler.dense", *GLUE],
        "quant-qdq: pooler.dense, named to stay in fp32, is no layer of this model: it has bert.embeddings",
    ),
    "no such layer of the student": (
        ["--methods", "distill:student=1x16x2x32+quant-dynamic:nodes_to_exclude=*.layer.1.*", *GLUE],
        "quant-dynamic: *.layer.1.*, named to stay in fp32, is no layer",
    ),
    "bare drop": (["--methods", "quant-qdq:keep_fp32=auto:max_drop=0.5", *GLUE], "max_drop"),
    "averaging constant": (["--methods", "quant-qdq:averaging_constant=0", *GLUE], "averaging_constant=0 is not above"),
    "empty methods": (["--methods", ""], "--methods names no method"),
    "no methods": ([], "--methods is missing"),
    "zero threads": (["--methods", "prune", "--threads", "0"], "--threads 0"),
    "zero shape": (["--methods", "prune", "--shapes", "0x128"], "0x128"),
    "seeds": (["--methods", "prune", "--seeds", "1.5"], "'1.5' is no whole number"),
    "own data without the column": (
        ["--methods", "quant-qdq", "--teacher", "classifier", "--train", "train.csv", "--validation", "train.csv",
         "--text", "sentence"],
        "sentence",
    ),
    "own data without validation": (["--methods", "prune", "--train", "train.csv"], "--validation"),
    "own data and a suite": (
        ["--methods", "prune", "--suite", "glue", "--train", "train.csv", "--validation", "train.csv"], "drop one"
    ),
    "mixed suites": (["--methods", "prune", "--tasks", "CoLA,synthetic-sentiment"], "mixes"),
    "missing plan": (["--plan", "absent.toml"], "there is no such file"),
    "precision": (["--methods", "prune", "--precision", "2"], "--precision '2' has no unit"),
    "lock timeout": (["--methods", "prune", "--lock-timeout", "60"], "--lock-timeout '60' has no unit"),
    "concurrency": (["--methods", "prune", "--concurrency", "0"], "--concurrency 0: give 2 to 64 processes"),
    "threads": (["--methods", "prune", "--threads", "1,two"], "--threads: 'two' is no whole number; give such as 2"),
    "runtime": (["--methods", "prune", "--runtimes", "openvno"], "did you mean 'openvino'"),
    "task shape": (["--methods", "prune", "--shapes", "taskx8"], "or task for the dev rows' real lengths"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_run_refuses(name: str, place: Path) -> None:
    arguments, message = CASES[name]
    before = sorted(path.relative_to(place) for path in place.rglob("*"))
    code, output, error = call(["run", *arguments], place)
    assert code == 2, error
    assert output == ""
    assert error.startswith("compressbench: ")
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert sorted(path.relative_to(place) for path in place.rglob("*")) == before
    assert not (place / "home").exists()


GLUE_TASK = ["--task", "CoLA", "--data-dir", "glue"]
AUGMENT = [*GLUE_TASK, "--mlm", "mlm", "--to", "new.tsv"]
AUGMENT_CASES = {
    "no task": (["--to", "new.tsv"], "--task is missing"),
    "candidates": ([*AUGMENT, "--candidates", "0"], "candidates=0 (K) is not a whole number from 1 to 1000"),
    "too many candidates": ([*AUGMENT, "--candidates", "900"], "candidates=900 (K) is more than the"),
    "copies": ([*AUGMENT, "--copies", "0"], "copies=0 (N_a) is not a whole number from 1 to 1000"),
    "probability": ([*AUGMENT, "--probability", "1.4"], "probability=1.4 (p_t) is not above 0 and up to 1"),
    "factor": ([*AUGMENT, "--factor", "1"], "factor=1 adds no rows"),
    "blanks": ([*AUGMENT, "--blanks", "9"], "blanks=9 (words masked at once) is not a whole number from 1 to 8"),
    "factor beyond copies": ([*AUGMENT, "--factor", "30", "--copies", "20"], "use copies=29 or more"),
    "mode": ([*AUGMENT, "--mode", "both"], "mode=both is unknown: use masked or paired"),
    "two seeds": ([*AUGMENT, "--seeds", "1,2"], "one file has one seed"),
    "no head": ([*AUGMENT, "--mlm", "encoder"], "the tensor cls.predictions.transform.dense.weight is missing"),
    "no masked LM": ([*AUGMENT, "--mlm", "absent/folder/x"], "the model folder absent/folder/x does not exist"),
    "masked LM out of reach": ([*AUGMENT, "--mlm", "bert-base-cased"], "not in the hub's local cache"),
    "no vectors": ([*AUGMENT, "--vectors", "absent.txt"], "the vectors file absent.txt cannot be read (No such file"),
    "empty vectors": ([*AUGMENT, "--vectors", "file"], "the vectors file file is empty"),
    "binary vectors": ([*AUGMENT, "--vectors", "vectors-binary.txt"], "vectors-binary.txt is binary"),
    "target exists": ([*AUGMENT, "--to", "file"], "--to file exists"),
    "target without folder": ([*AUGMENT, "--to", "no/x.tsv"], "there is no folder"),
    "target under a file": ([*AUGMENT, "--to", "file/x.tsv"], "there is no folder"),
    "target in no real folder": ([*AUGMENT, "--to", "/proc/x.tsv"], "--to /proc/x.tsv cannot be written (No such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", AUGMENT_CASES)
def test_augment_refuses(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = AUGMENT_CASES[name]
    monkeypatch.chdir(place)
    before = sorted(path.relative_to(place) for path in place.rglob("*"))
    assert main(["augment", *arguments, "--offline"]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.relative_to(place) for path in place.rglob("*")) == before


COMPRESS_CASES = {
    "quantized": "is quantized already (it has DynamicQuantizeLinear): give quant-qdq the fp32 model",
    "opset": "model.onnx is of opset 99, and opsets 13 to",
    "fixed": "model.onnx takes input_ids of 1 x 128 alone: export it with dynamic axes, batch and tokens",
    "truncated": "model.onnx is no readable ONNX model (DecodeError): export it anew",
    "corrupted": "model.onnx is no readable ONNX model (DecodeError): export it anew",
    "external": "onnx/external/model.onnx_data does not exist: onnx/external/model.onnx keeps weights in it",
    "other labels": "has 3 outputs and the task CoLA has 2 labels",
    "rows": "quant-qdq on CoLA: calibration_rows=128, but the training split has 2 rows: use calibration_rows=2",
}


@pytest.fixture
def onnx_place(place: Path, tiny_tokenizer_folder: Path) -> Path:
    """`place`, and a folder ``onnx`` with files from another tool, one for each case."""
    quantized = onnx_classifier()
    quantized.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["hidden"], ["a", "b", "c"]))
    models = {"quantized": quantized, "opset": onnx_classifier(opset=99), "fixed": onnx_classifier(axes=(1, 128))}
    paths = {
        name: make_onnx_folder(
            place / "onnx" / name, tokenizer=tiny_tokenizer_folder, model=models.get(name), external=name == "external"
        )
        for name in COMPRESS_CASES
    }
    paths["truncated"].write_bytes(paths["truncated"].read_bytes()[:5000])
    paths["corrupted"].write_bytes(b"\xff" * 64 + paths["corrupted"].read_bytes()[64:])
    paths["external"].with_name("model.onnx_data").unlink()
    config = paths["other labels"].with_name("config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    return place


@pytest.mark.parametrize("name", COMPRESS_CASES)
def test_compress_refuses(
    name: str, onnx_place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(onnx_place)
    monkeypatch.setenv("COMPRESSBENCH_HOME", str(onnx_place / "home"))
    rows = "" if name == "rows" else ":calibration_rows=2"
    before = sorted(path.relative_to(onnx_place) for path in onnx_place.rglob("*"))
    arguments = ["--source", f"onnx/{name}/model.onnx", "--task", "CoLA", "--data-dir", "glue", "--to", "new"]
    assert main(["compress", f"quant-qdq{rows}", *arguments, "--offline"]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert COMPRESS_CASES[name] in error
    assert error.count("\n") == 1
    assert sorted(path.relative_to(onnx_place) for path in onnx_place.rglob("*")) == before


def test_augment_names_the_line_of_a_vector_of_another_dimension(place: Path) -> None:
    code, output, error = call(["augment", *AUGMENT, "--vectors", "vectors-wrong.txt"], place)
    assert (code, output) == (2, "")
    assert error == (
        "compressbench: vectors-wrong.txt, line 3: a vector of dimension 3 where the file has 2; "
        "give word vectors of one dimension\n"
    )
    assert not (place / "new.tsv").exists()
    assert not list((place / "home").rglob("*.f32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "did you mean 'run'?"),
        (["gate", "a", "b"], "a is not there: give a run's folder, or a file that `compressbench gate --record` wrote"),
        (["report", "empty"], "empty"),
        (["compare", "empty", "empty"], "empty"),
        (["report", "empty", "--format", "pdf"], "unknown format 'pdf'"),
        (["measure", "encoder", "--task", "CoLA", "--data-dir", "glue"], "has no classifier"),
        (["measure", "absent.onnx", "--task", "CoLA", "--data-dir", "glue"], "there is no such file"),
        (["measure", "classifier"], "--task is missing"),
        (
            ["measure", "classifier", "--task", "CoLA", "--train", "train.csv", "--validation", "train.csv"],
            "--task CoLA and --train both name rows: drop one",
        ),
        (["predict", "classifier", "--task", "CoLA", "--data-dir", "glue", "--to", "file"], "exists"),
        (["compress", "prune", "--task", "CoLA", "--data-dir", "glue", "--to", "glue"], "is not empty"),
        (["compress", "prune", "--task", "CoLA", "--to", "/proc/x"], "--to /proc/x cannot be written (No such file"),
        (["compress", "prune", "--task", "CoLA", "--to", "file/x"], "file is a file, not a folder"),
        (["measure", "absent.onnx", "--task", "CoLA", "--out", "/proc/x"], "--out /proc/x cannot be written (No such"),
        (["measure", "absent.onnx", "--task", "CoLA", "--out", "file/x"], "file is a file, not a folder"),
        (["measure", "absent.onnx", "--task", "CoLA", "--out", "other-plan"], "holds the run of another plan"),
        (["measure", "absent.onnx", "--task", "CoLA", "--out", "glue"], "--out glue holds files that are no run"),
        (["predict", "absent.onnx", "--task", "CoLA", "--to", "/proc/x.tsv"], "--to /proc/x.tsv cannot be written (No"),
        (["predict", "absent.onnx", "--task", "CoLA", "--to", "file/x.tsv"], "--to file/x.tsv: there is no folder"),
        (["gate", "--live", "absent", "absent", "--task", "CoLA", "--to", "/proc/x"], "--to /proc/x cannot be written"),
        (
            ["compress", "quant-dynamic", "--source", "absent.onnx", *GLUE_TASK, "--to", "new"],
            "absent.onnx does not exist: give the ONNX file, or the folder that holds it",
        ),
        (["report", "absent", "--to", "file"], "--to file: file is a file, not a folder"),
    ],
)
def test_other_commands_refuse(arguments: list[str], message: str, place: Path) -> None:
    before = sorted(path.relative_to(place) for path in place.rglob("*"))
    code, _, error = call(arguments, place)
    assert code == 2, error
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.relative_to(place) for path in place.rglob("*")) == before


def test_a_store_that_cannot_be_written_is_told_before_the_run_folder_is_made(place: Path) -> None:
    code, _, error = call(["run", *GLUE, "--methods", "prune", "--out", "new"], place, home="file/x")
    assert code == 2
    assert "the artifact store" in error
    assert "set COMPRESSBENCH_HOME to a folder that can" in error
    assert not (place / "new").exists()


def call(arguments: list[str], place: Path, *, home: str = "home") -> tuple[int, str, str]:
    """Run the command in `place` as a user would; the hub is out of reach."""
    answer = subprocess.run(
        [sys.executable, "-m", "compressbench", *arguments],
        cwd=place,
        env={**os.environ, "COMPRESSBENCH_HOME": str(place / home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout, answer.stderr

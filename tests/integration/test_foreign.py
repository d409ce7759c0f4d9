"""Models of any tool through the command line: found and measured, or refused in one sentence before any work."""

import json
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressbench import measuring
from compressbench.__main__ import main
from compressbench.artifacts.store import home
from compressbench.errors import BadInput
from compressbench.harness.inputs import vocabulary_size
from compressbench.harness.size import count_flops
from compressbench.models.onnx_export import export_classifier
from compressbench.records.log import RecordLog
from compressbench.records.schema import LatencyRecord
from tests.light_commands import write_model, write_rows

DATA = ["--task", "CoLA", "--data-dir", "glue", "--threads", "1", "--offline"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with rows and an ONNX artifact, in which commands run."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)
    write_model(tmp_path / "artifact", seed=0)
    return tmp_path


def foreign(place: Path, name: str, *files: str, tokenizer: bool = True) -> Path:
    """A folder without a manifest that holds the model under other names."""
    folder = place / name
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / "artifact/model.onnx", folder / file)
    if tokenizer:
        shutil.copyfile(place / "artifact/tokenizer.json", folder / "tokenizer.json")
    return folder


def changed(path: Path, change: Callable[[Any], object]) -> None:
    """Rewrite an ONNX file."""
    import onnx

    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def rename_input(model: Any) -> None:
    model.graph.input[1].name = model.graph.node[3].input[0] = "pixel_values"


def fix_shape(model: Any) -> None:
    for each in model.graph.input:
        each.type.tensor_type.shape.dim[1].dim_value = 128


def take_int32(model: Any) -> None:
    for each in model.graph.input:
        each.type.tensor_type.elem_type = 6


def answer_three_classes(model: Any) -> None:
    from onnx import numpy_helper

    (weight,) = (each for each in model.graph.initializer if each.name == "classes")
    weight.CopyFrom(numpy_helper.from_array(np.zeros((32, 3), dtype=np.float32), "classes"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3


def know_fewer_words(model: Any) -> None:
    from onnx import numpy_helper

    (weight,) = (each for each in model.graph.initializer if each.name == "words")
    weight.CopyFrom(numpy_helper.from_array(np.zeros((6, 16), dtype=np.float32), "words"))


def answer_hidden_states(model: Any) -> None:
    del model.graph.node[5:]
    model.graph.output[0].name = "bent"
    del model.graph.output[0].type.tensor_type.shape.dim[:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_input, "has the input 'pixel_values': CoLA gives attention_mask, input_ids and token_type_ids, so it"),
        (fix_shape, "does not run on rows of 2 x 7 tokens"),
        (take_int32, "does not run on rows of 2 x 7 tokens"),
        (know_fewer_words, "every token id of its tokenizer, here up to 12"),
        (
            answer_three_classes,
            "answers two rows with an array of 2 x 3, and CoLA takes 2 x 2 logits: give a",
        ),
        (answer_hidden_states, "answers two rows with an array of 2 x 7 x 32, and CoLA takes 2 x 2 logits"),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused_before_any_work(
    place: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], object], message: str
) -> None:
    changed(foreign(place, "other", "model.onnx") / "model.onnx", change)
    for command in (["predict", "other/model.onnx", "--to", "x.tsv"], ["measure", "other/model.onnx", "--out", "run"]):
        refused([*command, *DATA], message, capsys)
    assert not (place / "x.tsv").exists()
    assert not (place / "run").exists()


def test_a_model_that_was_made_for_numbers_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "artifact/artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task": "STS-B", "labels": []}))
    message = "artifact was made for STS-B, whose labels are not those of CoLA"
    for command in (["predict", "artifact", "--to", "x.tsv"], ["measure", "artifact", "--out", "run"]):
        refused([*command, *DATA], message, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["several"], "several holds several ONNX files (a.onnx, b.onnx): choose one by --file-name"),
        (["several", "--file-name", "c.onnx"], "--file-name c.onnx: several has no such file; it holds a.onnx and"),
        (["below"], "below holds several ONNX files (onnx/a.onnx, onnx/b.onnx): choose one by --file-name"),
        (["artifact", "--file-name", "model.onnx"], "--file-name model.onnx: artifact is no folder of ONNX files"),
        (["bare/model.onnx"], "bare/model.onnx has no tokenizer.json beside it: name the folder that has one by"),
        (["bare/model.onnx", "--tokenizer", "glue"], "--tokenizer glue holds no tokenizer.json"),
        (["bare/model.onnx", "--tokenizer", "glue/CoLA/dev.tsv"], "glue/CoLA/dev.tsv is no tokenizer"),
        (["bare/absent.onnx"], "bare/absent.onnx: there is no such file"),
        (["text/model.onnx"], "text/model.onnx cannot be opened by ONNX Runtime"),
        (["nowhere/at-all"], "at-all is not a folder, it is not in the hub's local cache and --offline was given"),
        (["nowhere/at-all", "--file-name", "model.onnx"], "it is not in the hub's local cache and --offline was given"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_is_said(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], message: str
) -> None:
    foreign(place, "several", "a.onnx", "b.onnx")
    foreign(place, "below", "onnx/a.onnx", "onnx/b.onnx")
    foreign(place, "bare", "model.onnx", tokenizer=False)
    (foreign(place, "text", "model.onnx") / "model.onnx").write_text("no model")
    refused(["predict", *arguments, *DATA, "--to", "x.tsv"], message, capsys)
    assert not (place / "x.tsv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["one"],
        ["several", "--file-name", "b.onnx"],
        ["below"],
        ["below", "--file-name", "onnx/model.onnx"],
        ["bare/model.onnx", "--tokenizer", "one"],
        ["bare/model.onnx", "--tokenizer", "one/tokenizer.json"],
    ],
)
def test_a_model_is_found_however_it_lies(place: Path, arguments: Sequence[str]) -> None:
    foreign(place, "one", "any-name.onnx")
    foreign(place, "several", "a.onnx", "b.onnx")
    foreign(place, "below", "onnx/model.onnx")
    foreign(place, "bare", "model.onnx", tokenizer=False)
    assert main(["predict", "artifact", *DATA, "--to", "expected.tsv"]) == 0
    assert main(["predict", *arguments, *DATA, "--to", "found.tsv"]) == 0
    assert Path("found.tsv").read_text() == Path("expected.tsv").read_text()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_classifier: Path) -> Path:
    """A PyTorch classifier as ONNX; ``templates`` beside it holds its graph, for an export takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "made").mkdir()
    export_classifier(tiny_classifier, to=folder / "made", template_cache=folder / "templates")
    return folder / "made"


def test_a_hugging_face_folder_and_a_bare_file_are_measured_together(
    place: Path, tiny_classifier: Path, exported: Path
) -> None:
    home().mkdir(exist_ok=True)
    (home() / "export-templates").symlink_to(exported.parent / "templates")
    shutil.copytree(tiny_classifier, "hf")
    (place / "bare").mkdir()
    shutil.copyfile(exported / "model.onnx", "bare/exported.onnx")
    shutil.copyfile(exported / "config.json", "bare/config.json")
    arguments = ["measure", "hf", "bare/exported.onnx", "--tokenizer", "hf", *DATA, "--shapes", "1x8", "--out", "run"]
    assert main(arguments) == 0
    rows = {row["method"]: row for row in json.loads((place / "run/comparison.json").read_text())["rows"]}
    assert set(rows) == {"baseline", "bare/exported.onnx"}
    assert rows["bare/exported.onnx"]["artifact"]["format"] == "onnx-fp32"
    assert rows["bare/exported.onnx"]["agreement"]["rate"] == 1.0
    assert rows["bare/exported.onnx"]["latency"]["onnxruntime"]["1x8"]["shared_with"] == "CoLA/baseline"


MEASURE = ["measure", "artifact", "copy/model.onnx", *DATA, "--shapes", "1x8", "--out", "run"]


@pytest.fixture
def interrupted(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[LatencyRecord]:
    """`MEASURE`, stopped after five blocks of latency, which are given."""
    foreign(place, "copy", "model.onnx")
    changed(place / "copy/model.onnx", lambda model: setattr(model, "producer_name", "another"))
    measure = measuring.measure_latency

    def stopped(subjects: Any, *, on_record: Any, **rest: Any) -> None:
        def stop_after_five(record: Any) -> None:
            on_record(record)
            if len(blocks()) == 5:
                raise KeyboardInterrupt

        measure(subjects, on_record=stop_after_five, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "measure_latency", stopped)
        assert main(MEASURE) == 130
    assert not Path("run/comparison.json").exists()
    return blocks()


def blocks() -> list[LatencyRecord]:
    return [each for each in RecordLog(Path("run/records.jsonl")).read().records if isinstance(each, LatencyRecord)]


def kinds() -> Counter[str]:
    return Counter(each.kind for each in RecordLog(Path("run/records.jsonl")).read().records)


def test_an_interrupted_measure_goes_on_and_a_finished_one_measures_latency_anew(
    interrupted: list[LatencyRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kinds()
    log = Path("run/records.jsonl").read_bytes()
    Path("run/records.jsonl").write_bytes(log + b'{"schema_version":3,"kind":"lat')
    quality = measuring.measure_quality
    monkeypatch.setattr(measuring, "measure_quality", lambda *args, **rest: pytest.fail("what is measured is kept"))
    assert main(MEASURE) == 0
    assert Path("run/records.jsonl").read_bytes().startswith(log)
    once = kinds()
    assert {kind for kind in once if once[kind] != before[kind]} <= {"latency", "session", "worker", "load", "left_out"}
    assert once["session"] == 2
    assert blocks()[:5] == interrupted
    assert {each.session for each in blocks()} == {1}
    rows = json.loads(Path("run/comparison.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["baseline", "copy/model.onnx"]
    assert main(MEASURE) == 0
    assert {each.session for each in blocks()} == {1, 2}
    assert len(blocks()) == 2 * once["latency"]
    assert kinds()["session"] == 4
    assert kinds()["cell"] == once["cell"] == 2
    monkeypatch.setattr(measuring, "measure_quality", quality)
    for command in (["report", "run"], ["compare", "run", "run"], ["gate", "--record", "run", "--to", "base.json"]):
        assert main(command) == 0


def test_the_folder_of_another_measurement_is_refused(
    interrupted: list[LatencyRecord], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    message = "--out run holds another measurement: give a new folder, or to `measure` the models and options of the"
    for other in (
        ["--shapes", "1x9"],
        ["--concurrency", "2"],
        ["--baseline", "copy/model.onnx"],
        ["artifact/model.onnx"],
    ):
        refused([*MEASURE, *other], message, capsys)
    for name, added in (("glue/CoLA/dev.tsv", b"x\t1\t\tthe film was fine\n"), ("copy/tokenizer.json", b"\n")):
        held = Path(name).read_bytes()
        Path(name).write_bytes(held + added)
        refused(MEASURE, message, capsys)
        Path(name).write_bytes(held)
    changed(Path("copy/model.onnx"), lambda model: setattr(model, "producer_name", "a third"))
    refused(MEASURE, message, capsys)
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_measurement_tells_what_it_is_and_is_no_plan(
    interrupted: list[LatencyRecord], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tomllib.loads(Path("run/plan.toml").read_text())
    assert written.pop("keys").keys() == {"artifact", "copy/model.onnx"}
    assert written == {
        "command": "measure",
        "models": ["artifact", "copy/model.onnx"],
        "baseline": "artifact",
        "threads": 1,
        "shapes": ["1x8"],
        "runtimes": ["onnxruntime"],
        "suite": "glue",
        "tasks": ["CoLA"],
        "data_dir": str(place / "glue"),
    }
    message = "--plan run/plan.toml describes what `compressbench measure` measured, and no run: give its models and"
    refused(["run", "--plan", "run/plan.toml"], message, capsys)
    refused(["run", "--methods", "prune", "--out", "run"], "--out run holds another measurement", capsys)


def test_a_model_that_takes_only_shorter_rows_needs_its_config(exported: Path, tmp_path: Path) -> None:
    assert count_flops(exported / "model.onnx") > 0
    bare = tmp_path / "model.onnx"
    shutil.copyfile(exported / "model.onnx", bare)
    assert vocabulary_size(bare) == 40  # read off the graph
    with pytest.raises(BadInput, match=r"does not run at 1x128 .*put its config.json beside it"):
        count_flops(bare)


def refused(arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2 and one sentence."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert message in error
    assert error.count("\n") == 1

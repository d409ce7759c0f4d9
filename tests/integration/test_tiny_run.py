"""The whole way on a tiny model and own rows: run, run again, interrupt, fail, report, compare, predict."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compressbench import run_folder
from compressbench.__main__ import main
from compressbench.artifacts.store import home, open_store
from compressbench.methods.training_loop import TrainingLoop
from compressbench.records.log import RecordLog
from compressbench.records.schema import CurveRecord, Int8Record, LatencyRecord, SessionRecord
from tests.conftest import draw_tiny_rows

DISTILL = "distill:student=1x16x2x32:intermediate_epochs=1:prediction_epochs=1"
METHODS = f"{DISTILL},quant-qdq,quant-qop,quant-dynamic,prune,prune+quant-qdq"
FINETUNE = "finetune:epochs=8:learning_rate=0.002:precision=fp32"


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported graphs, kept from test to test: an export takes longer than all else here."""
    return tmp_path_factory.mktemp("templates")


@pytest.fixture
def arguments(tmp_path: Path, tiny_encoder: Path, templates: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run on own rows that takes seconds."""
    monkeypatch.chdir(tmp_path)
    home().mkdir(exist_ok=True)
    (home() / "export-templates").symlink_to(templates)
    for name, count, seed in (("train", 256, 0), ("dev", 64, 1)):
        rows = draw_tiny_rows(count=count, seed=seed)
        with Path(f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows(zip(rows.first, [("bad", "good")[label] for label in rows.labels], strict=True))
    return ["run", "--teacher", str(tiny_encoder), "--train", "train.csv", "--validation", "dev.csv",
            "--shapes", "1x16", "--threads", "1", "--out", "out"]  # fmt: skip


def rows_of(folder: str = "out") -> dict[str, dict[str, Any]]:
    comparison = json.loads(Path(folder, "comparison.json").read_text())
    return {row["chain"]: row for row in comparison["rows"]}


def test_every_method_ends_in_a_complete_row(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--methods", FINETUNE, "--methods", METHODS]) == 0
    rows = rows_of()
    assert len(rows) == 7
    baseline = rows["baseline"]
    assert baseline["retention"] == 1.0
    assert baseline["scores"]["accuracy"] > 0.9
    for chain, row in rows.items():
        assert row["size_bytes"] > 0
        assert row["latency"]["onnxruntime"]["1x16"]["samples"] >= 15
        assert row["speedup"]["onnxruntime"]["1x16"]["low"] <= row["speedup"]["onnxruntime"]["1x16"]["high"]
        assert set(row["scores"]) == {"accuracy", "f1"}
        assert (row["int8"] is not None) == ("quant" in chain), chain
        assert (Path("out") / row["artifact"]["path"] / "artifact.json").exists()
    pruned = rows["prune"]
    assert pruned["linear_sparsity"] == pytest.approx(0.2, abs=1e-3)
    assert pruned["latency"]["onnxruntime"]["1x16"]["shared_with"]
    assert rows["prune+quant-qdq"]["linear_sparsity"] >= 0.2 - 1e-3
    assert list(rows["prune+quant-qdq"]["parameters"]) == ["prune", "quant-qdq"]
    assert rows["prune+quant-qdq"]["parameters"]["prune"]["objective"] == "labels"
    trained = rows["prune"]["budget"]
    assert trained["steps"] > 0
    assert rows["prune+quant-qdq"]["budget"] == trained | {"calibration_rows": 128}
    assert "same graph" in capsys.readouterr().out
    drawn = sorted(path.name.rsplit("-", 1)[0] for path in Path("out/plots").glob("curves-*.svg"))
    assert len(drawn) == 3
    assert [name.split("-")[2] for name in drawn] == ["distill", "finetune", "prune"]
    assert Path("out/comparison.md").read_text().count("](plots/curves-") == 3
    for name in (
        "plan.toml",
        "environment.json",
        "records.jsonl",
        "comparison.md",
        "comparison.csv",
        "comparison.html",
    ):
        assert Path("out", name).stat().st_size > 0


def test_a_finished_plan_measures_latency_anew_and_nothing_else(arguments: list[str]) -> None:
    assert main([*arguments, "--methods", FINETUNE, "--methods", "prune"]) == 0
    before = {artifact.key: (artifact.path / "artifact.json").stat().st_mtime_ns for artifact in open_store().all()}
    first = rows_of()
    assert main(["run", "--plan", "out/plan.toml", "--out", "out"]) == 0
    after = {artifact.key: (artifact.path / "artifact.json").stat().st_mtime_ns for artifact in open_store().all()}
    assert after == before
    records = RecordLog(Path("out/records.jsonl")).read().records
    assert {each.session for each in records if isinstance(each, LatencyRecord)} == {1, 2}
    assert [each.state for each in records if isinstance(each, SessionRecord)] == ["begun", "finished"] * 2
    assert sum(1 for each in records if each.kind == "quality") == 2
    assert [(each.task, each.stage.split()[0]) for each in records if isinstance(each, CurveRecord)] == [
        ("train", "fine-tune"), ("train", "prune"),
    ]  # fmt: skip
    assert rows_of()["prune"]["scores"] == first["prune"]["scores"]


def test_another_machine_measures_speed_and_kernels_anew_and_no_score(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*arguments, "--methods", FINETUNE, "--methods", "quant-dynamic"]) == 0
    monkeypatch.setattr(run_folder, "fingerprint", lambda _: "another machine")
    for _ in range(2):
        assert main(["run", "--plan", "out/plan.toml", "--out", "out"]) == 0
    records = RecordLog(Path("out/records.jsonl")).read().records
    assert {each.session for each in records if isinstance(each, LatencyRecord)} == {1, 2, 3}
    assert [each.session for each in records if isinstance(each, Int8Record)] == [1, 2]  # the third is on the second's
    assert sum(1 for each in records if each.kind == "quality") == 2
    assert "session 1" in Path("out/comparison.md").read_text()


def test_fresh_makes_everything_anew_and_deletes_nothing(arguments: list[str]) -> None:
    run = [*arguments, "--methods", FINETUNE, "--methods", "quant-dynamic"]
    assert main(run) == 0
    before = {artifact.key for artifact in open_store().all()}
    assert main([*run, "--fresh"]) == 0
    after = {artifact.key for artifact in open_store().all()}
    assert before < after
    assert len(after) == 2 * len(before)
    assert main(run) == 0
    assert {artifact.key for artifact in open_store().all()} == after
    records = RecordLog(Path("out/records.jsonl")).read().records
    assert [each.session for each in records if isinstance(each, Int8Record)] == [1, 2]


def test_a_damaged_artifact_is_not_used(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = [*arguments, "--methods", FINETUNE, "--methods", "quant-dynamic"]
    assert main(run) == 0
    damaged = Path("out", rows_of()["quant-dynamic"]["artifact"]["path"])
    with (damaged / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    assert main(run) == 1
    assert "model.onnx differs from its manifest; remove that folder" in capsys.readouterr().err
    shutil.rmtree(damaged)
    assert main(run) == 0


def test_an_interrupted_run_goes_on(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import compressbench.measuring as measuring

    run = [*arguments, "--methods", FINETUNE, "--methods", "prune,quant-dynamic"]
    measure = measuring.measure_latency

    def stopped(subjects: Any, *, on_record: Any, **rest: Any) -> None:
        seen = []

        def stop_after_five(record: Any) -> None:
            on_record(record)
            seen.append(record)
            if len(seen) == 5:
                raise KeyboardInterrupt

        measure(subjects, on_record=stop_after_five, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "measure_latency", stopped)
        assert main(run) == 130
    kept = [each for each in RecordLog(Path("out/records.jsonl")).read().records if isinstance(each, LatencyRecord)]
    assert len(kept) == 5
    stored = {artifact.key for artifact in open_store().all()}
    assert main(run) == 0
    records = RecordLog(Path("out/records.jsonl")).read().records
    blocks = [each for each in records if isinstance(each, LatencyRecord)]
    assert blocks[:5] == kept
    assert {each.session for each in blocks} == {1}
    assert {artifact.key for artifact in open_store().all()} == stored
    assert rows_of()["quant-dynamic"]["speedup"]["onnxruntime"]["1x16"]["ratio"] > 0


def test_ctrl_c_within_a_training_loses_no_step(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own, stopped by the signal; the same command then goes on from the step it was at."""
    command = ["compress", "finetune:epochs=60:precision=fp32", *arguments[1:7], "--threads", "1", "--to"]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # though the tests ignore it
        "from compressbench.methods.checkpoint import Checkpoint; from compressbench.__main__ import main; "
        "Checkpoint.is_due = property(lambda self: True); sys.exit(main(sys.argv[1:]))"
    )
    started = subprocess.Popen([sys.executable, "-c", code, *command, "stopped"], stderr=subprocess.PIPE)
    store = open_store()
    while not store.unfinished():
        assert started.poll() is None
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    started.communicate(timeout=60)
    assert started.returncode == 130
    assert not Path("stopped").exists()
    (unfinished,) = store.unfinished()
    with safe_open(unfinished, framework="pt") as stream:
        done = json.loads(stream.metadata()["values"])["step"]
    assert main(["cache", "list"]) == 0
    assert "interrupted trainings, for the next run to go on with" in capsys.readouterr().out
    steps, take_step = [], TrainingLoop._step
    monkeypatch.setattr(TrainingLoop, "_step", lambda *given: steps.append(1) or take_step(*given))
    assert main([*command, "resumed"]) == 0
    assert 0 < len(steps) == 60 * 8 - done
    assert store.unfinished() == []
    shutil.rmtree(store.root)
    assert main([*command, "whole"]) == 0
    assert Path("resumed/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


def test_a_failed_cell_is_reported_and_the_rest_too(arguments: list[str]) -> None:
    # A training that diverges: only the method itself can tell, and only when it runs.
    diverging = "prune:learning_rate=1e30"
    run = [*arguments, "--methods", FINETUNE, "--methods", f"{diverging},quant-dynamic"]
    assert main(run) == 1
    rows = rows_of()
    assert rows["quant-dynamic"]["size_bytes"] > 0
    failed = rows[diverging]
    assert failed["size_bytes"] is None
    assert failed["parameters"]["learning_rate"] == 1e30  # as asked for
    assert "loss is nan" in failed["warnings"][0]


def test_a_weak_teacher_stops_the_run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = [*arguments, "--methods", "finetune:epochs=1:learning_rate=1e-9", "--methods", "quant-dynamic"]
    assert main(run) == 2
    error = capsys.readouterr().err
    assert "--allow-weak-teacher" in error
    assert main([*run, "--allow-weak-teacher"]) == 0
    assert any("teacher" in warning for warning in rows_of()["baseline"]["warnings"])


def test_a_new_onnxruntime_quantizes_again_and_trains_nothing(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressbench import environment

    run = [*arguments, "--methods", FINETUNE, "--methods", "prune,quant-dynamic"]
    assert main(run) == 0
    before = {artifact.key for artifact in open_store().all()}
    real = environment.package_version
    monkeypatch.setattr(environment, "package_version", lambda name: "99.0.0" if name == "onnxruntime" else real(name))
    assert main(run) == 0
    added = [artifact.manifest.method for artifact in open_store().all() if artifact.key not in before]
    assert added == ["quant-dynamic"]


def test_a_raised_revision_makes_that_method_again(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from compressbench.methods.prune import Prune

    run = [*arguments, "--methods", FINETUNE, "--methods", "prune,quant-dynamic"]
    assert main(run) == 0
    before = {artifact.key for artifact in open_store().all()}
    monkeypatch.setattr(Prune, "revision", Prune.revision + 1)
    assert main(run) == 0
    added = sorted(artifact.manifest.method for artifact in open_store().all() if artifact.key not in before)
    assert added == ["onnx-export", "prune"]


def test_a_models_own_order_of_labels_is_followed_by_every_command(arguments: list[str]) -> None:
    data = ["--train", "train.csv", "--validation", "dev.csv", "--shapes", "1x16", "--threads", "1"]
    assert main(["compress", FINETUNE, *data[:4], *arguments[1:3], "--to", "teacher"]) == 0
    turned = Path("turned")
    turned.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(Path("teacher", name), turned / name)
    tensors = load_file("teacher/model.safetensors")
    heads = ("classifier.weight", "classifier.bias")
    save_file(tensors | {name: tensors[name].flip(0).contiguous() for name in heads}, turned / "model.safetensors")
    config = json.loads((turned / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    config |= {"id2label": {"0": "good", "1": "bad"}, "label2id": {"good": 0, "bad": 1}}
    (turned / "config.json").write_text(json.dumps(config))
    assert main(["compress", "quant-dynamic", *data[:4], "--source", "turned", "--to", "small"]) == 0
    assert main(["measure", "turned", "small", *data, "--out", "out"]) == 0
    assert rows_of()["small"]["scores"]["accuracy"] > 0.9
    for model in ("turned", "small"):
        assert main(["predict", model, *data[:4], "--to", f"{model}.tsv"]) == 0
    assert Path("turned.tsv").read_text() == Path("small.tsv").read_text()


def test_two_seeds_are_two_rows_a_method(arguments: list[str]) -> None:
    assert main([*arguments, "--methods", FINETUNE, "--methods", "prune", "--seeds", "1,2"]) == 0
    rows = json.loads(Path("out/comparison.json").read_text())["rows"]
    assert [(row["chain"], row["seed"]) for row in rows] == [
        ("baseline", 1), ("baseline", 2), ("prune", 1), ("prune", 2),
    ]  # fmt: skip


def test_dry_run_writes_nothing(arguments: list[str]) -> None:
    before = sorted(Path().rglob("*"))
    assert main([*arguments, "--methods", "distill:student=1x16x2x32,prune", "--dry-run"]) == 0
    assert sorted(Path().rglob("*")) == before
    assert open_store().all() == []


def test_the_other_commands_take_what_a_run_leaves(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--methods", FINETUNE, "--methods", "quant-dynamic"]) == 0
    rows = rows_of()
    data = ["--train", "train.csv", "--validation", "dev.csv"]
    quantized, teacher = (str(Path("out") / rows[chain]["artifact"]["path"]) for chain in ("quant-dynamic", "baseline"))
    assert main(["predict", quantized, *data, "--to", "answers.tsv"]) == 0
    assert len(Path("answers.tsv").read_text().splitlines()) == 65
    assert main(["measure", teacher, quantized, *data, "--shapes", "1x16", "--threads", "1", "--out", "measured"]) == 0
    measured = rows_of("measured")
    assert measured[quantized]["scores"] == rows["quant-dynamic"]["scores"]
    assert main(["compress", "quant-dynamic", *data, "--source", teacher, "--to", "small"]) == 0
    assert Path("small/model.onnx").stat().st_size == rows["quant-dynamic"]["size_bytes"]
    assert main(["report", "out", "--format", "md,tex", "--reference", "seed", "--to", "again"]) == 0
    assert "105.23" in Path("again/comparison.md").read_text()
    capsys.readouterr()
    assert main(["compare", "out", "out"]) == 0
    assert "quant-dynamic" in capsys.readouterr().out
    assert main(["cache", "verify"]) == 0
    assert main(["cache", "list"]) == 0
    assert main(["cache", "clear", "--yes"]) == 0
    assert open_store().all() == []

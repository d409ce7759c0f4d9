"""`compressbench gate` on runs and recorded baselines: verdicts, exit codes, reports, and what it refuses."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from compressbench.__main__ import main
from compressbench.records.log import RecordLog
from compressbench.records.schema import CellRecord, Int8Record, LatencyRecord, QualityRecord, Record, SizeRecord
from tests.unit.gate_runs import MACHINE, larger, of_quantized, slower, worse, write_run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the command in a folder where `a` is a run; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    write_run(Path("a"))

    def called(*arguments: str) -> tuple[int, str, str]:
        code = main(["gate", *arguments])
        output, error = capsys.readouterr()
        return code, output, error

    return called


def unfolded(text: str) -> str:
    """What was printed, whatever the width of the screen."""
    return " ".join(text.split())


def checks(folder: str = "out") -> dict[str, dict[str, Any]]:
    """The quantized row's checks by label."""
    values = json.loads(Path(folder, "gate.json").read_text())
    return {each["label"]: each for each in values["checks"] if each["chain"] == "quant-qdq"}


def test_a_run_passes_against_itself(call: Call) -> None:
    code, output, _ = call("a", "a")
    assert code == 0
    assert "gate: pass: 11 checks, 11 pass" in output


@pytest.mark.parametrize(
    ("change", "code", "label", "verdict"),
    [
        (slower(1.2), 1, "latency 1x128", "regression"),
        (slower(1.04), 0, "latency 1x128", "pass"),
        (slower(0.5), 0, "latency 8x128", "pass"),
        (larger(1.02), 1, "size", "regression"),
        (larger(1.009), 0, "size", "pass"),
        (worse(to_wrong=30), 1, "Accuracy dev", "regression"),
        (worse(to_wrong=12, to_right=6), 3, "Accuracy dev", "inconclusive"),
        (worse(to_wrong=4), 0, "Accuracy dev", "pass"),
        (worse(to_wrong=0, to_right=40), 1, "agreement dev", "regression"),
        (worse(to_wrong=11, to_right=11), 3, "agreement dev", "inconclusive"),
    ],
)
def test_verdicts_and_exit_codes(call: Call, change: Any, code: int, label: str, verdict: str) -> None:
    write_run(Path("b"), change=change)
    found, output, _ = call("a", "b", "--to", "out")
    assert found == code
    assert checks()[label]["verdict"] == verdict
    assert json.loads(Path("out/gate.json").read_text())["exit_code"] == code
    assert f"gate: {('pass', 'regression', '', 'inconclusive')[code]}" in output


def test_a_lower_int8_share_is_a_regression(call: Call) -> None:
    def less(record: Record) -> Record:
        return replace(record, constant_gemm_share=0.9) if isinstance(record, Int8Record) else record

    write_run(Path("b"), change=less)
    assert call("a", "b", "--to", "out")[0] == 1
    found = checks()["int8 1x128"]
    assert (found["verdict"], found["worsening"]) == ("regression", pytest.approx(0.1))


def test_regression_comes_before_inconclusive(call: Call) -> None:
    write_run(Path("b"), change=lambda record: larger(1.5)(worse(to_wrong=12, to_right=6)(record)))
    assert call("a", "b")[0] == 1


def test_thresholds_are_what_is_allowed(call: Call) -> None:
    write_run(Path("b"), change=slower(1.2))
    assert call("a", "b", "--latency-threshold", "25%")[0] == 0
    write_run(Path("c"), change=larger(1.02))
    assert call("a", "c", "--size-threshold", "3%")[0] == 0
    write_run(Path("d"), change=worse(to_wrong=30))
    assert call("a", "d", "--score-threshold", "10pt", "--agreement-threshold", "10pt")[0] == 0


@pytest.mark.parametrize("option", ["latency", "score", "agreement", "size", "int8"])
@pytest.mark.parametrize("text", ["5", "0%", "-1%", "0pt", "-1pt", "nan%", "5percent"])
def test_thresholds_without_unit_zero_or_negative_are_refused(call: Call, option: str, text: str) -> None:
    code, output, error = call("a", "a", f"--{option}-threshold={text}")
    assert (code, output) == (2, "")
    assert f"--{option}-threshold" in error
    assert "such as" in error or "write it as" in error


def test_inconclusive_may_only_warn(call: Call) -> None:
    write_run(Path("b"), change=worse(to_wrong=12, to_right=6))
    code, output, _ = call("a", "b", "--on-inconclusive", "warn")
    assert code == 0
    assert "inconclusive (a warning" in output
    Path("gate.toml").write_text("on_inconclusive = 'warn'\n")
    assert call("a", "b")[0] == 0
    assert call("a", "b", "--on-inconclusive", "fail")[0] == 3


def test_a_recorded_baseline_judges_as_the_run_it_was_recorded_of(call: Call) -> None:
    write_run(Path("long"), tasks=("CoLA", "MNLI", "STS-B"))
    write_run(Path("slow"), tasks=("CoLA", "MNLI", "STS-B"), change=slower(1.2))
    assert call("--record", "long", "--to", "base.json") == (0, "base.json: 6 rows of long\n", "")
    assert Path("base.json").stat().st_size < 40_000
    for current, code in (("long", 0), ("slow", 1)):
        found = []
        for side in ("long", "base.json"):
            assert call(side, current, "--to", "out")[0] == code
            found.append(json.loads(Path("out/gate.json").read_text())["checks"])
        for one, other in zip(*found, strict=True):
            assert one.pop("worsening") == pytest.approx(other.pop("worsening"), abs=1e-6)
            drop = ("low", "high", "baseline", "current", "p_value")
            assert {k: v for k, v in one.items() if k not in drop} == {k: v for k, v in other.items() if k not in drop}
    assert call("base.json", "base.json")[0] == 0


def test_another_machines_latency_is_not_compared_and_the_rest_decides(call: Call) -> None:
    other = {**MACHINE, "isa_class": "x86_64+avx2+avx512f"}
    write_run(Path("b"), change=slower(3), environment=other)
    code, output, _ = call("a", "b", "--to", "out")
    assert code == 0
    assert checks()["latency 1x128"]["verdict"] == "not comparable"
    assert checks()["latency 1x128"]["worsening"] == pytest.approx(2, abs=0.01)
    assert "the instruction sets differ or are not known (x86_64+avx2 and x86_64+avx2+avx512f)" in unfolded(output)
    write_run(Path("c"), change=larger(1.5), environment=other)
    assert call("a", "c")[0] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"packages": {"onnxruntime": "1.31.0"}}, "the versions of onnxruntime differ"),
        ({"isa_class": None}, "the instruction sets differ or are not known (x86_64+avx2 and unknown)"),
    ],
)
def test_another_runtime_version_or_an_unknown_machine_is_not_compared(
    call: Call, change: dict[str, Any], reason: str
) -> None:
    write_run(Path("b"), change=slower(3), environment=MACHINE | change)
    code, output, _ = call("a", "b")
    assert code == 0
    assert reason in unfolded(output)


def test_another_thread_count_is_not_compared(call: Call) -> None:
    def one_thread(record: Record) -> Record:
        return replace(record, threads=1) if isinstance(record, LatencyRecord) else record

    write_run(Path("b"), change=lambda record: one_thread(slower(3)(record)))
    code, output, _ = call("a", "b")
    assert code == 0
    assert "the thread counts differ (2 and 1)" in unfolded(output)


def test_every_thread_count_is_compared(call: Call) -> None:
    def also_one_thread(slowdown: float) -> Callable[[Path], None]:
        def add(folder: Path) -> None:
            log = RecordLog(folder / "records.jsonl")
            for record in [each for each in log.read().records if isinstance(each, LatencyRecord)]:
                samples = [int(value * 1.5 * slowdown) for value in record.samples_ns]
                log.append(replace(record, threads=1, samples_ns=samples))
                log.append(record)  # two threads stay the main count

        return add

    write_run(Path("b"))
    also_one_thread(1.0)(Path("a"))
    also_one_thread(1.2)(Path("b"))
    assert call("a", "b", "--to", "out")[0] == 1
    values = json.loads(Path("out/gate.json").read_text())["checks"]
    verdicts = {each["place"]: each["verdict"] for each in values if each["metric"] == "latency"}
    assert verdicts["onnxruntime 1x128, 2 threads"] == "pass"
    assert verdicts["onnxruntime 1x128, 1 thread"] == "regression"


def test_a_missing_row_is_named(call: Call) -> None:
    write_run(Path("b"), chains=("baseline",))
    code, output, error = call("a", "b", "--to", "out")
    assert (code, output) == (2, "")
    assert "b lacks 1 of the baseline's 2 rows: MRPC/quant-qdq (seed 1)" in error
    assert not Path("out").exists()
    assert call("b", "a")[1].count("Not in the baseline, so not judged: MRPC/quant-qdq") == 1


def test_a_row_that_failed_is_missing_and_says_why(call: Call) -> None:
    def failed(record: Record) -> Record:
        is_it = isinstance(record, CellRecord) and record.chain == "quant-qdq"
        return replace(record, error="no memory", measured_key="") if is_it else record

    write_run(Path("b"), change=failed)
    code, _, error = call("a", "b")
    assert code == 2
    assert "MRPC/quant-qdq (seed 1) (it failed: no memory)" in error


def test_rows_match_on_the_canonical_chain_whatever_was_typed(call: Call) -> None:
    def typed(record: Record) -> Record:
        return replace(record, method="my quantization") if isinstance(record, CellRecord) else record

    write_run(Path("b"), change=typed)
    assert call("a", "b")[0] == 0


def emptied(record: Record) -> Record:
    return replace(record, samples_ns=[]) if isinstance(record, LatencyRecord) and of_quantized(record) else record


def undefined(record: Record) -> Record:
    is_it = isinstance(record, LatencyRecord) and of_quantized(record)
    return replace(record, samples_ns=[float("nan")]) if is_it else record


def nan_answers(record: Record) -> Record:
    is_it = isinstance(record, QualityRecord) and of_quantized(record)
    return replace(record, logits=[[float("nan"), 0.0], *record.logits[1:]]) if is_it else record


def other_rows(record: Record) -> Record:
    return replace(record, references=record.references[::-1]) if isinstance(record, QualityRecord) else record


def without_large(record: Record) -> Record:
    is_it = isinstance(record, LatencyRecord) and record.shape == "8x128"
    return replace(record, shape="4x128") if is_it else record


def without_size(record: Record) -> Record:
    """The quantized model's size, as of another model."""
    is_it = isinstance(record, SizeRecord) and of_quantized(record)
    return replace(record, measured_key="another") if is_it else record


def without_answers(record: Record) -> Record:
    is_it = isinstance(record, QualityRecord) and of_quantized(record)
    return replace(record, measured_key="another") if is_it else record


def other_int8_shape(record: Record) -> Record:
    return replace(record, shape="8x128") if isinstance(record, Int8Record) else record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_size, "the current side has no size of MRPC/quant-qdq (seed 1): finish its run"),
        (without_answers, "the current side has no answers of MRPC/quant-qdq (seed 1) on dev: finish its run"),
        (
            other_int8_shape,
            "no INT8 share of MRPC/quant-qdq (seed 1) at 1x128 in onnxruntime: give both sides the same",
        ),
        (emptied, "holds no positive durations: measure it again"),
        (undefined, "holds no positive durations: measure it again"),
        (nan_answers, "b: MRPC/quant-qdq answers NaN or infinity on 1 of 400 rows of dev"),
        (other_rows, "the two sides answered other rows of MRPC dev"),
        (without_large, "no latency of MRPC/baseline (seed 1) at 8x128 in onnxruntime: give both sides the same"),
    ],
)
def test_records_that_cannot_be_compared_are_refused(call: Call, change: Any, message: str) -> None:
    write_run(Path("b"), change=change)
    code, output, error = call("a", "b")
    assert (code, output) == (2, "")
    assert message in error
    assert error.count("\n") == 1


def test_another_task_is_refused(call: Call) -> None:
    write_run(Path("b"), tasks=("CoLA",))
    code, _, error = call("a", "b")
    assert code == 2
    assert "the baseline a is of MRPC and b of CoLA: no row is of the same task" in error


def all_failed(record: Record) -> Record:
    return replace(record, error="no memory", measured_key="") if isinstance(record, CellRecord) else record


def test_a_baseline_in_which_everything_failed_is_refused(call: Call) -> None:
    write_run(Path("b"), change=all_failed)
    assert "b holds no row that was made: choose another baseline" in call("b", "a")[2]


def test_a_run_without_a_row_is_refused(call: Call) -> None:
    lines = Path("a/records.jsonl").read_text().splitlines()
    Path("a/records.jsonl").write_text(lines[0] + "\n")
    assert "a holds no row: the run was stopped before its first model; run the plan again" in call("a", "a")[2]


def test_a_line_that_was_cut_short_is_named_and_the_rest_is_used(call: Call) -> None:
    write_run(Path("b"))
    with Path("b/records.jsonl").open("a") as stream:
        stream.write('{"schema_version": 2, "kind": "lat')
    code, output, error = call("a", "b")
    told = "is cut short, because writing it was interrupted; the other records are used"
    assert code == 0
    assert told in unfolded(output)
    assert error.count(told) == 1
    code, _, error = call("b", "b", "--to", "out")
    assert (code, error.count(told)) == (0, 1)
    code, _, error = call("--record", "b", "--to", "base.json")
    assert (code, error.count(told)) == (0, 1)


def test_a_damaged_line_is_refused(call: Call) -> None:
    lines = Path("a/records.jsonl").read_text().splitlines()
    lines[2] = lines[2].replace(",", ",,", 1)
    Path("a/records.jsonl").write_text("\n".join(lines) + "\n")
    code, output, error = call("a", "a")
    assert (code, output) == (2, "")
    assert "records.jsonl, line 3 is damaged at character" in error


@pytest.mark.parametrize("to", ["file/out", "/proc/out"])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_read(call: Call, to: str) -> None:
    Path("file").touch()
    code, output, error = call("absent", "a", "--to", to)
    assert (code, output) == (2, "")
    assert error.startswith(f"compressbench: --to {to}")


def test_a_folder_for_reports_that_cannot_be_written_is_refused(call: Call) -> None:
    Path("out/gate.json").mkdir(parents=True)
    code, output, error = call("a", "a", "--to", "out")
    assert (code, output) == (2, "")
    assert "--to out cannot be written (Is a directory): give a folder" in error


def edited(change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(Path("base.json").read_text())
    change(values)
    Path("base.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(schema_version=99), "base.json is of schema version 99 and this program reads 1"),
        (lambda values: values.update(kind="x"), "base.json is no recorded baseline: write one with"),
        (lambda values: values.pop("rows"), "base.json is damaged (KeyError: 'rows'): record the baseline anew"),
        (
            lambda values: values["rows"][1]["latency"][0].update(medians_ns=[]),
            "base.json: MRPC/quant-qdq holds samples that are empty or no positive durations",
        ),
        (
            lambda values: values["rows"][1]["latency"][0]["medians_ns"][0].__setitem__(2, float("nan")),
            "base.json: MRPC/quant-qdq holds samples that are empty or no positive durations",
        ),
        (
            lambda values: values["rows"][1]["answers"].update(dev="01"),
            "base.json: MRPC/quant-qdq dev holds answers that are empty, NaN or not one a row",
        ),
    ],
)
def test_a_recorded_baseline_that_cannot_be_used_is_refused(call: Call, change: Any, message: str) -> None:
    call("--record", "a", "--to", "base.json")
    edited(change)
    code, output, error = call("base.json", "a")
    assert (code, output) == (2, "")
    assert message in error


def test_what_is_no_run_and_no_baseline_is_refused(call: Call) -> None:
    Path("text").write_text("hello")
    assert "text is no readable JSON" in call("text", "a")[2]
    Path("log").mkdir()
    assert "log is no run: it holds no records.jsonl" in call("log", "a")[2]


def test_a_log_of_another_schema_version_is_refused(call: Call) -> None:
    lines = Path("a/records.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"schema_version":', '"schema_version":9')
    Path("a/records.jsonl").write_text("\n".join(lines))
    code, _, error = call("a", "a")
    assert code == 2
    assert "is of schema version" in error


def test_recording_refuses_a_run_that_regressed(call: Call) -> None:
    write_run(Path("b"), change=slower(1.2))
    assert call("--record", "a", "--to", "base.json")[0] == 0
    before = Path("base.json").read_text()
    code, output, error = call("--record", "b", "--to", "base.json")
    assert code == 1
    assert "regression" in output
    assert "base.json stays as it was: b regressed against it; --accept records it anyway" in error
    assert Path("base.json").read_text() == before
    assert call("--record", "b", "--to", "base.json", "--accept")[0] == 0
    assert Path("base.json").read_text() != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "gate compares two sides and 0 were given"),
        (["a"], "gate compares two sides and 1 were given"),
        (["--record", "a"], "--to is missing: name the file that the baseline is written into"),
        (["a", "a", "--record", "a", "--to", "x"], "takes no BASELINE and CURRENT"),
        (["a", "a", "--accept"], "--accept belongs to --record"),
        (["a", "a", "--task", "CoLA"], "--task says how to measure: it belongs to gate --live"),
        (["a", "a", "--lock-timeout", "3s"], "--lock-timeout says how to measure"),
        (["a", "a", "--format", "pdf", "--to", "out"], "unknown format 'pdf'"),
        (["a", "a", "--to", "a/records.jsonl"], "is a file, not a folder"),
        (["a", "a", "--config", "no.toml"], "--config no.toml cannot be read"),
        (["--record", "a", "--to", "no/base.json"], "--to no/base.json cannot be written"),
        (["--live", "a", "a"], "--task is missing"),
        (["--live", "a", "a", "--task", "CoLA", "--budget", "50"], "--budget '50' has no unit"),
        (
            ["--live", "a", "a", "--task", "CoLA", "--lock-timeout", "0s"],
            "--lock-timeout '0s' is no finite number above",
        ),
    ],
)
def test_misuse_is_refused(call: Call, arguments: list[str], message: str) -> None:
    code, output, error = call(*arguments)
    assert (code, output) == (2, "")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("bare.onnx", "tokenizer.json"),
        ("absent.onnx", "absent.onnx"),
        ("a", "a "),  # a run's folder is no model
    ],
)
def test_a_live_gate_refuses_what_it_cannot_measure(call: Call, model: str, message: str) -> None:
    Path("rows.csv").write_text("text,label\na fine film,good\na dull film,bad\n")
    Path("bare.onnx").write_bytes(b"")
    options = ["--train", "rows.csv", "--validation", "rows.csv", "--offline", "--to", "out"]
    code, output, error = call("--live", model, model, *options)
    assert (code, output) == (2, "")
    assert message in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


class TestAccepts:
    entry = """
[[accept]]
row = "MRPC/quant-qdq"
metric = "latency"
up_to = "25%"
reason = "a safer kernel"
expires = 2999-12-31
"""

    def test_a_regression_that_was_accepted_passes_and_says_so(self, call: Call) -> None:
        write_run(Path("b"), change=slower(1.2))
        Path("gate.toml").write_text(self.entry)
        code, output, _ = call("a", "b", "--to", "out")
        assert code == 0
        assert checks()["latency 1x128"]["verdict"] == "accepted"
        assert "accepted until 2999-12-31: a safer kernel" in unfolded(output)

    @pytest.mark.parametrize("row", ["quant-qdq", "MRPC/quant-qdq (seed 1)"])
    def test_a_chain_alone_or_one_seed_of_it_may_be_named(self, call: Call, row: str) -> None:
        write_run(Path("b"), change=slower(1.2))
        Path("gate.toml").write_text(self.entry.replace("MRPC/quant-qdq", row))
        assert call("a", "b")[0] == 0

    def test_more_than_was_accepted_is_a_regression(self, call: Call) -> None:
        write_run(Path("b"), change=slower(1.3))
        Path("elsewhere.toml").write_text(self.entry)
        assert call("a", "b", "--config", "elsewhere.toml")[0] == 1

    def test_a_row_that_is_not_there_is_noted(self, call: Call) -> None:
        Path("gate.toml").write_text(self.entry.replace("quant-qdq", "quantt"))
        code, output, _ = call("a", "a")
        assert code == 0
        assert "[[accept]] MRPC/quantt, latency: no row of this call has that name" in unfolded(output)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("2999-12-31", "2020-01-31", "gate.toml: [[accept]] 1 (MRPC/quant-qdq, latency) expired on 2020-01-31"),
            ("2999-12-31", "'soon'", "expires = 'soon' is no day: write it as 2026-12-31"),
            ('"25%"', '"25"', "gate.toml: [[accept]] 1: up_to '25' has no unit"),
            ('reason = "a safer kernel"', "", "gate.toml: [[accept]] 1 has no reason"),
            ('"latency"', '"speed"', "unknown metric 'speed'"),
            ("reason =", "because = 1\nreason =", "unknown key 'because'"),
        ],
    )
    def test_what_an_entry_may_not_be(self, call: Call, old: str, new: str, message: str) -> None:
        Path("gate.toml").write_text(self.entry.replace(old, new))
        code, output, error = call("a", "a")
        assert (code, output) == (2, "")
        assert message in error

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("thresholds = 5", "gate.toml: thresholds is a table"),
            ("[thresholds]\nlatency = '5'", "gate.toml: latency '5' has no unit"),
            ("[thresholds]\nlatency = 5", "gate.toml: latency '5' has no unit"),
            ("[thresholds]\nspeed = '5%'", "unknown threshold 'speed'"),
            ("treshold = 1", "unknown key 'treshold'"),
            ("on_inconclusive = 'ignore'", "on_inconclusive = 'ignore': it is fail or warn"),
            ("accept = 1", "gate.toml: accept is written as [[accept]]"),
            ("= 1", "gate.toml is no TOML"),
        ],
    )
    def test_what_the_file_may_not_be(self, call: Call, text: str, message: str) -> None:
        Path("gate.toml").write_text(text)
        code, output, error = call("a", "a")
        assert (code, output) == (2, "")
        assert message in error

    def test_the_command_line_goes_before_the_file(self, call: Call) -> None:
        write_run(Path("b"), change=slower(1.2))
        Path("gate.toml").write_text("[thresholds]\nlatency = '30%'\n")
        assert call("a", "b")[0] == 0
        assert call("a", "b", "--latency-threshold", "10%")[0] == 1


class TestReports:
    def test_files_are_written_and_say_the_same(self, call: Call) -> None:
        write_run(Path("b"), change=slower(1.2))
        code, _, error = call("a", "b", "--to", "out")
        assert code == 1
        assert "written: out/gate.md" in error
        root = ET.parse("out/gate.xml").getroot()
        assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("11", "2", "0")
        assert "regression" in str(root.find(".//failure").get("message"))  # type: ignore[union-attr]
        report = Path("out/gate.md").read_text()
        assert report.startswith("# gate: regression: 11 checks, 9 pass, 2 regression\n")
        assert "- MRPC/quant-qdq: latency (onnxruntime 1x128, 2 threads) from" in report

    def test_pytest_benchmark_reads_the_latencies(self, call: Call) -> None:

        call("a", "a", "--to", "out", "--format", "benchmark")
        assert sorted(path.name for path in Path("out").iterdir()) == ["benchmark.json"]
        values = json.loads(Path("out/benchmark.json").read_text())
        assert len(values["benchmarks"]) == 4
        for each in values["benchmarks"]:
            data = each["stats"]["data"]
            assert each["stats"]["mean"] == pytest.approx(statistics.fmean(data))
            assert each["stats"]["stddev"] == pytest.approx(statistics.stdev(data))
            assert each["stats"]["min"] <= each["stats"]["q1"] <= each["stats"]["median"] <= each["stats"]["q3"]
        command = [sys.executable, "-m", "pytest_benchmark", "compare", "out/benchmark.json"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "MRPC/quant-qdq[onnxruntime-1x128-2]" in answer.stdout + answer.stderr

    def test_github_gets_annotations_and_a_summary(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        write_run(Path("b"), change=slower(1.2))
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
        code, output, _ = call("a", "b")
        assert code == 1
        lines = [line for line in output.splitlines() if line.startswith("::")]
        assert lines[0].startswith("::error title=gate%3A regression in MRPC/quant-qdq::MRPC/quant-qdq: latency (")
        assert "+20.0 %25 [" in lines[0]
        assert lines[-1] == "::notice title=gate::gate: regression: 11 checks, 9 pass, 2 regression"
        assert (tmp_path / "summary.md").read_text().startswith("# gate: regression")

    def test_an_inconclusive_check_that_warns_is_a_warning(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        write_run(Path("b"), change=worse(to_wrong=12, to_right=6))
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        assert "::error title=gate%3A inconclusive" in call("a", "b")[1]
        output = call("a", "b", "--on-inconclusive", "warn", "--to", "out")[1]
        assert "::warning title=gate%3A inconclusive" in output
        assert ET.parse("out/gate.xml").getroot().get("errors") == "0"

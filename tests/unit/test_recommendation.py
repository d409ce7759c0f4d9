"""A recommendation keeps to every limit, says what it excludes and why, and does not pick a lucky seed."""

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_run import CHAINS, cell, failed_cell, fake_run, quality, references

from compressbench.__main__ import main
from compressbench.errors import BadInput
from compressbench.records.log import RecordLog
from compressbench.records.run_folder import RunRecords
from compressbench.records.schema import QualityRecord, Record
from compressbench.reporting.recommendation import Candidate, Limits, reason, recommend

MS, MIB = 1_000_000, 1024 * 1024


def run(records: Sequence[Record]) -> RunRecords:
    return RunRecords(folder=Path("runs/a"), records=records, environment={})


def named(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    return {each.name: each for each in candidates}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return fake_run(("MRPC",))


def test_the_fastest_that_fits_comes_first_and_the_rest_says_why(records: list[Record]) -> None:
    found = recommend(run(records), Limits(max_latency_ns=60 * MS))["MRPC"]
    assert {each.name for each in found if not each.misses} == {"distill", "distill+prune", "quant-qdq"}
    # distill and distill+prune have one graph and so one latency: the better score decides.
    better = max(("distill", "distill+prune"), key=lambda name: named(found)[name].retention or 0)
    assert found[0].name == better
    assert found[2].name == "quant-qdq"
    assert "the fastest of the 3" in reason(found)
    misses = named(found)["prune"].misses
    assert len(misses) == 1
    assert misses[0].startswith("takes ")
    assert misses[0].endswith(" ms, more than 60.0 ms")


def test_a_floor_on_retention_excludes_the_fast_but_wrong(records: list[Record]) -> None:
    retained = {
        each.name: each.retention or 0.0 for each in recommend(run(records), Limits(min_retention=0.01))["MRPC"]
    }
    floor = statistics.fmean(sorted(retained.values())[1:3])
    found = recommend(run(records), Limits(min_retention=floor))["MRPC"]
    assert {each.name for each in found if not each.misses} == {n for n, kept in retained.items() if kept >= floor}
    for each in found:
        if each.misses:
            assert each.misses == (
                f"keeps {100 * retained[each.name]:.1f} % of the teacher's score, less than {100 * floor:.1f} %",
            )


def test_an_interval_that_reaches_below_the_floor_is_a_doubt(records: list[Record]) -> None:
    candidate = named(recommend(run(records), Limits(min_retention=0.01))["MRPC"])["quant-qdq"]
    assert candidate.retention is not None
    assert candidate.retention_interval is not None
    low, high = candidate.retention_interval
    assert low < candidate.retention < high
    between = (low + candidate.retention) / 2
    doubted = named(recommend(run(records), Limits(min_retention=between))["MRPC"])["quant-qdq"]
    assert doubted.misses == ()
    assert f"its 95 % interval begins at {100 * low:.1f} %, so {100 * between:.1f} % is not shown" in doubted.doubts
    sure = named(recommend(run(records), Limits(min_retention=low - 0.001))["MRPC"])["quant-qdq"]
    assert not any("interval" in doubt for doubt in sure.doubts)


def test_sizes_and_all_limits_at_once(records: list[Record]) -> None:
    limits = Limits(max_latency_ns=20 * MS, min_retention=0.999, max_size_bytes=60 * MIB)
    found = recommend(run(records), limits)["MRPC"]
    assert all(each.misses for each in found)
    assert reason(found) == "no row keeps to all limits"
    assert len(named(found)["quant-qdq"].misses) >= 2
    assert named(found)["quant-qdq"].misses[-1] == "takes 105.23 MiB, more than 60.00 MiB"


def test_seeds_are_one_candidate_with_their_mean_and_the_first_artifact() -> None:
    seeds = (1, 2, 3)
    found = named(recommend(run(fake_run(("MRPC",), seeds=seeds)), Limits(min_retention=0.01))["MRPC"])
    each = found["distill"]
    singles = [
        named(recommend(run(_only_seed(fake_run(("MRPC",), seeds=seeds), seed)), Limits(min_retention=0.01))["MRPC"])
        for seed in seeds
    ]
    assert each.seeds == seeds
    assert each.retention == pytest.approx(statistics.fmean(one["distill"].retention or 0.0 for one in singles))
    assert len(found) == len(CHAINS)


def _only_seed(records: Sequence[Record], seed: int) -> list[Record]:
    return [each for each in records if each.kind != "cell" or each.seed == seed]  # type: ignore[union-attr]


def test_a_failed_cell_and_an_unmeasured_place_are_excluded(records: list[Record]) -> None:
    broken = [*records, failed_cell("MRPC", "quant-qdq"), cell("MRPC", "mystery", measured_key="nobody")]
    found = named(recommend(run(broken), Limits(max_latency_ns=1000 * MS, min_retention=0.01))["MRPC"])
    assert found["quant-qdq"].misses == ("it could not be made",)
    assert found["mystery"].misses == (
        "was not measured at 1x128 in onnxruntime", "has no score to compare with the teacher's",
    )  # fmt: skip


def test_a_student_that_gives_one_answer_is_doubted(records: list[Record]) -> None:
    standing = quality("MRPC", "distill", "dev")
    majority = int(references("MRPC", "dev").mean() > 0.5)
    constant = [[float(majority == 0), float(majority == 1)]] * len(standing.references)
    changed = [*records, QualityRecord(**{**vars(standing), "logits": constant})]
    each = named(recommend(run(changed), Limits(max_size_bytes=60 * MIB))["MRPC"])["distill"]
    assert each.doubts == ("it may be no better than giving one answer to every row",)
    assert any("predicts" in warning for warning in each.warnings)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(), r"no limit to choose by: give --max-latency 20ms, --min-retention 99% or --max-size 60MiB"),
        (Limits(max_latency_ns=1.0, shape="2x2"), r"no latency at 2x2 in onnxruntime: it has 1x128 in onnxruntime and"),
        (Limits(max_latency_ns=1.0, runtime="openvino"), r"no latency at 1x128 in openvino: .*--shape and --runtime"),
    ],
)
def test_what_nothing_can_be_chosen_by_is_refused(records: list[Record], limits: Limits, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        recommend(run(records), limits)


def test_the_command_ends_with_0_where_something_fits_and_1_where_nothing_does(
    tmp_path: Path, records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({}))
    log = RecordLog(tmp_path / "records.jsonl")
    for record in records:
        log.append(record)
    assert main(["recommend", str(tmp_path), "--max-latency", "60ms"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "MRPC: take distill" in shown
    assert re.search(r"\* prune takes \d+\.\d ms, more than 60\.0 ms\.", shown)
    assert main(["recommend", str(tmp_path), "--max-latency", "1ms"]) == 1
    assert "MRPC: take nothing: no row keeps to all limits" in capsys.readouterr().out
    assert main(["recommend", str(tmp_path), "--min-retention", "99"]) == 2
    assert "--min-retention '99' has no unit" in capsys.readouterr().err

"""What rows and tables say of thread counts, processes side by side, loading, and doubtful latencies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import fake_run, latency, measured_key

from compressbench.records.latencies import widest_interval
from compressbench.records.run_index import index_records
from compressbench.records.schema import (
    ConcurrencyRecord,
    LatencyRecord,
    LeftOutRecord,
    LoadRecord,
    Record,
    SessionRecord,
    WorkerRecord,
)
from compressbench.reporting.comparison import comparison
from compressbench.reporting.tables import task_blocks

BASELINE, DISTILL = (measured_key("CoLA", chain, 1) for chain in ("baseline", "distill"))
MS = 1_000_000
MIB = 1024 * 1024


def session(number: int, *, environment: str = "a", threads: tuple[int, ...] = (2,)) -> SessionRecord:
    return SessionRecord(session=number, state="begun", time_utc="", environment=environment, threads=threads)


def compared(*further: Record) -> dict[str, Any]:
    return comparison([*fake_run(("CoLA",), ("baseline", "distill")), *further], environment={}, folder=Path())


def distilled(*further: Record) -> dict[str, Any]:
    return compared(*further)["rows"][1]


def worker(key: str, *, process: int, load_ms: int, peak_mib: int, unsettled: tuple[str, ...] = ()) -> WorkerRecord:
    return WorkerRecord(
        session=1, measured_key=key, runtime="onnxruntime", threads=2, process=process, cores=(0, 1),
        load_ns=load_ms * MS, start_memory_bytes=40 * MIB, peak_memory_bytes=peak_mib * MIB, unsettled=unsettled,
    )  # fmt: skip


def load(*, others_s: float = 0.0, throttled_s: float = 0.0) -> LoadRecord:
    return LoadRecord(
        session=1, process=0, elapsed_ns=10**10, cores=2, others_cpu_ns=int(others_s * 1e9),
        throttled_ns=int(throttled_s * 1e9), load_average=1.0,
    )  # fmt: skip


def test_further_thread_counts_stand_beside_the_main_one() -> None:
    one_thread = [
        *latency(BASELINE, "bert", 180.0, threads=1),
        *latency(DISTILL, "tiny", 9.0, threads=1),
    ]
    result = compared(session(1, threads=(2, 1)), *one_thread)
    row = result["rows"][1]
    assert row["latency"]["onnxruntime"]["1x128"]["threads"] == 2
    assert set(row["latency_by_threads"]) == {"1"}
    assert row["latency_by_threads"]["1"]["onnxruntime"]["1x128"]["threads"] == 1
    assert row["speedup_by_threads"]["1"]["onnxruntime"]["1x128"]["ratio"] == pytest.approx(20.0, rel=0.02)
    (block,) = task_blocks(result)
    titles = [table.title for table in block.tables]
    assert "CoLA: latency with 1 thread" in titles
    table = block.tables[titles.index("CoLA: latency with 1 thread")]
    assert list(table.columns) == ["Model", "1x128 (ms)", "Speedup [95\u00a0%]"]
    assert table.rows[0][2] == "1x"


def test_real_lengths_come_last_in_the_tables() -> None:
    task = [latency(key, graph, ms, shape="task", task="CoLA")
            for key, graph, ms in ((BASELINE, "bert", 30.0), (DISTILL, "tiny", 2.0))]  # fmt: skip
    result = compared(*task[0], *task[1])
    assert result["rows"][1]["speedup"]["onnxruntime"]["task"]["ratio"] == pytest.approx(15.0, rel=0.02)
    (block,) = task_blocks(result)
    assert [column for table in block.tables for column in table.columns if "(ms)" in column] == [
        "1x128 (ms)", "8x128 (ms)", "task (ms)",
    ]  # fmt: skip


def test_loading_and_memory_are_of_all_processes_of_the_graph() -> None:
    result = compared(
        worker(DISTILL, process=0, load_ms=60, peak_mib=90), worker(DISTILL, process=1, load_ms=80, peak_mib=95)
    )
    assert result["rows"][1]["loading"] == {
        "onnxruntime": {"load_ns": 70 * MS, "peak_memory_bytes": 95 * MIB, "start_memory_bytes": 40 * MIB}
    }
    assert "loading" not in result["rows"][0]
    (block,) = task_blocks(result)
    assert block.notes == ["loading and peak memory of a measuring process in onnxruntime: distill 70.00 ms, 95 MiB"]


@pytest.mark.parametrize(("count", "has_p99"), [(999, False), (1000, True)])
def test_a_99th_percentile_needs_a_thousand_samples(count: int, has_p99: bool) -> None:
    samples = [MS * (1 + number % 100) for number in range(count)]
    result = compared(
        *(
            ConcurrencyRecord(
                session=1, measured_key=DISTILL, graph_key="tiny", runtime="onnxruntime", shape="8x128", threads=1,
                concurrency=2, round=number, wall_ns=10**9, samples_ns=samples[number::2],
            )
            for number in range(2)
        )
    )  # fmt: skip
    found = result["rows"][1]["concurrency"]["onnxruntime"]["8x128"]
    assert found["rows_per_s"] == pytest.approx(8 * count / 2)
    assert (found["p99_ns"] is not None) == has_p99
    (block,) = task_blocks(result)
    (table,) = (each for each in block.tables if "side by side" in each.title)
    assert table.title == "CoLA: 2 processes of 1 thread(s) side by side, onnxruntime 8x128"
    assert [row[0] for row in table.rows] == ["distill"]


@pytest.mark.parametrize(
    ("records", "warning"),
    [
        ([load(others_s=4)], "other programs used 20.0 % of the cores while latency was measured"),
        ([load(throttled_s=1)], "the container's CPU quota stopped this program for 10.0 % of the time"),
        (
            [worker(DISTILL, process=0, load_ms=1, peak_mib=50, unsettled=("1x128",))],
            "a process had not come to a steady pace when it was first timed: onnxruntime 1x128",
        ),
        (
            [LeftOutRecord(session=1, measured_key=DISTILL, runtime="torch", reason="there is no folder")],
            "not timed in torch: there is no folder",
        ),
    ],
)
def test_what_makes_latencies_doubtful_is_said(records: list[Record], warning: str) -> None:
    assert distilled(load())["warnings"] == []
    (found,) = distilled(*records)["warnings"]
    assert found.startswith(warning)


def test_latencies_of_another_environment_are_left_out_and_said() -> None:
    older = [session(1), session(2, environment="b")]
    newer = [
        replace(each, samples_ns=[2 * value for value in each.samples_ns], session=2)
        for each in fake_run(("CoLA",), ("baseline", "distill"))
        if isinstance(each, LatencyRecord) and each.measured_key == BASELINE
    ]
    rows = compared(*older, *newer)["rows"]
    assert rows[0]["latency"]["onnxruntime"]["1x128"]["median_ns"] > 150 * MS
    assert rows[1]["latency"] == {}
    (warning,) = rows[1]["warnings"]
    assert warning.startswith("session 1 was measured on another machine or with other runtimes")
    same = compared(session(1), session(2), *newer)["rows"]
    assert same[1]["latency"] != {}
    assert "latency is of session 1" in same[1]["warnings"][0]


def test_the_widest_interval_is_that_of_the_noisiest_place() -> None:
    records = fake_run(("CoLA",), ("baseline", "distill"))
    row = comparison(records, environment={}, folder=Path())["rows"][1]
    widths = [(each["high"] - each["low"]) / (2 * each["ratio"]) for each in row["speedup"]["onnxruntime"].values()]
    assert widest_interval(index_records(records)) == pytest.approx(max(widths))

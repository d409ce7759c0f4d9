"""Timing: the loop with a fixed clock, the campaign on two tiny models."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from compressbench.errors import BadInput, CompressbenchError, InvalidParameter
from compressbench.harness.campaign import open_campaign
from compressbench.harness.concurrency import concurrency_key, measure_concurrency
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.latency import measure_latency
from compressbench.harness.measuring_process import OnTask, Subject
from compressbench.harness.real_rows import real_rows
from compressbench.harness.shapes import Shape, TaskShape, parse_fixed_shape, parse_shape
from compressbench.harness.worker import sample_latency, settle
from compressbench.prediction import EncodedRows
from compressbench.progress import Quiet
from compressbench.records.schema import (
    ConcurrencyRecord,
    LatencyRecord,
    LeftOutRecord,
    LoadRecord,
    SideRecord,
    WorkerRecord,
)

MS = 1_000_000


def write_model(path: Path, *, outputs: int) -> Path:
    """An ONNX model with BERT's inputs: token ids looked up in a table, averaged."""
    table = np.arange(50 * outputs, dtype=np.float32).reshape(50, outputs)
    names = ("input_ids", "attention_mask")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("ReduceMean", ["rows", "axes"], ["logits"], keepdims=0),
            helper.make_node("Cast", ["attention_mask"], ["unused"], to=TensorProto.FLOAT),
        ],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", outputs])],
        [
            helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.tobytes(), raw=True),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    (path.parent / "config.json").write_text('{"vocab_size": 50}')
    return path


def worker_processes() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "compressbench.harness.worker" in each.cmdline()]


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressbench.harness.campaign.STEADY_NS", 1_000_000)
    monkeypatch.setattr("compressbench.harness.campaign.STEADY_AGAIN_NS", 1_000_000)
    monkeypatch.setattr("compressbench.harness.concurrency.LEAST_NS", 20_000_000)
    monkeypatch.setattr("compressbench.harness.concurrency.MOST_NS", 30_000_000)


@pytest.fixture
def subjects(tmp_path: Path) -> list[Subject]:
    return [
        Subject(measured_key=f"key{count}", graph_key=f"graph{count}",
                onnx_path=write_model(tmp_path / str(count) / "model.onnx", outputs=count))
        for count in (2, 3)
    ]  # fmt: skip


def campaign(subjects: list[Subject], records: list[LatencyRecord], **options: object) -> None:
    values: dict[str, object] = {
        "shapes": [Shape(1, 4), Shape(2, 4)], "threads": [1], "session": 7, "done": [],
        "on_record": records.append, "progress": Quiet(), "rounds": 4, "generations": 2,
    }  # fmt: skip
    measure_latency(subjects, **{**values, **options})  # type: ignore[arg-type]


def test_every_model_shape_and_round_has_one_block_and_an_interrupted_campaign_goes_on(subjects: list[Subject]) -> None:
    records: list[LatencyRecord] = []
    campaign(subjects, records)
    blocks = {(each.measured_key, each.shape, each.round) for each in records}
    assert blocks == {(key, shape, each) for key in ("key2", "key3") for shape in ("1x4", "2x4") for each in range(4)}
    assert len(records) == len(blocks)
    assert {(each.round, each.process) for each in records} == {(0, 0), (1, 0), (2, 1), (3, 1)}
    assert all(each.session == 7 and min(each.samples_ns) > 0 for each in records)
    orders = [[(each.measured_key, each.shape) for each in records if each.round == number] for number in range(4)]
    assert len({tuple(order) for order in orders}) > 1  # blocks are shuffled
    rest: list[LatencyRecord] = []  # as after an interruption, with all but the last blocks in the log
    campaign(subjects, rest, done=records[:11])
    assert [(each.measured_key, each.shape, each.round) for each in rest] == [
        (each.measured_key, each.shape, each.round) for each in records[11:]
    ]
    nothing: list[LatencyRecord] = []
    campaign(subjects, nothing, done=records)
    assert nothing == []


def test_the_caller_decides_after_each_generation(subjects: list[Subject]) -> None:
    with open_campaign(subjects[:1], shapes=[Shape(1, 4)], threads=[1, 2], session=3, progress=Quiet()) as campaign:
        first = list(campaign.generation(0, [0]))
        assert worker_processes() == []  # ended with their generation
        second = list(campaign.generation(1, [1]))
        broken_off = campaign.generation(2, [2])
        next(broken_off)
        assert len(worker_processes()) == 2
    assert worker_processes() == []  # ended with the campaign
    assert {(each.measured_key, each.threads, each.round, each.process) for each in first + second} == {
        ("key2", threads, number, number) for threads in (1, 2) for number in (0, 1)
    }


def test_a_second_campaign_waits_and_says_so(subjects: list[Subject]) -> None:
    said: list[str] = []
    progress = Quiet()
    progress.say = said.append  # type: ignore[method-assign]
    with (
        open_campaign(subjects, shapes=[Shape(1, 4)], threads=[1], session=1, progress=Quiet()),
        pytest.raises(BadInput, match=r"still measures after --lock-timeout 0.05 s: run this again when it has ended"),
        open_campaign(subjects, shapes=[Shape(1, 4)], threads=[1], session=1, progress=progress, lock_timeout_s=0.05),
    ):
        pass
    assert said == ["another run on this machine is measuring; waiting for it to end, 0.05 s at most"]


def test_the_order_of_a_round_does_not_depend_on_where_a_campaign_was_stopped(subjects: list[Subject]) -> None:
    with open_campaign(
        subjects, shapes=[Shape(1, 4), Shape(2, 4)], runtimes=["onnxruntime", "openvino"], threads=[1], session=1,
        progress=Quiet(),
    ) as campaign:  # fmt: skip
        blocks = campaign.blocks(range(3))
        rest = campaign.blocks(range(3), known={each.key for each in blocks[:11]})
    assert rest == blocks[11:]
    assert len(blocks) == len({each.key for each in blocks}) == 24
    places = [[(each.subject.measured_key, each.runtime, each.shape) for each in blocks[at : at + 8]] for at in (0, 8)]
    assert sorted(places[0]) == sorted(places[1])
    assert places[0] != places[1]


def test_a_model_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(CompressbenchError, match="cannot be opened by ONNX Runtime"):
        campaign([Subject(measured_key="a", graph_key="b", onnx_path=path)], [])


def test_a_model_that_cannot_run_a_shape_is_said(subjects: list[Subject]) -> None:
    path = subjects[0].onnx_path
    (path.parent / "config.json").write_text('{"vocab_size": 5000}')
    with pytest.raises(CompressbenchError, match=r"1x900 does not run in .*model\.onnx"):
        campaign(subjects[:1], [], shapes=[Shape(1, 900)])


def clock_of(durations_ns: Iterable[int]) -> Callable[[], int]:
    """A clock that lets each run take the next of these durations."""
    durations, ticks = iter(durations_ns), count()
    now = 0

    def clock_ns() -> int:
        nonlocal now
        if next(ticks) % 2:  # read before and after each run
            now += next(durations)
        return now

    return clock_ns


def test_runs_are_timed_one_by_one() -> None:
    ticks = iter([0, 5, 5, 12]).__next__
    assert sample_latency([int, int], clock_ns=ticks) == [5, 7]


def test_settling_ends_soon_after_the_threads_have_spread() -> None:
    durations_ns = [12 * MS] * 30 + [4 * MS] * 1000
    samples_ns, settled = settle(int, least_ns=400 * MS, max_s=60, clock_ns=clock_of(durations_ns))
    assert settled
    assert samples_ns.count(4 * MS) == pytest.approx(100, abs=10)  # 400 ms at the new level


def test_settling_gives_up_after_its_time_and_says_so() -> None:
    drift_ns = [int(200 * MS * 0.97**step) for step in range(50)]
    samples_ns, settled = settle(int, max_s=3, clock_ns=clock_of(drift_ns))
    assert not settled
    assert sum(samples_ns[:-1]) < 3000 * MS <= sum(samples_ns)


def test_a_model_too_slow_to_judge_counts_as_steady() -> None:
    samples_ns, settled = settle(int, max_s=3, clock_ns=clock_of([900 * MS, 500 * MS] * 9))
    assert settled
    assert samples_ns == [900 * MS, 500 * MS, 900 * MS, 500 * MS, 900 * MS]


def test_inputs_stay_inside_the_smallest_vocabulary(subjects: list[Subject]) -> None:
    before = np.random.get_state()[1].tolist()
    arrays = latency_inputs([each.onnx_path for each in subjects], [Shape(3, 64)])
    assert set(arrays) == {"3x64/input_ids", "3x64/token_type_ids", "3x64/attention_mask"}
    assert arrays["3x64/input_ids"].shape == (3, 64)
    assert 0 <= arrays["3x64/input_ids"].min() <= arrays["3x64/input_ids"].max() < 50
    assert arrays["3x64/attention_mask"].all()
    assert np.random.get_state()[1].tolist() == before
    again = latency_inputs([each.onnx_path for each in subjects], [Shape(3, 64)])
    assert (arrays["3x64/input_ids"] == again["3x64/input_ids"]).all()


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_shape_round_trips(batch: int, tokens: int) -> None:
    assert parse_shape(str(Shape(batch, tokens))) == Shape(batch, tokens)


@pytest.mark.parametrize(
    "text", ["0xtask", "taskx8", "tasks", "0x128", "1x0", "8", "1x", "x1", "-1x2", "1x128x2", "", "01x2", "١x٢"]
)
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="such as 1x128"):
        parse_shape(text)


@pytest.mark.parametrize(("text", "batch"), [("task", 1), ("1xtask", 1), ("8xtask", 8)])
def test_real_lengths_are_a_shape(text: str, batch: int) -> None:
    assert parse_shape(text) == TaskShape(batch)
    assert parse_shape(str(parse_shape(text))) == TaskShape(batch)
    with pytest.raises(InvalidParameter, match="needs a task's rows: write batch x tokens here, such as 1x128"):
        parse_fixed_shape(text)


def encoded(lengths: Sequence[int]) -> EncodedRows:
    ids = [[number % 50] * length for number, length in enumerate(lengths)]
    return EncodedRows(input_ids=ids, token_type_ids=[[0] * length for length in lengths], pad_id=0)


def test_real_rows_run_for_every_task_of_a_graph_and_pair_between_models(subjects: list[Subject]) -> None:
    first, second = (
        real_rows(encoded(lengths), task=name, shapes=[TaskShape(), TaskShape(2)])
        for name, lengths in (("one", range(3, 23)), ("two", [5, 9]))
    )
    given = [
        replace(subjects[0], on_tasks=[OnTask(measured_key="key2", rows=first), OnTask(measured_key="x", rows=second)]),
        replace(subjects[1], on_tasks=[OnTask(measured_key="key3", rows=first)]),
    ]
    records: list[LatencyRecord] = []
    side: list[SideRecord] = []
    campaign(
        given,
        records,
        shapes=[Shape(1, 4), TaskShape(), TaskShape(2)],
        rounds=1,
        generations=1,
        on_side_record=side.append,
    )
    on_tasks = {(each.measured_key, each.graph_key, each.task) for each in records if each.shape == "task"}
    assert on_tasks == {("key2", "graph2", "one"), ("x", "graph2", "two"), ("key3", "graph3", "one")}
    assert {(each.shape, each.task) for each in records} == {
        ("1x4", ""), ("task", "one"), ("task", "two"), ("2xtask", "one"), ("2xtask", "two"),
    }  # fmt: skip
    assert {(each.task, len(each.samples_ns)) for each in records if each.shape == "task"} == {("one", 8), ("two", 2)}
    workers = [each for each in side if isinstance(each, WorkerRecord)]
    assert {(each.measured_key, each.process) for each in workers} == {("key2", 0), ("key3", 0)}
    for each in workers:
        assert each.load_ns > 0
        assert 1_000_000 < each.start_memory_bytes < each.peak_memory_bytes < 1_000_000_000
        assert len(each.cores) == 1
    assert [each.process for each in side if isinstance(each, LoadRecord)] == [0]


def test_further_generations_are_taken_as_long_as_the_caller_wants_more(subjects: list[Subject]) -> None:
    records: list[LatencyRecord] = []
    asked: list[int] = []

    def wants_more(generations: int) -> bool:
        asked.append(generations)
        return generations < 3

    options = {"shapes": [Shape(1, 4)], "rounds": 2, "generations": 1, "wants_more": wants_more}
    campaign(subjects[:1], records, **options)
    assert asked == [1, 2, 3]
    assert [(each.process, each.round) for each in records] == [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 5)]
    rest: list[LatencyRecord] = []
    campaign(subjects[:1], rest, done=records[:3], **options)
    assert [(each.process, each.round) for each in rest] == [(1, 3), (2, 4), (2, 5)]


def test_processes_side_by_side_share_the_time_and_are_not_measured_twice(subjects: list[Subject]) -> None:
    rows = real_rows(encoded([3, 5, 7]), task="one", shapes=[TaskShape()])
    given = [replace(subjects[0], on_tasks=[OnTask(measured_key="key2", rows=rows)])]
    records: list[ConcurrencyRecord] = []
    options: dict[str, Any] = {
        "shapes": [TaskShape()], "runtimes": ["onnxruntime"], "threads": 1, "concurrency": 2, "session": 3,
        "on_record": records.append, "progress": Quiet(),
    }  # fmt: skip
    measure_concurrency(given, known=(), **options)
    assert worker_processes() == []
    assert [each.round for each in records] == [0, 1, 2]
    for each in records:
        assert (each.session, each.shape, each.task, each.concurrency) == (3, "task", "one", 2)
        assert each.wall_ns > max(each.samples_ns)
        assert sum(each.samples_ns) > each.wall_ns / 2  # both worked all the time, but for sending and answering
    measure_concurrency(given, known={concurrency_key(each) for each in records}, **options)
    assert len(records) == 3


def test_a_runtime_that_cannot_open_a_model_is_left_out_and_said(subjects: list[Subject]) -> None:
    side: list[SideRecord] = []
    with open_campaign(
        subjects[:1], shapes=[Shape(1, 4)], runtimes=["onnxruntime", "torch"], threads=[1], session=4, progress=Quiet(),
        on_side_record=side.append,
    ) as opened:  # fmt: skip
        assert {each.runtime for each in opened.blocks([0])} == {"onnxruntime"}
    (record,) = side
    assert isinstance(record, LeftOutRecord)
    assert (record.session, record.measured_key, record.runtime) == (4, "key2", "torch")
    assert record.reason == "there is no Hugging Face folder of this model, and PyTorch opens no ONNX file"

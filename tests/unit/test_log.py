import json
from pathlib import Path

import numpy as np
import pytest
from fake_run import cell, fake_run

from compressbench.errors import BadInput
from compressbench.ledger import Ledger
from compressbench.records.log import RecordLog
from compressbench.records.schema import (
    RECORD_TYPES,
    ConcurrencyRecord,
    GraphRecord,
    LeftOutRecord,
    LoadRecord,
    QualityRecord,
    SessionRecord,
    TokenizationRecord,
    WorkerRecord,
    to_json,
)

GRAPH = GraphRecord(measured_key="a", graph_key="b")
CAMPAIGN = [
    WorkerRecord(
        session=1, measured_key="a", runtime="onnxruntime", threads=2, process=0, cores=[0, 1], load_ns=5,
        start_memory_bytes=6, peak_memory_bytes=7, unsettled=["task"],
    ),
    LoadRecord(
        session=1, process=0, elapsed_ns=9, cores=2, others_cpu_ns=1, throttled_ns=0, load_average=None
    ),
    LeftOutRecord(session=1, measured_key="a", runtime="torch", reason="there is no PyTorch folder"),
    TokenizationRecord(session=1, task="t", shape="task", samples_ns=[1, 2]),
    ConcurrencyRecord(
        session=1, measured_key="a", graph_key="b", runtime="onnxruntime", shape="task", threads=1, concurrency=2,
        round=0, wall_ns=10, samples_ns=[4, 5], task="t",
    ),
]  # fmt: skip


def test_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "records.jsonl")
    written = [*fake_run(tasks=("MNLI",), chains=("baseline", "quant-qdq")), *CAMPAIGN]
    for record in written:
        log.append(record)
    contents = log.read()
    assert contents.warnings == []
    assert {record.kind for record in contents.records} == set(RECORD_TYPES)
    assert [json.dumps(to_json(record)) for record in contents.records] == [
        json.dumps(to_json(record)) for record in written
    ]


def test_numpy_is_written_as_json(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "records.jsonl")
    log.append(
        QualityRecord(
            measured_key="a", task="t", split="dev", logits=np.ones((1, 2), np.float32), references=[np.int64(1)]
        )
    )
    (record,) = log.read().records
    assert isinstance(record, QualityRecord)
    assert (record.logits, record.references) == ([[1.0, 1.0]], [1])


def test_other_objects_are_no_part_of_a_record(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="PosixPath is no part of a record"):
        RecordLog(tmp_path / "records.jsonl").append(cell("t", "c", parameters={"path": Path()}))


def test_an_absent_log_is_empty(tmp_path: Path) -> None:
    assert RecordLog(tmp_path / "records.jsonl").read().records == []


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        RecordLog(tmp_path).read()


@pytest.mark.parametrize("kept", [1, 20, -2])
def test_a_line_cut_short_is_named_and_the_rest_used(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "records.jsonl"
    log = RecordLog(path)
    log.append(GRAPH)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    contents = log.read()
    assert contents.records == [GRAPH]
    (warning,) = contents.warnings
    assert "records.jsonl, line 2 is cut short, because writing it was interrupted" in warning


def test_a_record_after_a_cut_line_does_not_glue_to_it(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    log = RecordLog(path)
    log.append(GRAPH)
    path.write_bytes(path.read_bytes()[:-9])
    log.append(GRAPH)
    log.append(GRAPH)
    contents = log.read()
    assert contents.records == [GRAPH, GRAPH]
    assert len(contents.warnings) == 1


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_line_may_be_cut_anywhere(tmp_path: Path, separators: tuple[str, str]) -> None:
    """In a string, an escape, a number, a word, between all of these, and with records behind it."""
    path = tmp_path / "records.jsonl"
    record = cell(
        'a "task" \\ \u4e2d[{', "c", parameters={"a": [-1.5e-07, True, None, float("nan"), []], "b": {"": {}}}
    )
    cut, whole = json.dumps(to_json(record), separators=separators), json.dumps(to_json(GRAPH))
    for kept in range(1, len(cut)):
        path.write_text(f"{whole}\n{cut[:kept]}\n{whole}\n")
        contents = RecordLog(path).read()
        assert contents.records == [GRAPH, GRAPH]
        (warning,) = contents.warnings
        assert "line 2 is cut short" in warning


@pytest.mark.parametrize(
    ("line", "character"),
    [
        ('{"schema_version": 3 "kind": "graph", "measured_key": "a", "graph_key": "b"}', 22),
        ('{"schema_version": 3, "kind": "graph", "measured_key": "a\0", "graph_key": "b"}', 58),
        ('{"schema_version": 3, "kind": "gra{"schema_version": 3, "kind": "graph"}', 37),
        ('{"schema_version": 3, "samples_ns": [1, 2}', 42),
        ('{"schema_version": 3, "samples_ns": [1,, 2', 40),
        ('{"schema_version": 3}{"schema_version": 3}', 22),
        ('{"schema_version": 3, "kind": "gr\udcffaph"}', 34),
    ],
)  # fmt: skip
@pytest.mark.parametrize("behind", ["", "\n", f"\n{json.dumps(to_json(GRAPH))}\n"])
def test_a_damaged_line_is_told_from_one_cut_short(tmp_path: Path, line: str, character: int, behind: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(f"{json.dumps(to_json(GRAPH))}\n{line}{behind}".encode(errors="surrogateescape"))
    with pytest.raises(
        BadInput, match=rf"records\.jsonl, line 2 is damaged at character {character}: restore the file"
    ):
        RecordLog(path).read()


@pytest.mark.parametrize(("place", "reason"), [("/dev/full", "No space left"), ("/proc/records.jsonl", "No such file")])
def test_a_log_that_cannot_be_written_is_told(place: str, reason: str) -> None:
    with pytest.raises(BadInput, match=f"{place} cannot be written .{reason}"):
        RecordLog(Path(place)).append(GRAPH)


def test_a_record_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    log = RecordLog(path)
    log.append(GRAPH)
    path.write_bytes(path.read_bytes()[:-1])
    log.append(GRAPH)
    assert log.read().records == [GRAPH, GRAPH]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("measured_key,graph_key", "line 1 is no record: this file was not written by compressbench"),
        ("[1]", "line 1 is no record: it has no schema_version"),
        ('{"kind": "graph"}', "line 1 is no record: it has no schema_version"),
        (
            '{"schema_version": 99, "kind": "graph"}',
            "is of schema version 99 and this program reads 1 to 4: use the version",
        ),
        ('{"schema_version": 1, "kind": "smell"}', "holds a record of unknown kind 'smell'"),
        ('{"schema_version": 1, "kind": "graph", "measured_key": "a"}', "is no complete 'graph' record .*graph_key"),
        (
            '{"schema_version": 1, "kind": "graph", "measured_key": "a", "graph_key": "b", "mood": 1}',
            "is no complete 'graph' record .*mood",
        ),
    ],
)
def test_a_line_that_is_no_record_of_ours_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(BadInput, match=message):
        RecordLog(path).read()


def test_records_of_the_first_schema_are_still_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"schema_version": 1, "kind": "graph", "measured_key": "a", "graph_key": "b"}\n')
    assert RecordLog(path).read().records == [GRAPH]


def test_every_line_tells_its_session_and_what_logits_predict(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    ledger = Ledger(RecordLog(path))
    two = QualityRecord(measured_key="a", task="t", split="dev", logits=[[0.1, 0.7], [2.0, -1.0]], references=[1, 1])
    one = QualityRecord(measured_key="a", task="r", split="dev", logits=[[2.5]], references=[3.0])
    for record in (SessionRecord(session=1, state="begun", time_utc="now"), GRAPH, two,
                   SessionRecord(session=2, state="begun", time_utc="later"), one):  # fmt: skip
        ledger.add(record)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["session"] for line in lines] == [1, 1, 1, 2, 2]
    assert [line.get("predictions") for line in lines] == [None, None, [1, 0], None, [2.5]]
    assert [to_json(each) for each in Ledger(RecordLog(path)).records[1:3]] == [to_json(GRAPH), to_json(two)]

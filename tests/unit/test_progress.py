"""What a log says of long work."""

import io

import pytest

from compressbench import progress
from compressbench.progress import Bars, Lines


def test_time_left_is_that_of_the_steps_done_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """90 of 100 steps were done before an interruption; 5 more took 5 s, so 5 are left, not a fraction of one."""
    now_s = 0.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now_s)
    stream = io.StringIO()
    with Lines(stream, every_s=4).stage("train", total=100, done=90) as advance:
        for _ in range(5):
            now_s += 1
            advance(note="loss 0.5")
    assert stream.getvalue().splitlines()[0] == "  train: 94/100, about 6 s left, loss 0.5"


def test_a_bar_begins_where_the_work_does() -> None:
    stream = io.StringIO()
    bars = Bars(stream)
    with bars.stage("train", total=10, done=7) as advance:
        advance(2)
    assert "train" in stream.getvalue()
    assert list(bars.durations_s) == ["train"]

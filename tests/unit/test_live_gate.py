"""How long a live gate measures: a campaign whose clock and noise are made up, so that it takes no time."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from compressbench.gate.latency import decide_growing, paired_rounds
from compressbench.live_gate import MOST_ROUNDS, measure_until_told, rounds_that_fit
from compressbench.progress import Quiet
from compressbench.records.schema import LatencyRecord


class MadeUpCampaign:
    """Generations that take a second to start and half a second a block; the current side is slower by `slowdown`."""

    def __init__(self, *, slowdown: float, scatter: float) -> None:
        self.now_s = 0.0
        self._slowdown, self._scatter = slowdown, scatter

    def generation(self, number: int, rounds: Sequence[int]) -> Iterator[LatencyRecord]:
        rng = np.random.default_rng(number)
        own = rng.normal(0, self._scatter)
        self.now_s += 1.0
        for each in rounds:
            for key, factor in (("old", 1.0), ("new", (1 + self._slowdown) * np.exp(own))):
                self.now_s += 0.5
                yield LatencyRecord(
                    session=1, measured_key=key, graph_key="g", runtime="onnxruntime", shape="1x128", threads=1,
                    process=number, round=each, samples_ns=[int(1e7 * factor)] * 3,
                )  # fmt: skip


def measured(campaign: MadeUpCampaign, *, budget_s: float) -> list[LatencyRecord]:
    records: list[LatencyRecord] = []
    measure_until_told(
        campaign,  # type: ignore[arg-type]
        ("old", "new"),
        threshold=0.05,
        budget_s=budget_s,
        on_record=records.append,
        progress=Quiet(),
        clock_s=lambda: campaign.now_s,
    )
    return records


@pytest.mark.parametrize("slowdown", [0.0, 0.2])
def test_a_clear_case_ends_at_the_first_look(slowdown: float) -> None:
    records = measured(MadeUpCampaign(slowdown=slowdown, scatter=0.005), budget_s=1000)
    assert {each.process for each in records} == set(range(8))


def test_an_unclear_case_takes_the_budget_and_no_more() -> None:
    campaign = MadeUpCampaign(slowdown=0.05, scatter=0.01)
    records = measured(campaign, budget_s=100)
    assert 90 <= campaign.now_s <= 100  # another generation takes seven seconds
    (sides,) = paired_rounds(records, baseline_key="old", current_key="new").values()
    assert len(sides[0]) > 8
    assert decide_growing(*sides, threshold=0.05, ended=True).verdict == "inconclusive"


def test_eight_processes_a_side_are_measured_however_small_the_budget() -> None:
    records = measured(MadeUpCampaign(slowdown=0.05, scatter=0.01), budget_s=0.1)
    assert sorted({each.process for each in records}) == list(range(8))
    assert len(records) == 16  # one round each


def test_rounds_have_numbers_of_their_own() -> None:
    records = measured(MadeUpCampaign(slowdown=0.0, scatter=0.005), budget_s=1000)
    rounds = {(each.process, each.round) for each in records}
    assert len({number for _, number in rounds}) == len(rounds) == 1 + 7 * MOST_ROUNDS


@pytest.mark.parametrize(
    ("budget_s", "start_s", "round_s", "rounds"),
    [
        (50, 2.0, 0.1, MOST_ROUNDS),
        (50, 2.0, 0.8, 2),
        (50, 3.5, 1.0, 1),
        (10, 3.0, 1.0, 1),
        (160, 8.0, 3.0, 1),
        (160, 4.0, 0.0, MOST_ROUNDS),
    ],
)
def test_rounds_that_fit(budget_s: float, start_s: float, round_s: float, rounds: int) -> None:
    assert rounds_that_fit(budget_s, start_s=start_s, round_s=round_s) == rounds

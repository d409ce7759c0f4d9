"""The scatter of latency and score: which points no other beats, and labels that tell chains apart."""

import re

from hypothesis import given
from hypothesis import strategies as st

from compressbench.reporting.plots import Panel, Point, pareto_front, scatter

FIGURES = st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=12)


def point(latency_ms: float, score: float, label: str = "a") -> Point:
    return Point(label=label, latency_ms=latency_ms, score=score, is_baseline=False)


@given(figures=FIGURES)
def test_the_front_is_what_no_other_point_beats(figures: list[tuple[int, int]]) -> None:
    points = [point(latency, score) for latency, score in figures]
    found = {(each.latency_ms, each.score) for each in pareto_front(points)}
    expected = {
        (latency, score)
        for latency, score in figures
        if not any(a <= latency and b >= score and (a, b) != (latency, score) for a, b in figures)
    }
    assert found == expected


def test_a_structured_model_and_its_int8_form_are_told_apart_on_the_plot() -> None:
    chains = ["baseline (fp32)", "prune:structured=heads-0.33-ffn-0.5", "prune:structured=heads-0.33-ffn-0.5+quant-qdq"]
    points = [
        point(latency, score, chain) for latency, score, chain in zip((9, 6, 2), (90, 88, 87), chains, strict=True)
    ]
    drawing = scatter([Panel(title="MRPC", axis="accuracy", points=points)])
    labels = [text for text in re.findall(r">([^<]+)</text>", drawing) if "prune" in text]
    assert len(set(labels)) == 2
    assert any(label.endswith("+quant-qdq") for label in labels)
    assert drawing.count("<polyline") == 1

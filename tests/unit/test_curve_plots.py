"""Training curves: a drawing for each artifact, beside the report and linked from it."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import TASKS, fake_run
from test_reporting_files import TagChecker

from compressbench.records.schema import CurveRecord
from compressbench.reporting.comparison import comparison
from compressbench.reporting.curve_plots import curve_plots
from compressbench.reporting.writers import write_reports


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    return comparison(fake_run(tuple(TASKS)), environment={}, folder=Path("run"))


@pytest.fixture
def curves() -> list[CurveRecord]:
    return [each for each in fake_run(tuple(TASKS)) if isinstance(each, CurveRecord)]


def test_one_drawing_for_each_artifact_that_was_trained(curves: list[CurveRecord]) -> None:
    plots = curve_plots(curves)
    assert set(plots) == set(TASKS)
    assert [each.label for each in plots["MRPC"]] == ["baseline (seed 1)", "distill (seed 1)", "prune (seed 1)"]
    names = [each.name for found in plots.values() for each in found]
    assert len(set(names)) == len(names) == 3 * len(TASKS)
    assert all(re.fullmatch(r"curves-[a-z0-9-]+", name) for name in names)


def test_a_curve_goes_through_its_points(curves: list[CurveRecord]) -> None:
    """Losses stand on a logarithmic axis: 1 and 0.1 are as far apart in each; a loss of 0 has no place on it."""
    distill = next(each for each in curves if each.chain == "distill")
    root = ET.fromstring(curve_plots([distill])[distill.task][0].drawing)
    lines = [
        [tuple(map(float, place.split(","))) for place in each.attrib["points"].split()]
        for each in root.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    embedding, hidden, attention, accuracy = lines
    assert [len(each) for each in lines] == [2, 2, 2, 2]
    assert embedding[0] == hidden[0] == attention[0]
    falls = [each[1][1] - each[0][1] for each in (embedding, hidden, attention)]
    assert falls[1] / falls[0] == pytest.approx(math.log(20) / math.log(10), abs=0.01)
    assert falls[2] / falls[0] == pytest.approx(math.log(30) / math.log(10), abs=0.01)
    assert accuracy[0][1] > accuracy[1][1]  # a higher score stands higher


def test_words_stay_inside(curves: list[CurveRecord]) -> None:
    long = replace(curves[0], chain="distill:" + ":".join(f"parameter{place}=0.5" for place in range(20)), scores={})
    for found in curve_plots([*curves[1:], long]).values():
        root = ET.fromstring(found[-1].drawing)
        width, height = (float(root.attrib[name]) for name in ("width", "height"))
        for each in root.iter("{http://www.w3.org/2000/svg}text"):
            length = 6.2 * len(each.text or "") * (each.attrib["text-anchor"] == "start")
            assert 0 <= float(each.attrib["x"]) <= width - length
            assert 0 <= float(each.attrib["y"]) <= height


def test_reports_link_and_show_them(full: dict[str, Any], curves: list[CurveRecord], tmp_path: Path) -> None:
    write_reports(full, tmp_path, ["md", "html"], curves=curves)
    links = re.findall(r"\(plots/(curves-[^)]+\.svg)\)", (tmp_path / "comparison.md").read_text())
    assert sorted(links) == sorted(path.name for path in (tmp_path / "plots").glob("curves-*.svg"))
    assert len(links) == 3 * len(TASKS)
    text = (tmp_path / "comparison.html").read_text()
    assert text.count("<svg") == 2 + len(links)
    assert text.count("<details>") == len(TASKS)
    checker = TagChecker()
    checker.feed(text)
    assert (checker.open, checker.links) == ([], [])


def test_a_stage_without_a_step_is_not_drawn(curves: list[CurveRecord]) -> None:
    empty = replace(curves[0], steps=[], learning_rates=[], terms={"loss": []}, scores={}, score_steps=[])
    assert curve_plots([empty]) == {}


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 3.0], [1e-9, 1e9]])
def test_flat_and_steep_curves_are_drawn(curves: list[CurveRecord], values: list[float]) -> None:
    record = replace(curves[0], steps=[1, 2], learning_rates=[0.1, 0.1], terms={"loss": values})
    drawing = curve_plots([record])[record.task][0].drawing
    assert "nan" not in drawing
    assert ET.fromstring(drawing) is not None

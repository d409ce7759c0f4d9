import csv
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_run import TASKS, cell, failed_cell, fake_run, latency, measured_key, task_record
from rich.console import Console

from compressbench.errors import UnknownName
from compressbench.records.schema import TokenizationRecord
from compressbench.reporting import writers
from compressbench.reporting.cells import SAME_GRAPH, format_budget, format_interval
from compressbench.reporting.comparison import comparison
from compressbench.reporting.console import print_comparison
from compressbench.reporting.document import document_of
from compressbench.reporting.markdown import document_markdown
from compressbench.reporting.plots import comparison_plots
from compressbench.reporting.tex import document_tex, escape
from compressbench.reporting.writers import FORMATS, write_reports, write_whole
from compressbench.units import format_milliseconds

ENVIRONMENT = {"cpu": "Some CPU", "threads": 2, "isa_class": "x86_64+avx2", "packages": {"onnxruntime": "1.31.0"}}
ALL = ("md", "csv", "json", "html", "tex")


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    records = [*fake_run(tuple(TASKS)), failed_cell("MRPC", "quant-qop", error="a <b> & 5 % of it_self | none")]
    return comparison(records, environment=ENVIRONMENT, folder=Path("run"))


def on_screen(compared: dict[str, Any], width: int = 100, **options: Any) -> str:
    stream = io.StringIO()
    print_comparison(compared, Console(file=stream, width=width), **options)
    return stream.getvalue()


def tables_in(text: str) -> list[str]:
    """Lines of tables that hold an interval."""
    return [line for line in text.splitlines() if re.search(r"x \[", line)]


class TestScreen:
    def test_the_studys_terms_and_figures(self, full: dict[str, Any]) -> None:
        text = on_screen(full, width=200)
        header = "Model Size (MiB) Size (%) zstd (MiB) 1x128 (ms) Speedup [95 %] 8x128 (ms) Speedup [95 %]"
        lines = [" ".join(line.split()) for line in text.splitlines()]
        assert header in lines
        assert any(line.startswith("distill 54.82 13.1 % 50.43 6.8") for line in lines)
        assert any(
            line.startswith("Model Accuracy 95 % F1 Retention above chance [95 %] p (Holm) Agreement") for line in lines
        )

    @pytest.mark.parametrize("width", [100, 110, 140])
    def test_nothing_is_cut_and_nothing_is_wider(self, full: dict[str, Any], width: int) -> None:
        text = on_screen(full, width=width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for row in full["rows"]:
            for shapes in row["speedup"].values():
                for interval in shapes.values():
                    if row["chain"] != "baseline":
                        assert format_interval(interval) in text

    def test_a_pipe_counts_as_100_columns(self, full: dict[str, Any]) -> None:
        assert on_screen(full, width=80).splitlines()[0].strip() == "CoLA: size and latency"
        assert [line.rstrip() for line in tables_in(on_screen(full, width=80))] == [
            line.rstrip() for line in tables_in(on_screen(full, width=100))
        ]

    def test_a_narrow_terminal_gets_whole_figures_too(self, full: dict[str, Any]) -> None:
        stream = io.StringIO()
        print_comparison(full, Console(file=stream, width=60, force_terminal=True, color_system=None))
        for line in tables_in(stream.getvalue()):
            assert line.count("[") == line.count("]")
        assert format_interval(full["rows"][1]["speedup"]["onnxruntime"]["8x128"]) in stream.getvalue()

    def test_headers_break_between_words(self, full: dict[str, Any]) -> None:
        words = set(on_screen(full, width=100).replace("\u00a0", " ").split())
        assert {"Retention", "Agreement", "Accuracy", "Spearman"} <= words

    def test_a_long_method_name_folds_and_loses_nothing(self) -> None:
        name = "distill:intermediate_epochs=20:mapping=top:prediction_epochs=3:temperature=2.0+prune:amount=0.35"
        records = [*fake_run(("CoLA",), ("baseline",)), cell("CoLA", name), *latency(f"CoLA-{name}-1", "tiny", 7.0)]
        text = on_screen(comparison(records, environment={}, folder=Path()))
        assert max(map(len, text.splitlines())) <= 100
        first_column = "".join(line[:40].split(" ")[0] for line in text.splitlines())
        assert name in first_column

    def test_the_same_graph_is_said_and_explained(self, full: dict[str, Any]) -> None:
        text = " ".join(on_screen(full).split())
        assert SAME_GRAPH in text
        assert "zeros in a dense matrix make nothing faster" in text
        assert "prune: latency measured on MNLI/baseline, whose graph is the same" in text

    def test_generated_tasks_are_told_from_glue(self, full: dict[str, Any]) -> None:
        said = "Generated tasks, not GLUE: synthetic-sentiment are made"
        assert said in " ".join(on_screen(full).split())
        assert "`--suite glue --data-dir DIR` runs GLUE" in " ".join(on_screen(full).split())
        glue = comparison(fake_run(("CoLA",)), environment={}, folder=Path())
        assert "Generated" not in on_screen(glue)

    def test_warnings_stand_below_their_table(self, full: dict[str, Any]) -> None:
        text = on_screen(full)
        note = text.index("* quant-qop: failed: a <b> & 5 % of it_self | none")
        assert text.index("MRPC: score") < note < text.index("MNLI: size")

    def test_tokenization_is_told_apart_from_latency(self) -> None:
        records = [
            TokenizationRecord(session=session, task="CoLA", shape="task", samples_ns=[level] * 19 + [3 * level])
            for session, level in ((1, 900_000), (2, 100_000))
        ]
        compared = comparison([*fake_run(("CoLA",)), *records], environment=ENVIRONMENT, folder=Path("run"))
        found = compared["tokenization"]["CoLA"]["task"]
        assert found == pytest.approx({"median_ns": 100_000.0, "p95_ns": 110_000.0, "calls": 20})
        told = "Tokenizing a request, part of no latency: CoLA (task) 0.10 ms, p95 0.11 ms."
        assert told in " ".join(on_screen(compared).split())

    def test_the_machine_is_named(self, full: dict[str, Any]) -> None:
        assert "Measured on: Some CPU, 2 threads, onnxruntime 1.31.0, x86_64+avx2." in on_screen(full)

    def test_rows_of_several_seeds_tell_theirs(self) -> None:
        text = on_screen(comparison(fake_run(("CoLA",), seeds=(1, 2)), environment={}, folder=Path()))
        assert "distill (seed 2)" in text

    def test_more_runtimes_than_fit_go_into_further_tables(self) -> None:
        records = fake_run(("CoLA",), ("baseline", "distill"))
        records += latency(measured_key("CoLA", "baseline", 1), "bert-2", 200.0, runtime="torch")
        records += latency(measured_key("CoLA", "distill", 1), "tiny-2", 20.0, runtime="torch")
        text = on_screen(comparison(records, environment={}, folder=Path()))
        assert text.count("CoLA: size and latency") == text.count("CoLA: latency") == 1
        assert "torch 1x128 (ms)" in text

    def test_a_run_without_any_measurement_still_prints(self) -> None:
        text = on_screen(comparison([task_record("CoLA"), cell("CoLA", "distill")], environment={}, folder=Path()))
        assert "distill" in text

    def test_published_figures_stand_in_their_own_table(self, full: dict[str, Any]) -> None:
        text = on_screen(full, references=["seed", "paper"])
        assert 'The study "Reproducing TinyBERT", beside this run' in text
        assert "Published figures" not in on_screen(full)
        assert "it is 25.2 %" in " ".join(text.split())


class TestFiles:
    def test_every_format_is_written(self, full: dict[str, Any], tmp_path: Path) -> None:
        written = write_reports(full, tmp_path / "report", ALL)
        names = {path.relative_to(tmp_path / "report").as_posix() for path in written}
        plots = {"plots/latency-score.svg", "plots/size.svg"}
        assert names == {f"comparison.{name}" for name in FORMATS} | plots
        found = {path.relative_to(tmp_path / "report").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        assert found == names  # no temporary file is left

    def test_json_is_the_comparison(self, full: dict[str, Any], tmp_path: Path) -> None:
        write_reports(full, tmp_path, ["json"])
        assert json.loads((tmp_path / "comparison.json").read_text()) == full

    def test_csv_has_a_line_per_row_and_dotted_names(self, full: dict[str, Any], tmp_path: Path) -> None:
        write_reports(full, tmp_path, ["csv"])
        with (tmp_path / "comparison.csv").open(newline="") as stream:
            lines = list(csv.DictReader(stream))
        assert len(lines) == len(full["rows"])
        for line, row in zip(lines, full["rows"], strict=True):
            assert line["task"] == row["task"]
            assert json.loads(line["warnings"]) == row["warnings"]
            if row["primary_score"] is not None:
                assert float(line["speedup.onnxruntime.1x128.low"]) == row["speedup"]["onnxruntime"]["1x128"]["low"]
                assert float(line["score_interval.high"]) == row["score_interval"][1]
                assert line["artifact.format"] == row["artifact"]["format"]

    def test_markdown_tables_are_rectangular(self, full: dict[str, Any]) -> None:
        text = document_markdown(document_of(full, references=["seed"]))
        tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
        assert len(tables) == 1 + 3 * len(TASKS) + 1
        for table in tables:
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
            assert len(counts) == 1
        assert "it\\_self \\| none" in text

    def test_html_is_well_formed_and_loads_nothing(self, full: dict[str, Any], tmp_path: Path) -> None:
        write_reports(full, tmp_path, ["html"], references=["paper"])
        text = (tmp_path / "comparison.html").read_text()
        checker = TagChecker()
        checker.feed(text)
        assert checker.open == []
        assert checker.links == []
        assert "a &lt;b&gt; &amp; 5 % of it_self" in text
        assert text.count("<svg") == 2

    def test_latex_escapes_its_own_signs(self, full: dict[str, Any]) -> None:
        text = document_tex(document_of(full))
        assert r"5 \% of it\_self" in text
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1 + 3 * len(TASKS)
        for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, flags=re.DOTALL):
            lines = [line for line in body.splitlines() if line.endswith(r"\\")]
            assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
        assert escape("\\{}~^<>") == (
            r"\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
        )

    @pytest.mark.parametrize("options", [{"formats": ["pdf"]}, {"formats": ["md"], "references": ["rumour"]}])
    def test_an_unknown_name_writes_nothing(
        self, full: dict[str, Any], tmp_path: Path, options: dict[str, Any]
    ) -> None:
        with pytest.raises(UnknownName, match=r"unknown (format 'pdf'|reference 'rumour'): known are"):
            write_reports(full, tmp_path / "new", **options)
        assert not (tmp_path / "new").exists()

    def test_a_failed_write_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "comparison.md"
        write_whole(path, "old")
        monkeypatch.setattr(writers.Path, "replace", failing)
        with pytest.raises(OSError, match="no space"):
            write_whole(path, "new")
        assert path.read_text() == "old"
        assert [each.name for each in tmp_path.iterdir()] == ["comparison.md"]


def failing(*_: object) -> None:
    raise OSError("no space")


class TagChecker(HTMLParser):
    """Keeps the tags that are open, and everything a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestPlots:
    def test_points_and_labels_stay_inside(self, full: dict[str, Any]) -> None:
        for drawing in comparison_plots(full).values():
            root = ET.fromstring(drawing)
            width, height = (float(root.attrib[name]) for name in ("width", "height"))
            panels = [(0.0, 0.0, root)]
            for group in root.iter("{http://www.w3.org/2000/svg}g"):
                x, y = map(float, re.findall(r"[\d.]+", group.attrib["transform"]))
                panels.append((x, y, group))
            for x, y, panel in panels:
                for text in panel.findall("{http://www.w3.org/2000/svg}text"):
                    length = 6.2 * len(text.text or "")
                    start = (
                        x
                        + float(text.attrib["x"])
                        - {"end": length, "middle": length / 2}.get(text.attrib["text-anchor"], 0)
                    )
                    assert start >= 0
                    assert start + length <= width + 1
                    assert 0 <= y + float(text.attrib["y"]) <= height

    def test_one_panel_per_task_one_point_per_method(self, full: dict[str, Any]) -> None:
        root = ET.fromstring(comparison_plots(full)["latency-score"])
        assert len(list(root.iter("{http://www.w3.org/2000/svg}g"))) == len(TASKS)
        assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 5 * len(TASKS)

    def test_bars_are_as_long_as_sizes(self, full: dict[str, Any]) -> None:
        root = ET.fromstring(comparison_plots(full)["size"])
        lengths = [
            float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in bar.attrib
        ]
        assert lengths[2] / lengths[0] == pytest.approx(57_480_000 / 437_951_322, abs=1e-3)

    def test_without_measurements_there_is_nothing_to_plot(self) -> None:
        compared = comparison([task_record("CoLA"), cell("CoLA", "distill")], environment={}, folder=Path())
        assert comparison_plots(compared) == {}


def test_reports_load_no_heavy_library() -> None:
    modules = ["console", "writers", "compare", "comparison", "model_card", "reference_table"]
    heavy = ["torch", "transformers", "datasets", "evaluate", "pandas", "scipy", "sklearn", "onnxruntime", "rich"]
    program = "; ".join(
        [
            *(f"import compressbench.reporting.{name}" for name in modules),
            "import sys",
            f"print([name for name in {heavy} if name in sys.modules])",
        ]
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_small_formats() -> None:
    assert format_interval(None) == "–"
    assert format_interval({"ratio": 0.8, "low": 0.756, "high": 0.84}) == "0.80x [0.76, 0.84]"
    assert format_interval({"ratio": 13.41, "low": 13.0, "high": 14.0}) == "13.4x [13.0, 14.0]"
    assert format_milliseconds(None) == "–"
    assert format_milliseconds(2_814_700_000) == "2814.7"
    assert format_milliseconds(6_810_000) == "6.81"
    assert format_budget({"intermediate_epochs": 20, "prediction_epochs": 3, "rows": 8551}) == "20/3 epochs"
    augmented = {"intermediate_epochs": 20, "prediction_epochs": 3, "rows": 279, "task_rows": 10}
    assert format_budget(augmented) == "20/3 epochs, x27.9 rows"
    assert format_budget({"calibration_rows": 128}) == "128 rows"
    assert format_budget({}) == "–"

"""Ranges of activations against ONNX Runtime's own calibrators, in memory that does not grow with the rows."""

import contextlib
import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    HistogramCollector,
    create_calibrator,
)

from compressbench.errors import InvalidParameter
from compressbench.methods.quantize import calibration, observing
from compressbench.methods.quantize.calibration import Rule, TensorRange, measure_ranges
from compressbench.methods.quantize.saturation import saturation_table, saturation_warnings
from compressbench.methods.quantize.sources import activations
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import read_model
from compressbench.numerics.histogram_ranges import (
    BINS,
    QUANTIZED_BINS,
    Histogram,
    add_values,
    clipped_share,
    entropy_range,
    percentile_range,
)
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Quiet

SHAPES_OF_VALUES = {
    "normal": lambda rng: rng.normal(size=50_000),
    "outliers": lambda rng: np.concatenate([rng.normal(size=50_000), [40.0, -35.0, 38.0]]),
    "one side": lambda rng: np.maximum(rng.normal(size=50_000), -0.17),
    "sparse": lambda rng: rng.choice([-3.0, 0.0, 0.5, 2.0], size=900),
    "few": lambda rng: rng.normal(size=7),
}


@pytest.fixture(params=SHAPES_OF_VALUES)
def values(request: pytest.FixtureRequest) -> np.ndarray:
    drawn: np.ndarray = SHAPES_OF_VALUES[request.param](np.random.default_rng(3))
    return drawn.astype(np.float32)


def histogram_of(values: np.ndarray) -> Histogram:
    top = float(np.abs(values).max())
    counts = np.zeros(BINS, dtype=np.int64)
    for part in np.array_split(values, 3):
        add_values(counts, part, top=top)
    return Histogram(counts, top)


def library_range(method: str, values: np.ndarray, histogram: Histogram) -> tuple[float, float]:
    """ONNX Runtime's range from our histogram."""
    collector = HistogramCollector(
        method=method, symmetric=False, num_bins=BINS, num_quantized_bins=QUANTIZED_BINS, percentile=99.9, scenario=""
    )
    taken = (histogram.counts, histogram.edges, values.min(), values.max(), histogram.top)
    collector.histogram_dict = {"tensor": taken}
    with contextlib.redirect_stdout(io.StringIO()):
        low, high, *_ = collector.compute_collection_result()["tensor"]
    return float(low), float(high)


def test_values_fall_into_the_bins_that_numpy_puts_them_in(values: np.ndarray) -> None:
    found = histogram_of(values)
    expected, edges = np.histogram(values, bins=BINS, range=(-found.top, found.top))
    assert found.counts.sum() == values.size
    np.testing.assert_allclose(found.edges, edges, rtol=1e-6, atol=1e-9)
    moved = np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max()  # a value on an edge, to the bin beside
    assert moved <= (0.001 * values.size if len(set(values.tolist())) > 10 else np.bincount(expected).size)


def test_entropy_chooses_the_librarys_range(values: np.ndarray) -> None:
    histogram = histogram_of(values)
    low, high = entropy_range(histogram)
    found = max(low, float(values.min())), min(high, float(values.max()))
    assert found == pytest.approx(library_range("entropy", values, histogram), rel=1e-6)


def test_percentile_chooses_the_librarys_range(values: np.ndarray) -> None:
    histogram = histogram_of(values)
    low, high = percentile_range(histogram, percentile=99.9)
    found = max(low, float(values.min())), min(high, float(values.max()))
    assert found == pytest.approx(library_range("percentile", values, histogram), rel=1e-6)


def test_the_clipped_share_is_what_lies_beyond() -> None:
    drawn = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    histogram = histogram_of(drawn)
    assert clipped_share(histogram, low=-1.0, high=2.0) == pytest.approx(((drawn < -1) | (drawn > 2)).mean(), abs=2e-3)
    assert clipped_share(histogram, low=float(drawn.min()), high=float(drawn.max())) == 0


@pytest.fixture(scope="module")
def fp32_path(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp32")
    export_classifier(tiny_classifier, to=folder)
    return folder / "model.onnx"


def rows_of_one_length(count: int) -> EncodedRows:
    """ONNX Runtime's histograms take batches of one shape alone."""
    ids = np.random.default_rng(7).integers(5, 40, size=(count, 11)).tolist()
    return EncodedRows(input_ids=ids, token_type_ids=[[0] * 11] * count, pad_id=0)


class Batches(CalibrationDataReader):
    """Batches for ONNX Runtime's calibrators."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        return next(self._batches, None)


def librarys_ranges(
    path: Path, encoded: EncodedRows, *, workplace: Path, seed: int, method: CalibrationMethod, **options: Any
) -> dict[str, tuple[float, float]]:
    """What ONNX Runtime's calibrator makes of the same batches in the same order."""
    batches = list(batches_by_length(encoded.lengths, batch_size=observing.BATCH_SIZE))
    order = np.random.default_rng(seed).permutation(len(batches))
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            path, ["MatMul"], str(workplace / "augmented.onnx"), calibrate_method=method, extra_options=options
        )
        names = {each.name for each in calibrator.infer_session.get_inputs()}
        feeds = [
            {name: array for name, array in encoded.batch(batches[place]).items() if name in names} for place in order
        ]
        for part in [[feed] for feed in feeds] if options.get("moving_average") else [feeds]:
            calibrator.collect_data(Batches(iter(part)))
        made = calibrator.compute_data()
    return {name: tuple(float(np.ravel(bound)[0]) for bound in made[name].range_value) for name in made}  # type: ignore[misc]


RULES = {
    "minmax": (Rule(), CalibrationMethod.MinMax, {}),
    "moving average": (
        Rule(moving_average=True, averaging_constant=0.3),
        CalibrationMethod.MinMax,
        {"moving_average": True, "averaging_constant": 0.3},
    ),
    "percentile": (
        Rule(calibrate_method="percentile", percentile=99.0),
        CalibrationMethod.Percentile,
        {"percentile": 99.0, "symmetric": False},
    ),
    "distribution": (Rule(calibrate_method="distribution"), CalibrationMethod.Distribution, {}),
}


@pytest.mark.parametrize("name", RULES)  # entropy is held against the library above: it takes a second a tensor there
def test_ranges_of_a_model_are_those_of_the_librarys_calibrator(name: str, fp32_path: Path, tmp_path: Path) -> None:
    rule, method, options = RULES[name]
    encoded = rows_of_one_length(24)
    expected = librarys_ranges(fp32_path, encoded, workplace=tmp_path, seed=5, method=method, **options)
    model = read_model(fp32_path)
    tensors = [each for each in activations(model, outputs=True) if each in expected]
    assert len(tensors) > 10
    measured = measure_ranges(
        rule, model, encoded, tensors=tensors, threads=1, workplace=tmp_path, progress=Quiet(), seed=5
    )
    for tensor, found in measured.ranges.items():
        bin_width = 2 * max(-found.seen_low, found.seen_high) / BINS
        tolerance = 1.01 * bin_width if name == "percentile" else 1e-5
        assert (found.low, found.high) == pytest.approx(expected[tensor], abs=tolerance), tensor


def test_what_a_rule_cuts_off_is_counted(fp32_path: Path, tmp_path: Path) -> None:
    model = read_model(fp32_path)
    tensors = activations(model, outputs=False)
    shares = {}
    for name, rule in (("minmax", Rule()), ("half", Rule(calibrate_method="percentile", percentile=60.0))):
        measured = measure_ranges(
            rule, model, rows_of_one_length(16), tensors=tensors, threads=1, workplace=tmp_path, progress=Quiet()
        )
        shares[name] = [each.clipped_share for each in measured.ranges.values()]
        table = saturation_table(model, measured.ranges)
        assert len(table) == 14  # query, key and value read one tensor and have a line each
        assert {each.side for each in table} == {"input"}
        warnings = saturation_warnings(table, rule=rule)
        if name == "minmax":
            assert warnings == ()
        else:
            assert "cuts off more than 1 % of the values in 14 of 14 places, most in bert." in warnings[0]
            assert "compare with calibrate_method=minmax" in warnings[0]
    assert shares["minmax"] == [0.0] * len(tensors)
    assert all(share == pytest.approx(0.4, abs=0.05) for share in shares["half"][:-1])


def test_an_output_has_a_line_of_its_own(fp32_path: Path) -> None:
    model = read_model(fp32_path)
    one = TensorRange(low=-1, high=1, seen_low=-1, seen_high=1)
    table = saturation_table(model, dict.fromkeys(activations(model, outputs=True), one))
    assert [each.side for each in table] == ["input", "output"] * 14


@pytest.mark.parametrize("rule", [Rule(), Rule(calibrate_method="percentile")], ids=["extremes", "histograms"])
def test_memory_does_not_grow_with_the_rows(
    rule: Rule, fp32_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "IN_MEMORY_BYTES", 0)
    model = read_model(fp32_path)
    tensors = activations(model, outputs=False)
    peaks = []
    for count in (16, 16, 320):  # the first fills caches of the libraries
        encoded = rows_of_one_length(count)
        tracemalloc.start()
        measure_ranges(rule, model, encoded, tensors=tensors, threads=1, workplace=tmp_path, progress=Quiet())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    held = 304 * 11 * 4 * 32 * len(tensors)  # what 304 rows more would hold
    assert peaks[2] - peaks[1] < 0.1 * held


def test_more_rows_than_there_are_say_how_many_there_are() -> None:
    with pytest.raises(InvalidParameter, match=r"has 7 rows: use calibration_rows=7"):
        calibration.check_row_count(8, available=7)
    calibration.check_row_count(7, available=7)


def test_the_model_is_the_same_afterwards(fp32_path: Path, tmp_path: Path) -> None:
    model = read_model(fp32_path)
    before = model.SerializeToString(deterministic=True)
    tensors = [*activations(model, outputs=True), model.graph.output[0].name]
    measure_ranges(
        Rule(moving_average=True), model, rows_of_one_length(9), tensors=tensors, threads=1, workplace=tmp_path,
        progress=Quiet(),
    )  # fmt: skip
    assert model.SerializeToString(deterministic=True) == before
    assert isinstance(model, onnx.ModelProto)

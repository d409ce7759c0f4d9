"""The gate's own benchmarks: extra work changes time and nothing else, and the counting is right."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from benchmarks.gate import bank as recording
from benchmarks.gate.__main__ import main
from benchmarks.gate.bank import (
    AGAIN,
    BASELINE,
    CONDITIONS,
    ROUNDS,
    SIDES,
    SLOWDOWNS,
    Bank,
    measured_slowdown,
    open_bank,
)
from benchmarks.gate.competitor import competing, spells
from benchmarks.gate.coverage import TRUE_RATIO, coverage, simulated
from benchmarks.gate.models import with_extra_work
from benchmarks.gate.overhead import measure_overhead, overhead_markdown
from benchmarks.gate.replay import blocks, disjoint_blocks, draw_curve, exact_interval, operating_curve, replay
from compressbench.errors import BadInput
from compressbench.harness.shapes import Shape
from compressbench.models.geometry import Geometry
from compressbench.models.onnx_graph import read_model, to_tensor, write_model
from compressbench.progress import Quiet
from compressbench.records.schema import LatencyRecord

PROCESSES, WIDTH = 24, 8


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """Rounds drawn from a seed: processes scatter by 1 %, rounds by 1 %, and slower copies are as slow as they say."""
    folder = tmp_path_factory.mktemp("bank")
    rng = np.random.default_rng(0)
    made = Bank(folder=folder, settings={"geometry": {}, "threads": 1, "shape": [1, 16]})
    for condition, side in itertools.product(CONDITIONS, SIDES):
        log = made.log(condition, side)
        log.path.parent.mkdir(parents=True)
        for process in range(PROCESSES):
            for key, slowdown in {BASELINE: 0.0, side: SLOWDOWNS.get(side, 0.0)}.items():
                level = 8e6 * (1 + slowdown) * rng.lognormal(0, 0.01)
                for number in range(process * ROUNDS, (process + 1) * ROUNDS):
                    samples = level * rng.lognormal(0, 0.01, size=3)
                    log.append(_block(key, process, number, samples))
    return made


def _block(side: str, process: int, number: int, samples: np.ndarray) -> LatencyRecord:
    return LatencyRecord(
        session=1, measured_key=side, graph_key=side, runtime="onnxruntime", shape="1x16", threads=1, process=process,
        round=number, samples_ns=[int(each) for each in samples],
    )  # fmt: skip


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embeddings, a LayerNormalization, a mean over tokens, two logits."""
    from onnx import TensorProto, helper

    rng = np.random.default_rng(1)
    weights = {
        "words": rng.standard_normal((50, WIDTH)), "scale": np.ones(WIDTH), "classes": rng.standard_normal((WIDTH, 2)),
    }  # fmt: skip
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Gather", ["words", "input_ids"], ["embedded"]),
            node("LayerNormalization", ["embedded", "scale"], ["hidden"]),
            node("ReduceMean", ["hidden", "tokens"], ["pooled"], keepdims=0),
            node("MatMul", ["pooled", "classes"], ["logits"]),
        ],
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            *(to_tensor(array.astype(np.float32), name) for name, array in weights.items()),
            to_tensor(np.array([1]), "tokens"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path_factory.mktemp("small") / "model.onnx"
    write_model(model, path)
    return path


@pytest.mark.parametrize("columns", [1, WIDTH, 3 * WIDTH + 2])
def test_extra_work_is_really_done_and_changes_no_answer(model_path: Path, tmp_path: Path, columns: int) -> None:
    from compressbench.harness.size import count_flops
    from compressbench.runtimes.onnxruntime import open_model

    slower = tmp_path / "slower.onnx"
    write_model(with_extra_work(read_model(model_path), columns=columns), slower)
    ids = np.random.default_rng(2).integers(50, size=(3, 5))
    ours, theirs = (open_model(path, threads=1)({"input_ids": ids}) for path in (slower, model_path))
    np.testing.assert_array_equal(ours, theirs)
    # The FLOPs are read off the graph that the runtime made of it: nothing was folded or left out.
    assert count_flops(slower) - count_flops(model_path) == 2 * 128 * WIDTH * columns


def test_a_graph_without_hidden_states_is_refused(model_path: Path) -> None:
    model = read_model(model_path)
    model.graph.node[1].op_type = "Identity"
    with pytest.raises(BadInput, match="has no LayerNormalization, so there is no hidden state"):
        with_extra_work(model, columns=1)


@pytest.mark.parametrize(("successes", "total"), [(0, 1000), (3, 1000), (1000, 1000), (7, 20)])
def test_exact_intervals_are_clopper_and_pearsons(successes: int, total: int) -> None:
    low, high = exact_interval(successes, total)
    assert low == pytest.approx(0.0 if successes == 0 else beta.ppf(0.025, successes, total - successes + 1))
    assert high == pytest.approx(1.0 if successes == total else beta.ppf(0.975, successes + 1, total - successes))


def test_replay_finds_what_is_slower_and_passes_what_is_not(bank: Bank) -> None:
    found = {(each.condition, each.side): each for each in replay(bank, decisions=60, processes=12, threshold=0.05)}
    assert set(found) == {(condition, side) for condition in CONDITIONS for side in (AGAIN, *SLOWDOWNS)}
    for condition in CONDITIONS:
        assert found[condition, AGAIN].verdicts == {"pass": 60}
        assert found[condition, "+10 %"].verdicts["regression"] >= 58
        assert found[condition, "+5 %"].verdicts["regression"] <= 6
        assert found[condition, "+10 %"].slowdown == pytest.approx(0.10, abs=0.015)
        assert found[condition, AGAIN].disjoint.total() == PROCESSES // 12


def test_blocks_are_contiguous_and_paired() -> None:
    baseline = [[100.0 * process + number for number in range(4)] for process in range(20)]
    current = [[-value for value in process] for process in baseline]
    for before, after in blocks(baseline, current, count=50, processes=8, swap=False, seed=3):
        assert [[-value for value in process] for process in after] == before
        starts = [process[0] // 100 for process in before]
        assert starts == list(range(int(starts[0]), int(starts[0]) + 8))
        assert all(np.diff(process).tolist() == [1.0] * (len(process) - 1) for process in before)
        assert len({process[0] % 100 for process in before}) == 1
    swapped = blocks(baseline, current, count=50, processes=8, swap=True, seed=3)
    assert {side[0][0][0] > 0 for side in swapped if side[0][0][0]} == {True, False}
    assert len(list(disjoint_blocks(baseline, current, processes=8))) == 2


def test_a_bank_that_is_too_small_is_refused(bank: Bank) -> None:
    with pytest.raises(BadInput, match=r"has 24 processes and a decision takes 25 .*record more, or give fewer"):
        replay(bank, decisions=1, processes=25, threshold=0.05)
    with pytest.raises(BadInput, match=r"a decision takes 4 \(at least 8\)"):
        replay(bank, decisions=1, processes=4, threshold=0.05)


def test_the_operating_curve_rises_and_is_small(bank: Bank) -> None:
    curves = operating_curve(bank, decisions=10, processes=8, threshold=0.05)
    for curve in curves.values():
        assert curve[0] == 0.0
        assert curve[12] == 1.0
        assert len(curve) == 16
    drawing = draw_curve(curves, replay(bank, decisions=10, processes=8, threshold=0.05), threshold=0.05)
    assert drawing.count("<polyline") == 2
    assert drawing.count("<circle") == 2 * (1 + len(SLOWDOWNS))
    assert len(drawing) < 20_000


def test_simulated_data_sets_have_the_ratio_that_is_put_on_top(bank: Bank) -> None:
    sides = bank.rounds("quiet", AGAIN)
    rng = np.random.default_rng(0)
    drawn = [measured_slowdown(*simulated(sides, processes=8, rounds=3, rng=rng)) for _ in range(300)]
    assert np.mean(drawn) == pytest.approx(TRUE_RATIO - 1, abs=0.003)
    table = coverage(bank, data_sets=40)
    shares = [
        float(row.split("|")[4].split("%")[0]) for row in table.splitlines() if row.startswith(("| quiet", "| lo"))
    ]
    assert len(shares) == 16
    assert min(shares) > 75


def test_overhead_is_what_lies_outside_the_runtime(model_path: Path) -> None:
    overhead = measure_overhead(model_path, shape=Shape(1, 16), threads=1, blocks=3)
    assert overhead.shape == (30,)
    assert (overhead > 0).all()
    assert "(small at 1x16, 1 threads, 30 runs" in overhead_markdown(
        overhead, shape=Shape(1, 16), threads=1, name="small"
    )


def test_a_competitor_is_busy_half_of_the_time_and_ends() -> None:
    busy, idle = map(sum, zip(*(each for each, _ in zip(spells(1), range(4000), strict=False)), strict=True))
    assert busy / (busy + idle) == pytest.approx(0.5, abs=0.02)
    with competing(core=0, seed=1) as process:
        assert process.poll() is None
    assert process.poll() is not None


def test_a_bank_is_recorded_beside_a_competitor_and_goes_on(
    tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes seconds: a generation is two processes a side."""
    monkeypatch.setattr(recording, "CALIBRATION_GENERATIONS", 1)
    monkeypatch.setattr(recording, "CONDITIONS", ("loaded",))
    base = tmp_path / "models" / "base"
    base.mkdir(parents=True)
    shutil.copyfile(model_path, base / "model.onnx")
    (base / "config.json").write_text('{"vocab_size": 50}')
    (base / "tokenizer.json").write_text("{}")
    geometry = Geometry(layers=1, hidden=WIDTH, heads=2, intermediate=8)
    how = {"geometry": geometry, "shape": Shape(1, 16), "threads": 1, "minutes": 1.0, "progress": Quiet()}
    made = recording.record_bank(tmp_path, processes=1, **how)
    again = recording.record_bank(tmp_path, processes=1, **how)
    assert again.settings == made.settings
    assert set(made.settings["columns"]) == set(SLOWDOWNS)
    before, after = made.rounds("loaded", "+10 %")
    assert [len(before), len(after)] == [1, 1]
    assert len(before[0]) == ROUNDS
    for side in SIDES:
        assert {each.measured_key for each in made.records("loaded", side)} == {BASELINE, side}
    with pytest.raises(BadInput, match="is a bank of another model, shape or thread count"):
        recording.record_bank(tmp_path, processes=1, **(how | {"shape": Shape(2, 16)}))


def test_a_bank_inside_the_repository_and_no_bank_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = Path(__file__).parent / "bank"
    assert main(["bank", "--to", str(inside)]) == 2
    assert "put it outside the repository" in capsys.readouterr().err
    assert not inside.exists()
    assert main(["replay", "--bank", str(tmp_path)]) == 2
    assert f"{tmp_path} is no bank: `python -m benchmarks.gate bank --to" in capsys.readouterr().err
    with pytest.raises(BadInput, match="is no bank"):
        open_bank(tmp_path)

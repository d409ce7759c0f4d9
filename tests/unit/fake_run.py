"""A run's records without a run: every kind of task, sharing of graphs, failures and seeds, all drawn from a seed."""

from collections.abc import Sequence

import numpy as np

from compressbench.records.schema import (
    CellRecord,
    CurveRecord,
    GraphRecord,
    Int8Record,
    LatencyRecord,
    QualityRecord,
    Record,
    SessionRecord,
    SizeRecord,
    TaskRecord,
)

TASKS = {
    "CoLA": (("unacceptable", "acceptable"), ("matthews_correlation", "accuracy"), ("dev",)),
    "MRPC": (("not_equivalent", "equivalent"), ("accuracy", "f1"), ("dev",)),
    "MNLI": (("contradiction", "entailment", "neutral"), ("accuracy",), ("dev_matched", "dev_mismatched")),
    "STS-B": ((), ("spearmanr", "pearson"), ("dev",)),
    "synthetic-sentiment": (("negative", "positive"), ("accuracy",), ("dev",)),
}
# chain: (graph, bytes, latency in ms at 1x128, noise on the answers, share of Linear weights that are 0)
CHAINS = {
    "baseline": ("bert", 437_951_322, 100.0, 0.8, 0.0),
    "distill": ("tiny", 57_480_000, 7.0, 1.3, 0.0),
    "quant-qdq": ("bert-qdq", 110_340_000, 50.0, 0.85, 0.0),
    "prune": ("bert", 437_951_322, 100.0, 0.9, 0.2),
    "distill+prune": ("tiny", 57_480_000, 7.0, 1.4, 0.2),
}
SHAPES = {"1x128": 1.0, "8x128": 8.5}
ROWS = 400
PROCESSES, ROUNDS = 3, 8


def task_record(task: str) -> TaskRecord:
    labels, metrics, splits = TASKS[task]
    suite = "synthetic" if task.startswith("synthetic") else "glue"
    return TaskRecord(
        task=task, suite=suite, labels=labels, metrics=metrics, dev_splits=splits, data_fingerprint=f"rows-of-{task}"
    )


def measured_key(task: str, chain: str, seed: int) -> str:
    return f"{task}-{chain}-{seed}"


def cell(task: str, chain: str, *, seed: int = 1, method: str | None = None, **changes: object) -> CellRecord:
    values: dict[str, object] = {
        "task": task,
        "method": method or chain,
        "chain": chain,
        "seed": seed,
        "parameters": {} if chain == "baseline" else {"epochs": 3},
        "artifact_key": f"artifact-{measured_key(task, chain, seed)}",
        "artifact_path": f"artifacts/{chain}",
        "format": "onnx-int8" if "quant" in chain else "torch",
        "measured_key": measured_key(task, chain, seed),
        "budget": {"rows": 100} if "quant" in chain else {"intermediate_epochs": 20, "prediction_epochs": 3},
    }
    return CellRecord(**(values | changes))  # type: ignore[arg-type]


def failed_cell(task: str, chain: str, *, seed: int = 1, error: str = "the export has no weights") -> CellRecord:
    empty = {"artifact_key": "", "artifact_path": "", "format": "", "measured_key": "", "budget": {}}
    return cell(task, chain, seed=seed, error=error, **empty)


def size(task: str, chain: str, seed: int = 1) -> SizeRecord:
    _, size_bytes, _, _, pruned = CHAINS[chain]
    count = 109_483_778 if size_bytes > 100_000_000 else 14_351_186
    linear = 85_527_552 if count > 100_000_000 else 4_650_000
    return SizeRecord(
        measured_key=measured_key(task, chain, seed),
        size_bytes=size_bytes,
        compressed_bytes=int(size_bytes * (0.92 - 0.1 * pruned)),
        parameter_count=count,
        nonzero_count=count - int(pruned * linear),
        linear_count=linear,
        linear_nonzero_count=linear - int(pruned * linear),
        flops=22_348_300_000 if count > 100_000_000 else 1_180_000_000,
    )


def references(task: str, split: str) -> np.ndarray:
    labels = TASKS[task][0]
    rng = np.random.default_rng([len(task), len(split)])
    if not labels:
        return np.round(rng.uniform(0, 5, ROWS), 1)
    weights = np.array([3.0, *[7.0] * (len(labels) - 1)])
    return rng.choice(len(labels), size=ROWS, p=weights / weights.sum())


def quality(task: str, chain: str, split: str, seed: int = 1) -> QualityRecord:
    """Answers that are right up to noise; the baseline's noise is a part of everybody's."""
    truth = references(task, split)
    width = len(TASKS[task][0]) or 1
    shared = np.random.default_rng([1, len(split)]).normal(size=(ROWS, width))
    own = np.random.default_rng([2, sorted(CHAINS).index(chain), seed]).normal(size=(ROWS, width))
    noise = CHAINS[chain][3]
    signal = np.eye(width)[truth.astype(int)] if TASKS[task][0] else truth[:, None] / 2
    logits = signal + 0.7 * shared + (0.0 if chain == "baseline" else noise - 0.5) * own
    return QualityRecord(
        measured_key=measured_key(task, chain, seed),
        task=task,
        split=split,
        logits=logits.astype(np.float32).tolist(),
        references=truth.tolist(),
    )


def latency(
    key: str,
    graph: str,
    milliseconds: float,
    *,
    session: int = 1,
    shape: str = "1x128",
    runtime: str = "onnxruntime",
    rounds: int = ROUNDS,
    threads: int = 2,
    task: str = "",
) -> list[LatencyRecord]:
    """Blocks whose slow rounds are slow for everybody: the noise that pairing takes out."""
    records = []
    for process in range(PROCESSES):
        for number in range(rounds):
            weather = np.random.default_rng([session, process, number]).lognormal(0, 0.1)
            own = np.random.default_rng([len(key), process, number, 7]).lognormal(0, 0.01, size=5)
            samples = milliseconds * 1e6 * weather * own
            records.append(
                LatencyRecord(
                    session=session,
                    measured_key=key,
                    graph_key=graph,
                    runtime=runtime,
                    shape=shape,
                    threads=threads,
                    task=task,
                    process=process,
                    round=number,
                    samples_ns=[int(sample) for sample in samples],
                )
            )
    return records


def latencies(tasks: Sequence[str], chains: Sequence[str], *, session: int = 1) -> list[Record]:
    """Blocks of the first model of each graph."""
    first: dict[str, tuple[str, float]] = {}
    for task in tasks:
        for chain in chains:
            graph = f"{CHAINS[chain][0]}-{len(TASKS[task][0]) or 1}"
            first.setdefault(graph, (measured_key(task, chain, 1), CHAINS[chain][2]))
    return [
        record
        for graph, (key, milliseconds) in first.items()
        for shape, factor in SHAPES.items()
        for record in latency(key, graph, milliseconds * factor, session=session, shape=shape)
    ]


def curves(task: str, chain: str, seed: int = 1) -> list[CurveRecord]:
    """What a training of two stages showed, if the chain has one of its own."""
    stages: dict[str, tuple[str, ...]] = {
        "distill": ("embedding", "hidden", "attention"), "prune": ("loss",), "baseline": ("loss",)
    }  # fmt: skip
    return [
        CurveRecord(
            artifact_key=f"artifact-{measured_key(task, chain, seed)}",
            task=task,
            chain=chain,
            seed=seed,
            stage=f"{chain} {task}, intermediate",
            steps=[2, 4, 6],
            learning_rates=[1e-5, 5e-5, 0.0],
            terms={name: [1.0, 0.1 / number, 0.0] for number, name in enumerate(stages[chain], start=1)},
            score_steps=[3, 6],
            scores={"accuracy": [0.5, 0.75]},
        )
        for chain in stages.keys() & {chain}
    ]


def fake_run(
    tasks: Sequence[str] = ("CoLA", "MRPC"),
    chains: Sequence[str] = tuple(CHAINS),
    *,
    seeds: Sequence[int] = (1,),
    sessions: int = 1,
) -> list[Record]:
    """All records of a finished run."""
    records: list[Record] = [task_record(task) for task in tasks]
    for task in tasks:
        for seed in seeds:
            for chain in chains:
                key = measured_key(task, chain, seed)
                records += [
                    cell(task, chain, seed=seed),
                    size(task, chain, seed),
                    GraphRecord(measured_key=key, graph_key=f"{CHAINS[chain][0]}-{len(TASKS[task][0]) or 1}"),
                    *(quality(task, chain, split, seed) for split in TASKS[task][2]),
                ]
                records += curves(task, chain, seed)
                if "quant" in chain:
                    records.append(
                        Int8Record(
                            measured_key=key, runtime="onnxruntime", shape="1x128", gemm_share=0.96,
                            constant_gemm_share=1.0, leftover_qdq_pairs=0,
                        )
                    )  # fmt: skip
    for session in range(1, sessions + 1):
        records.append(SessionRecord(session=session, state="begun", time_utc="2025-01-01T00:00:00Z"))
        records += latencies(tasks, chains, session=session)
        records.append(SessionRecord(session=session, state="finished", time_utc="2025-01-01T00:10:00Z"))
    return records

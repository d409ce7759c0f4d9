"""How fast the intermediate stage trains: TinyBERT4 from BERT-Base, against the loop of TinyBERT's authors re-enacted.

    python -m benchmarks.training_speed --data-dir GLUE --teacher bert-base-uncased

Steps of both kinds are timed in turns in one process and a whole schedule is composed of them: writing the cache of
teacher outputs once, then every epoch. Three factors are told of the whole schedule: at equal padding (our loop on rows
as long as the reference pads them), what leaving padding out gains on top, and both together.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reference_loop import ReferenceLoop
from benchmarks.speed_table import BATCH, Phase, factors, markdown
from compressbench.environment import describe_environment, native_precision, usable_cores
from compressbench.memory import freed_memory_kept
from compressbench.methods.distill.loop import LossWeights, learn_layers
from compressbench.methods.distill.student import new_student
from compressbench.methods.distill.teacher_outputs import GIB, TeacherOutputs, WantedLayers
from compressbench.methods.fit_savings import only_rows_in_use
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.training import to_tensors
from compressbench.methods.training_loop import LoopHook, StageSettings
from compressbench.models.geometry import geometry_of, parse_student
from compressbench.models.inspection import inspect_model
from compressbench.models.loading import load_classifier, new_classifier, save_classifier
from compressbench.numerics.layer_mapping import layer_mapping
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.progress import Quiet
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import load_task_data


@dataclass(frozen=True)
class Plan:
    """One task's measurement."""

    task: str
    padded_to: int
    rows: int
    sample_rows: int
    """Whose real lengths are timed; drawn at random."""
    equal_rows: int
    """Timed at equal padding."""


PLANS = (
    Plan("SST-2", padded_to=64, rows=20_000, sample_rows=2048, equal_rows=256),
    Plan("MRPC", padded_to=128, rows=3668, sample_rows=1024, equal_rows=128),
)


@dataclass
class Turns(LoopHook):
    """Times our steps and, every `every` of them, lets the reference take one."""

    reference: ReferenceLoop
    batches: Sequence[dict[str, torch.Tensor]]
    every: int
    warm_up: int
    ours_s: list[float] = field(default_factory=list)
    reference_s: list[float] = field(default_factory=list)
    seen: int = 0
    since: float = 0.0

    def begin_epoch(self, epoch: int) -> None:
        """Start the clock."""
        if epoch == 0:
            self.since = time.perf_counter()

    def after_step(self) -> None:
        """Stop it while the reference has its turn."""
        now = time.perf_counter()
        self.seen += 1
        if self.seen > self.warm_up:
            self.ours_s.append(now - self.since)
        if self.seen % self.every == 0:
            start = time.perf_counter()
            self.reference.step(self.batches[len(self.reference_s) % len(self.batches)])
            self.reference_s.append(time.perf_counter() - start)
        self.since = time.perf_counter()


def padded(encoded: EncodedRows, length: int) -> EncodedRows:
    """The same rows, each as long as the reference pads it: what is computed for it is the same."""
    return replace(
        encoded,
        input_ids=[(list(ids) + [encoded.pad_id] * length)[:length] for ids in encoded.input_ids],
        token_type_ids=[(list(ids) + [0] * length)[:length] for ids in encoded.token_type_ids],
    )


def chosen(encoded: EncodedRows, count: int, *, seed: int) -> EncodedRows:
    """`count` rows at random."""
    rows = np.random.default_rng(seed).permutation(len(encoded))[:count]
    return replace(
        encoded,
        input_ids=[encoded.input_ids[row] for row in rows],
        token_type_ids=[encoded.token_type_ids[row] for row in rows],
    )


def gib_of(encoded: EncodedRows, wanted: WantedLayers, *, width: int, heads: int) -> float:
    lengths = encoded.lengths
    return float((len(wanted.hidden) * width * lengths + len(wanted.attention) * heads * lengths**2).sum() * 2 / GIB)


class Bench:
    """One task: its rows, the models, and both loops."""

    def __init__(self, plan: Plan, options: argparse.Namespace, teacher_folder: Path) -> None:
        self.plan, self.options, self.folder = plan, options, teacher_folder
        task = task_named(plan.task, suite="glue")
        rows = load_task_data(task, data_dir=options.data_dir).rows("train")
        self.encoded = encode_rows(
            sampled_rows(rows, count=plan.rows, seed=0),
            tokenizer_path=teacher_folder / "tokenizer.json",
            max_length=plan.padded_to,
        )
        teacher = load_classifier(teacher_folder)
        self.sizes = geometry_of(teacher.config)
        self.student_sizes = replace(
            parse_student(options.student), vocab=self.sizes.vocab, positions=self.sizes.positions
        )
        self.mapping = layer_mapping(
            "uniform", teacher_layers=self.sizes.layers, student_layers=self.student_sizes.layers
        )
        self.wanted = WantedLayers(hidden=self.mapping.hidden, attention=self.mapping.attention)
        student, _ = new_student(teacher, self.student_sizes, init="random", dropout=0.1)
        self.reference = ReferenceLoop(teacher, student, self.mapping)
        picked = np.random.default_rng(1).permutation(len(self.encoded))
        self.reference_batches = [
            to_tensors(self.encoded.batch(picked[start : start + BATCH], to_length=plan.padded_to), device="cpu")
            for start in range(0, 4 * BATCH, BATCH)
        ]

    def phase(self, encoded: EncodedRows, whole: EncodedRows, *, budget_gib: float, epochs: int, every: int) -> Phase:
        """Time our own loop on `encoded`, in turns with the reference."""
        torch.manual_seed(0)
        teacher = load_classifier(self.folder)
        student, projections = new_student(teacher, self.student_sizes, init="principal", dropout=0.0)
        steps = -(-len(encoded) // BATCH)
        turns = Turns(self.reference, self.reference_batches, every=every, warm_up=min(4, steps // 2))
        with (
            TeacherOutputs(
                teacher, encoded, wanted=self.wanted, budget_bytes=int(budget_gib * GIB * len(encoded) / len(whole)),
                precision=self.options.precision, device="cpu",
            ) as outputs,
            only_rows_in_use(student, encoded) as numbered,
        ):  # fmt: skip
            start = time.perf_counter()
            outputs.compute(Quiet(), name="write")
            write_s = time.perf_counter() - start
            learn_layers(
                student, projections, numbered, outputs, wanted=self.wanted,
                weights=LossWeights(embedding=1.0, attention=1.0, hidden=1.0),
                settings=StageSettings(
                    name="speed", epochs=epochs, batch_size=BATCH, learning_rate=5e-5,
                    precision=self.options.precision, threads=self.options.threads,
                ),
                hooks=[turns],
            )  # fmt: skip
            cached = outputs.cached_rows
        return Phase(
            write_s=write_s / len(encoded),
            step_s=tuple(turns.ours_s),
            reference_s=tuple(turns.reference_s),
            cached_share=cached / len(encoded),
            cache_gib=gib_of(whole, self.wanted, width=self.sizes.hidden, heads=self.sizes.heads),
            tokens=float(encoded.lengths.mean()),
        )

    def measure(self) -> dict[str, Any]:
        """Both phases and what follows from them."""
        plan, options = self.plan, self.options
        equal_rows = padded(chosen(self.encoded, plan.equal_rows, seed=2), plan.padded_to)
        equal_all = padded(self.encoded, plan.padded_to)
        for batch in self.reference_batches[:1]:
            self.reference.step(batch)  # warm
        equal = self.phase(
            equal_rows, equal_all, budget_gib=1e6,
            epochs=options.equal_epochs, every=options.equal_every,
        )  # fmt: skip
        sample = chosen(self.encoded, plan.sample_rows, seed=3)
        real = self.phase(
            sample, self.encoded, budget_gib=options.cache_gib, epochs=options.real_epochs,
            every=max(1, options.real_epochs * -(-len(sample) // BATCH) // options.reference_steps),
        )  # fmt: skip
        return {
            "task": plan.task,
            "padded_to": plan.padded_to,
            "rows": len(self.encoded),
            "equal": asdict(equal),
            "real": asdict(real),
            "factors": factors(equal, real, epochs=options.epochs),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="GLUE folder with SST-2 and MRPC")
    parser.add_argument(
        "--teacher", required=True, help="BERT-Base: hub name or folder; its weights' values do not matter"
    )
    parser.add_argument("--student", default="tinybert4")
    parser.add_argument("--tasks", default="SST-2,MRPC")
    parser.add_argument("--rows", type=int, help="at most so many rows of a task")
    parser.add_argument("--epochs", type=int, default=20, help="of the schedule that is composed")
    parser.add_argument("--cache-gib", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--precision", default=native_precision())
    parser.add_argument("--reference-steps", type=int, default=8, help="timed in each phase")
    parser.add_argument("--equal-epochs", type=int, default=5, help="over the sample at equal padding")
    parser.add_argument("--real-epochs", type=int, default=3, help="over the sample of real lengths")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plans = [plan for plan in PLANS if plan.task in options.tasks.split(",")]
    if options.rows:
        small = options.rows
        plans = [
            replace(plan, rows=min(small, plan.rows), sample_rows=min(small, plan.sample_rows),
                    equal_rows=min(small, plan.equal_rows))
            for plan in plans
        ]  # fmt: skip
    results = []
    begun = time.perf_counter()
    with freed_memory_kept(), tempfile.TemporaryDirectory(prefix="training-speed-") as scratch:
        for plan in plans:
            options.equal_every = max(1, options.equal_epochs * -(-plan.equal_rows // BATCH) // options.reference_steps)
            print(f"{plan.task} ...", flush=True)
            folder = classifier_folder(options.teacher, plan.task, Path(scratch))
            results.append(Bench(plan, options, folder).measure())
    environment = describe_environment(threads=options.threads)
    result = {
        "teacher": Path(options.teacher).name,
        "seconds": time.perf_counter() - begun,
        "platform": platform.platform(),
        "environment": environment,
        "options": {name: value for name, value in vars(options).items() if name not in ("data_dir", "to", "teacher")},
        "tasks": results,
    }
    options.to.mkdir(parents=True, exist_ok=True)
    (options.to / "training_speed.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (options.to / "training_speed.md").write_text(text)
    print(text)


def classifier_folder(teacher: str, task: str, scratch: Path) -> Path:
    """The teacher with a head for the task; made in `scratch` where it has none."""
    info = inspect_model(teacher)
    if info.is_classifier:
        return info.path
    folder = scratch / task
    model = new_classifier(str(info.path), task_named(task, suite="glue"), seed=0)
    save_classifier(model, tokenizer_from=info.path, to=folder)
    return folder


if __name__ == "__main__":
    main()

"""Which layers tolerate pruning: each part of a model is pruned alone, by magnitude, and the model scored as it is.

Scored on a tenth of the *training* rows, drawn by the seed: what is learned here may choose amounts, and the reported
dev split selects nothing. A trained model has seen these rows, so the level of its scores means little; their drop
tells parts apart. An amount of 1 takes the part out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.pruning.drawing import Line, draw_lines
from compressbench.errors import BadInput
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.training import to_tensors
from compressbench.models.loading import accepted_inputs, check_teacher, inspect_model, load_classifier
from compressbench.numerics.pruning_masks import bake_masks, global_magnitude_masks
from compressbench.prediction import encode_rows, predict
from compressbench.progress import choose_progress
from compressbench.reporting.zeros import part_of
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import load_task_data
from compressbench.tasks.scores import compute_scores
from compressbench.tasks.task import Rows, Task

SLICE_SHARE, MOST_ROWS = 0.1, 1000
TOKENIZER = "tokenizer.json"


def sensitivity_table(
    folder: Path, *, task_name: str, data_dir: Path | None, amounts: Sequence[float], seed: int, threads: int
) -> tuple[str, str]:
    """Markdown table and drawing of the score with each part pruned alone.

    Raises:
        BadInput: If the folder is no classifier of the task, or an amount is no share above 0.
    """
    if not amounts or any(not 0 < amount <= 1 for amount in amounts):
        raise BadInput(f"--amounts {' '.join(map(str, amounts))}: give shares above 0 and up to 1, such as 0.5 0.8 1.0")
    task = task_named(task_name)
    info = inspect_model(str(folder))
    if not info.is_classifier:
        raise BadInput(f"{folder} is no fine-tuned classifier: fine-tune it on {task.name} first")
    check_teacher(info, task)
    rows = load_task_data(task, data_dir=data_dir, offline=True).rows("train")
    rows = sampled_rows(rows, count=min(MOST_ROWS, max(1, round(SLICE_SHARE * len(rows)))), seed=seed)
    torch.set_num_threads(threads)
    whole, found = sensitivities(folder, task, rows, amounts=amounts)
    return _markdown(task, whole, found, amounts, len(rows)), _drawing(task, whole, found, amounts)


def sensitivities(
    folder: Path, task: Task, rows: Rows, *, amounts: Sequence[float]
) -> tuple[float, dict[str, list[float]]]:
    """Primary score of the model as it is, and by part with each of `amounts` of the part's weights at zero."""
    model = load_classifier(folder)
    names, labels = accepted_inputs(model), rows.labels
    assert labels is not None  # training rows have them
    encoded = encode_rows(rows, tokenizer_path=folder / TOKENIZER, max_length=task.max_length)

    def forward(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        inputs = to_tensors({name: batch[name] for name in names}, device="cpu")
        with torch.inference_mode():
            logits: np.ndarray = model(**inputs).logits.float().numpy()
        return logits

    def score() -> float:
        with fast_matmul(device="cpu", precision="fp32"):
            return compute_scores(task.metrics, predict(forward, encoded, batch_size=64), labels)[task.metrics[0]]

    return score_parts(linear_weights(model), score, amounts=amounts)


def score_parts(
    weights: Mapping[str, Tensor], score: Callable[[], float], *, amounts: Sequence[float]
) -> tuple[float, dict[str, list[float]]]:
    """`score` as it is, and by part with each amount of that part alone pruned; weights return as they were."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        parts.setdefault(part_of(name.removesuffix(".weight")), {})[name] = weight
    found: dict[str, list[float]] = {}
    with choose_progress().stage("sensitivity", total=1 + len(parts) * len(amounts)) as advance:
        whole = score()
        advance()
        for part, own in parts.items():
            found[part] = []
            for amount in amounts:
                with _pruned(own, amount):
                    found[part].append(score())
                advance()
    return whole, found


@contextmanager
def _pruned(weights: Mapping[str, Tensor], amount: float) -> Iterator[None]:
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    bake_masks(weights, global_magnitude_masks(weights, sparsity=amount))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])


def _markdown(
    task: Task, whole: float, found: Mapping[str, Sequence[float]], amounts: Sequence[float], row_count: int
) -> str:
    title = f"{task.name}, {task.metrics[0]} in points on {row_count} training rows, {100 * whole:.1f} as it is"
    lines = [
        f"{title}; change with one part pruned by magnitude and not trained on\n",
        f"| Part | {' | '.join(f'{100 * amount:g} %' for amount in amounts)} |",
        f"| --- |{' ---: |' * len(amounts)}",
    ]
    for part, scores in found.items():
        lines.append(f"| {part} | {' | '.join(f'{100 * (score - whole):+.1f}' for score in scores)} |")
    return "\n".join(lines)


def _drawing(task: Task, whole: float, found: Mapping[str, Sequence[float]], amounts: Sequence[float]) -> str:
    """A line an amount and kind of matrix, over the encoder's layers."""
    lines = []
    for place, amount in enumerate(amounts):
        for kind in ("attention", "FFN"):
            points = [
                (float(part.split(" ")[1]), 100 * (scores[place] - whole))
                for part, scores in found.items()
                if part.startswith("layer ") and part.endswith(kind)
            ]
            if points:
                lines.append(Line(name=f"{kind}, {100 * amount:g} %", points=points))
    if not lines:
        return ""
    upwards = f"change of {task.metrics[0]} (points)"
    return draw_lines(lines, title=f"{task.name}: one part pruned", across="encoder layer", upwards=upwards)

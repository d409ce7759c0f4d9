"""What every training loop here shares: batches of like length, AdamW with warm-up and linear decay, bf16 autocast."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from compressbench.prediction import EncodedRows

Batch = TypeVar("Batch")
Prepared = TypeVar("Prepared")


def training_batches(
    lengths: np.ndarray, *, batch_size: int, rng: np.random.Generator, bucket_batches: int = 32
) -> list[np.ndarray]:
    """One epoch of row indices in random order, each batch of rows of like length.

    Rows are shuffled, cut into buckets of `bucket_batches` batches, sorted by length within a bucket, and the
    batches shuffled again: random enough to train on, and little padding.
    """
    order = rng.permutation(len(lengths))
    size = batch_size * bucket_batches
    batches: list[np.ndarray] = []
    for start in range(0, len(order), size):
        bucket = order[start : start + size]
        bucket = bucket[np.argsort(-lengths[bucket], kind="stable")]
        batches += [bucket[at : at + batch_size] for at in range(0, len(bucket), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def steps_per_epoch(row_count: int, *, batch_size: int) -> int:
    """Batches in one epoch, the last one smaller."""
    return math.ceil(row_count / batch_size)


def padded_length(lengths: Iterable[int], *, device: str) -> int:
    """Tokens of a batch: of its longest row, and on a GPU a multiple of 8, so that few shapes are many batches'."""
    longest = max(lengths)
    return longest if device == "cpu" else -(-longest // 8) * 8


def padded_batch(encoded: EncodedRows, rows: np.ndarray, *, device: str) -> dict[str, Tensor]:
    """A model's inputs for `rows`, int64 [rows, `padded_length`], on `device`."""
    length = padded_length((len(encoded.input_ids[row]) for row in rows), device=device)
    return to_tensors(encoded.batch(rows, to_length=length), device=device)


def to_tensors(arrays: dict[str, np.ndarray], *, device: str) -> dict[str, Tensor]:
    """int64 tensors on `device`."""
    return {name: to_device(torch.from_numpy(array), device=device) for name, array in arrays.items()}


def to_device(tensor: Tensor, *, device: str) -> Tensor:
    """On `device`; to a GPU from pinned memory, so that the copy does not hold the CPU up."""
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_cpu(tensor: Tensor) -> Tensor:
    """On the CPU; from a GPU put in order there and through pinned memory, which takes a fraction of the time."""
    if tensor.device.type == "cpu":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)


def prepared_ahead(batches: Iterable[Batch], prepare: Callable[[Batch], Prepared]) -> Iterator[Prepared]:
    """What `prepare` makes of each batch, made in another thread while the one before it is worked on."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        waiting: Future[Prepared] | None = None
        for batch in batches:
            coming = pool.submit(prepare, batch)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def make_optimizer(
    modules: Iterable[nn.Module], *, learning_rate: float, weight_decay: float, device: str
) -> torch.optim.AdamW:
    """Fused AdamW; biases and LayerNorm gains are not decayed, as in BERT."""
    parameters = [each for module in modules for each in module.parameters() if each.requires_grad]
    decayed = [each for each in parameters if each.dim() >= 2]
    kept = [each for each in parameters if each.dim() < 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}],
        lr=learning_rate,
        fused=device in ("cpu", "cuda"),
    )


def linear_schedule(
    optimizer: torch.optim.Optimizer, *, total_steps: int, warmup_fraction: float = 0.1
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate up from zero over the first `warmup_fraction` of the steps, then linearly down to zero."""
    warmup = max(1, round(total_steps * warmup_fraction))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (total_steps - step) / max(1, total_steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def autocast(*, device: str, precision: str) -> AbstractContextManager[object]:
    """bf16 autocast, or nothing for fp32. Weights, their updates and losses stay fp32 either way."""
    if precision == "bf16":
        return torch.autocast(device_type=device, dtype=torch.bfloat16)
    return nullcontext()

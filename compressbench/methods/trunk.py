"""Training the trunk: few layers learn the labels of several tasks at once, over the pieces that the rows hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from compressbench.errors import BadInput
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.training import autocast, to_tensors
from compressbench.methods.training_loop import StageSettings, TrainingLoop
from compressbench.models.geometry import Geometry
from compressbench.models.growth import slim_inside
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.progress import Progress
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from compressbench.methods.pretrain import TrunkSettings

MAX_LENGTH = 128
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
IDLE_SCALE = 0.05


@dataclass(frozen=True, kw_only=True)
class EncodedTasks:
    """Rows of several tasks whose pieces are numbered afresh: only those that occur, and padding."""

    tasks: Mapping[str, EncodedRows]
    labels: Mapping[str, np.ndarray]
    pieces: np.ndarray
    """Vocabulary id of each new number; the first is padding's."""

    @property
    def class_counts(self) -> dict[str, int]:
        """Classes of each task."""
        return {name: int(labels.max()) + 1 for name, labels in self.labels.items()}


def encode_tasks(rows: Mapping[str, Rows], *, tokenizer_path: Path) -> EncodedTasks:
    """Token ids of all rows, numbered afresh: 23 million embedding weights, most of them idle, need no training.

    Raises:
        BadInput: If a task's rows have no labels.
    """
    encoded: dict[str, EncodedRows] = {}
    labels: dict[str, np.ndarray] = {}
    for name, each in rows.items():
        if each.labels is None:
            raise BadInput(f"the training rows of {name} have no labels: the trunk learns from labels")
        encoded[name] = encode_rows(each, tokenizer_path=tokenizer_path, max_length=MAX_LENGTH)
        labels[name] = each.labels.astype(np.int64)
    pad_id = next(iter(encoded.values())).pad_id
    found = {piece for each in encoded.values() for ids in each.input_ids for piece in ids} - {pad_id}
    pieces = np.array([pad_id, *sorted(found)], dtype=np.int64)
    number = {int(piece): place for place, piece in enumerate(pieces)}
    tasks = {
        name: replace(each, input_ids=[[number[piece] for piece in ids] for ids in each.input_ids], pad_id=0)
        for name, each in encoded.items()
    }
    return EncodedTasks(tasks=tasks, labels=labels, pieces=pieces)


def train_trunk(
    encoded: EncodedTasks,
    *,
    geometry: Geometry,
    settings: TrunkSettings,
    precision: str,
    seed: int,
    threads: int,
    progress: Progress,
    checkpoint: Checkpoint | None = None,
) -> BertModel:
    """A BertModel over the pieces that occur, as wide as `geometry` says, slim inside, trained on all tasks at once.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = _new_trunk(geometry, settings, piece_count=len(encoded.pieces))
    heads = nn.ModuleDict({name: nn.Linear(geometry.hidden, count) for name, count in encoded.class_counts.items()})
    model.train()

    def gradients(parts: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        # Single texts and pairs go through apart: padding one to the other's length would cost a third more.
        terms = {}
        for names in _groups(encoded):
            with autocast(device="cpu", precision=precision):
                loss = _loss(model, heads, {name: parts[name] for name in names}, encoded)
            loss.backward()
            terms[" and ".join(names)] = loss.detach() / len(parts)
        return terms

    stage = StageSettings(
        name="pretrain the generated teacher",
        epochs=1,
        batch_size=sum(settings.rows_of(name) for name in encoded.tasks),
        learning_rate=settings.learning_rate,
        clip_norm=CLIP_NORM,
        precision=precision,
        seed=seed,
        threads=threads,
        progress=progress,
        checkpoint=checkpoint or Checkpoint(),
        loss_name="trunk's",
    )
    TrainingLoop(
        settings=stage,
        modules={"model": model, "heads": heads},
        optimizer=_optimizer(model, heads, settings),
        steps_per_epoch=settings.steps,
    ).run(lambda rng: _steps(encoded, settings, rng), gradients)
    return model.eval()


def spread_vocabulary(model: BertModel, encoded: EncodedTasks, *, vocabulary: int, seed: int) -> BertModel:
    """The model over the whole vocabulary: learned pieces at their ids, the rest small and random.

    In place: the model's word embeddings are replaced. The rest is small so that whoever looks for the table's
    principal directions finds those of what was learned, not of thirty thousand rows that mean nothing.
    """
    learned = model.embeddings.word_embeddings.weight.detach()
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(vocabulary, learned.shape[1], generator=generator) * learned.std() * IDLE_SCALE
    ids = torch.from_numpy(encoded.pieces)
    table[ids] = learned
    pad_id = int(ids[0])
    model.embeddings.word_embeddings = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=pad_id)
    model.config.vocab_size = vocabulary
    model.config.initializer_range = BertConfig().initializer_range
    model.config.pad_token_id = pad_id
    return model


def _new_trunk(geometry: Geometry, settings: TrunkSettings, *, piece_count: int) -> BertModel:
    config = BertConfig(
        vocab_size=piece_count,
        hidden_size=geometry.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=geometry.heads,
        intermediate_size=settings.intermediate,
        max_position_embeddings=geometry.positions,
        type_vocab_size=geometry.token_types,
        pad_token_id=0,
        initializer_range=settings.initial_spread,
        # Some hundred steps over rows that are seen once or twice leave nothing to overfit.
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # On rows this short the fused attention's backward pass takes twice the time of the plain one.
        attn_implementation="eager",
    )
    model = slim_inside(BertModel(config), heads=settings.heads)
    with torch.no_grad():
        for table in _tables(model):
            table.mul_(settings.embedding_scale)
    return model


def _tables(model: BertModel) -> list[Tensor]:
    return [parameter for parameter in model.embeddings.parameters() if parameter.dim() == 2]


def _optimizer(model: BertModel, heads: nn.ModuleDict, settings: TrunkSettings) -> torch.optim.AdamW:
    tables = _tables(model)
    kept = {id(table) for table in tables}
    others = [each for module in (model, heads) for each in module.parameters() if id(each) not in kept]
    return torch.optim.AdamW(
        [
            {"params": [each for each in others if each.dim() >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [each for each in others if each.dim() < 2], "weight_decay": 0.0},
            {"params": tables, "weight_decay": 0.0, "lr": settings.learning_rate * settings.embedding_rate},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _steps(encoded: EncodedTasks, settings: TrunkSettings, rng: np.random.Generator) -> Iterator[dict[str, np.ndarray]]:
    """For each step the row indices of each task; every task goes through its rows in a new order each time."""
    streams = {name: _endless(len(each), settings.rows_of(name), rng) for name, each in encoded.tasks.items()}
    for _ in range(settings.steps):
        yield {name: next(stream) for name, stream in streams.items()}


def _endless(row_count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    left = np.empty(0, dtype=np.int64)
    while True:
        while len(left) < size:
            left = np.concatenate([left, rng.permutation(row_count)])
        yield left[:size]
        left = left[size:]


def _groups(encoded: EncodedTasks) -> list[list[str]]:
    """Task names by whether their rows are pairs."""
    is_pair = {name: any(max(ids) > 0 for ids in each.token_type_ids) for name, each in encoded.tasks.items()}
    return [names for kind in (False, True) if (names := [name for name, pair in is_pair.items() if pair == kind])]


def _loss(model: BertModel, heads: nn.ModuleDict, parts: Mapping[str, np.ndarray], encoded: EncodedTasks) -> Tensor:
    """Sum over tasks of the mean cross entropy of their rows."""
    inputs = EncodedRows(
        input_ids=[encoded.tasks[name].input_ids[index] for name, indices in parts.items() for index in indices],
        token_type_ids=[
            encoded.tasks[name].token_type_ids[index] for name, indices in parts.items() for index in indices
        ],
        pad_id=0,
    )
    pooled = model(**to_tensors(inputs.batch(np.arange(len(inputs))), device="cpu")).pooler_output
    losses = []
    for (name, indices), part in zip(
        parts.items(), pooled.split([len(indices) for indices in parts.values()]), strict=True
    ):
        labels = torch.from_numpy(encoded.labels[name][indices])
        losses.append(functional.cross_entropy(heads[name](part).float(), labels))
    return torch.stack(losses).sum()

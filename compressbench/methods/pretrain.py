"""The pretrained teacher of the synthetic suite: a BERT of BERT-Base's geometry, made on the spot in about a minute.

Twelve layers do not learn in hundreds of steps from random weights; a few do. So a trunk is trained first, of few
layers as wide as BERT-Base's between them but with few heads and a narrow FFN inside, on the labels of all four tasks
at once. Then it grows, without changing its function, to the full geometry: heads, FFN neurons and layers that add
zero. A little noise lets later training use them.

What comes out weighs, computes and takes time as BERT-Base does, but most of its weights were never trained: figures of
pruning and of layer mappings carry over to a real BERT-Base less than those of size and latency do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.method import Compressed
from compressbench.models.geometry import BERT_BASE, Geometry
from compressbench.progress import Progress
from compressbench.tasks.synthetic import write_tokenizer
from compressbench.tasks.task import Rows

REVISION = 1
"""Raised whenever the same rows and seed make another teacher."""


@dataclass(frozen=True, kw_only=True)
class TrunkSettings:
    """How the trunk is trained; the defaults suit 2 cores and a minute."""

    layers: int = 3
    heads: int = 4
    intermediate: int = 512
    steps: int = 340
    learning_rate: float = 3e-4
    embedding_rate: float = 5.0
    """Factor on the learning rate of the embeddings: each piece is seen in few steps."""
    embedding_scale: float = 0.3
    """Of the embeddings' start relative to BERT's; they then move further in few steps."""
    initial_spread: float = 0.03
    """Standard deviation of the first weights; BERT's 0.02 starts more slowly."""
    rows_per_step: Mapping[str, int] | int = 16
    """Rows of each task in a step, by task name or the same for all."""

    def rows_of(self, task_name: str) -> int:
        """Rows of one task in a step."""
        return self.rows_per_step if isinstance(self.rows_per_step, int) else self.rows_per_step[task_name]


SETTINGS = TrunkSettings(
    rows_per_step={
        "synthetic-acceptability": 18,
        "synthetic-sentiment": 12,
        "synthetic-paraphrase": 14,
        "synthetic-entailment": 20,
    }
)
NOISE = 0.02
"""Standard deviation of what is added to weights that growth left at zero, relative to that of new weights."""


def make_synthetic_teacher(
    *,
    to: Path,
    rows: Mapping[str, Rows],
    seed: int,
    threads: int,
    progress: Progress,
    geometry: Geometry = BERT_BASE,
    settings: TrunkSettings = SETTINGS,
    checkpoint: Checkpoint | None = None,
) -> Compressed:
    """Train the trunk, grow it, and write a plain BertModel folder with its tokenizer.

    Args:
        to: Where config.json, model.safetensors and the tokenizer files go.
        rows: Training rows with labels by task name.
        seed: Of weights, order of rows and noise.
        threads: That torch may use.
        progress: Told of every step.
        geometry: Of the model in the end.
        settings: Of the trunk.
        checkpoint: Where an interrupted training is kept.
    """
    from compressbench.environment import native_precision
    from compressbench.methods.trunk import encode_tasks, spread_vocabulary, train_trunk
    from compressbench.models.growth import add_noise, grow_depth, grow_inside
    from compressbench.models.loading import quiet_transformers

    write_tokenizer(to)
    encoded = encode_tasks(rows, tokenizer_path=to / "tokenizer.json")
    trunk = train_trunk(
        encoded,
        geometry=geometry,
        settings=settings,
        precision=native_precision(),
        seed=seed,
        threads=threads,
        progress=progress,
        checkpoint=checkpoint or Checkpoint(),
    )
    wide = grow_inside(trunk, heads=geometry.heads, intermediate=geometry.intermediate, seed=seed)
    grown = add_noise(grow_depth(wide, layers=geometry.layers), relative=NOISE, seed=seed)
    with quiet_transformers():
        spread_vocabulary(grown, encoded, vocabulary=geometry.vocab, seed=seed).save_pretrained(to)
    step_rows = sum(settings.rows_of(name) for name in rows)
    return Compressed(geometry=geometry, budget={"steps": settings.steps, "rows": settings.steps * step_rows})

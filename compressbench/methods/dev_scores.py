"""Dev scores after each epoch, for a curve. Nothing is chosen by them, and the trained weights are the same without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.methods.fit_savings import pieces_in_use
from compressbench.methods.method import Context
from compressbench.methods.training import autocast, steps_per_epoch, to_tensors
from compressbench.methods.training_loop import LoopHook, StageSettings
from compressbench.models.loading import accepted_inputs
from compressbench.prediction import EncodedRows, encode_rows, predict
from compressbench.tasks.scores import compute_scores

BATCH_SIZE = 128
FORWARD_SHARE = 1 / 3
"""Of a training step's work, about: the backward pass is twice the forward one."""


class DevScores(LoopHook):
    """Scores a classifier on the rows that its context watches.

    Args:
        model: The classifier, with all of its embeddings.
        trained: Rows it is trained on.
        source: Whose tokenizer is used.
        context: With rows to watch.
        settings: Of the stage.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        trained: EncodedRows,
        source: Artifact,
        context: Context,
        settings: StageSettings,
    ) -> None:
        assert context.watch is not None
        assert context.watch.labels is not None
        self._model, self._settings, self._metrics = model, settings, context.task.metrics
        self._whole: nn.Embedding = model.get_input_embeddings()
        self._pieces = torch.from_numpy(pieces_in_use(trained))
        self._steps_per_epoch = steps_per_epoch(len(trained), batch_size=settings.batch_size)
        self._labels = context.watch.labels
        self._encoded = encode_rows(
            context.watch, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length
        )
        settings.curves.dev_fingerprint = context.watch.fingerprint

    def end_epoch(self, epoch: int) -> None:
        """Add this epoch's scores to the curve."""
        settings = self._settings
        with self._every_piece():
            logits = predict(self._forward, self._encoded, batch_size=BATCH_SIZE)
        if np.isfinite(logits).all():  # else the next loss will tell, or measuring will
            step, total_steps = (epochs * self._steps_per_epoch for epochs in (epoch + 1, settings.epochs))
            curve = settings.curves.stage(settings.name, total_steps=total_steps)
            curve.add_scores(step, compute_scores(self._metrics, logits, self._labels))

    def _forward(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        device = self._settings.device
        inputs = to_tensors({name: batch[name] for name in accepted_inputs(self._model)}, device=device)
        with torch.inference_mode(), autocast(device=device, precision=self._settings.precision):
            logits: np.ndarray = self._model(**inputs).logits.float().cpu().numpy()
        return logits

    @contextmanager
    def _every_piece(self) -> Iterator[None]:
        """The model in eval mode and with all its pieces, for dev rows hold some that no training row does."""
        used = self._model.get_input_embeddings()
        weight = used.weight.detach()
        if used is not self._whole:
            with torch.no_grad():
                self._whole.to(weight.device).weight[self._pieces.to(weight.device)] = weight
            self._model.set_input_embeddings(self._whole)
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()
            if used is not self._whole:
                self._model.set_input_embeddings(used)
                self._whole.to("cpu")


def watching(
    model: PreTrainedModel,
    trained: EncodedRows,
    source: Artifact,
    context: Context,
    settings: StageSettings,
    *,
    cost_share: float,
) -> tuple[LoopHook, ...]:
    """What draws the dev scores of this stage; nothing without labelled rows to watch, or where that costs too much.

    Args:
        model: As for `DevScores`, like the four that follow.
        trained: Rows of an epoch.
        source: Of the tokenizer.
        context: With rows to watch, or not.
        settings: Of the stage.
        cost_share: Of the stage's work that scoring may take.
    """
    if context.watch is None or context.watch.labels is None:
        return ()
    if FORWARD_SHARE * len(context.watch) > cost_share * len(trained):
        return ()
    return (DevScores(model, trained, source, context, settings),)

"""PyTorch's ONNX exporter on a classifier: named inputs, logits as the only output, batch and tokens left open."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compressbench.errors import MethodFailed

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram
    from transformers import PreTrainedModel

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def inputs_of(model: "PreTrainedModel") -> list[str]:
    """What the graph takes; token types only where the model tells more than one apart."""
    from compressbench.models.loading import accepted_inputs

    accepted = set(accepted_inputs(model))
    if (getattr(model.config, "type_vocab_size", 0) or 0) < 2:
        accepted.discard("token_type_ids")
    return [name for name in TEXT_INPUTS if name in accepted]


def traced(model: "PreTrainedModel", *, opset: int | None = None, masked: float | None = None) -> "ONNXProgram":
    """What the exporter makes of a model.

    Args:
        model: A classifier in eval mode.
        opset: Version of ONNX's operators; None: the exporter's own choice.
        masked: What is added to the attention scores of padding; None: what the model itself adds.

    Raises:
        MethodFailed: If it cannot export the model.
    """
    import torch

    names = inputs_of(model)

    class Logits(torch.nn.Module):
        """The model with named inputs, and logits as its only output."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
            inputs = dict(zip(names, arrays, strict=True))
            if masked is not None:
                kept = inputs["attention_mask"].to(torch.float32)[:, None, None, :]
                inputs["attention_mask"] = (1.0 - kept) * masked
            logits: torch.Tensor = self.model(**inputs).logits
            return logits

    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with quiet_libraries():
        try:
            program = torch.onnx.export(
                Logits().eval(),
                tuple(torch.ones((2, 16), dtype=torch.int64) for _ in names),
                input_names=names,
                output_names=["logits"],
                dynamo=True,
                dynamic_shapes={"arrays": tuple(axes for _ in names)},
                opset_version=opset,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise MethodFailed(
                f"{type(model).__name__} cannot be exported to ONNX: {str(error).splitlines()[0]}"
            ) from error
    assert program is not None  # None is for the old exporter
    return program


@contextmanager
def eager_attention(model: "PreTrainedModel") -> Iterator[None]:
    """Attention in plain operators; PyTorch's fused one leaves NaN checks in the graph and is 9 % slower."""
    before = model.config._attn_implementation  # noqa: SLF001 - transformers has no public getter
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No warnings and no log lines; exporter and quantizer have many, none of them about the model."""
    disabled: Any = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)

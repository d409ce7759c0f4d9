"""PyTorch: opens the Hugging Face folder that an ONNX model was exported from, as a user of transformers would.

``fp32`` is the model as it is loaded (PyTorch's fused attention, products in true fp32), ``bf16`` the same cast to
bf16, ``int8`` the same with every Linear layer replaced by `torch.ao`'s dynamic INT8 one.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn


class TorchModel:
    """A classifier in eval mode; called with arrays by input name, it gives logits."""

    def __init__(self, module: "nn.Module") -> None:
        from compressbench.models.loading import accepted_inputs

        self.module = module
        accepted = accepted_inputs(module)
        self.input_names = tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in accepted)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits, float32 [batch, outputs]; inputs the model does not take (token types) are left out."""
        import torch

        with torch.inference_mode():
            tensors = {name: torch.from_numpy(inputs[name]) for name in self.input_names}
            logits: np.ndarray = self.module(**tensors).logits.float().numpy()
        return logits


def open_model(folder: Path, *, precision: str, threads: int) -> TorchModel:
    """Load a classifier and set this process's threads.

    Args:
        folder: Hugging Face classifier (safetensors).
        precision: ``fp32``, ``bf16`` (weights and activations) or ``int8`` (Linear layers).
        threads: Of the whole process: PyTorch knows no other.

    Raises:
        BadInput: If the folder holds no safetensors file, or a damaged one.
    """
    import torch

    from compressbench.models.loading import load_classifier

    torch.set_num_threads(threads)
    module = load_classifier(folder)
    if precision == "bf16":
        module = module.to(torch.bfloat16)
    elif precision == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # announces its successor; nothing a reader of a table can act on
            module = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)
    return TorchModel(module)

"""The matrix products of a classifier as the runtime ``torch-int8`` runs them, read off its modules."""

from pathlib import Path
from typing import Any

from compressbench.harness.gemms import Gemm
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape
from compressbench.runtimes.torch import open_model


def torch_gemms(folder: Path, shape: Shape) -> list[Gemm]:
    """Linear layers, INT8 or not, and what PyTorch's own counter finds beside them: attention.

    Args:
        folder: Hugging Face classifier.
        shape: Batch x tokens.
    """
    import torch
    from torch.ao.nn.quantized.dynamic import Linear as Int8Linear
    from torch.utils.flop_counter import FlopCounterMode

    threads = torch.get_num_threads()
    model = open_model(folder, precision="int8", threads=threads)
    gemms: list[Gemm] = []

    def take(name: str, module: Any) -> Any:
        def hook(_: Any, inputs: tuple[Any, ...], output: Any) -> None:
            multiply_adds = output.numel() * inputs[0].shape[-1]
            is_int8 = isinstance(module, Int8Linear)
            gemms.append(
                Gemm(node=name, layer=name, is_int8=is_int8, has_constant_weight=True, multiply_adds=multiply_adds)
            )

        return hook

    for name, module in model.module.named_modules():
        if isinstance(module, (torch.nn.Linear, Int8Linear)):
            module.register_forward_hook(take(name, module))
    arrays = latency_inputs([folder / "model.onnx"], [shape])  # ids that fit the config beside it
    # PyTorch counts its fused attention on GPUs alone; the formula is the same.
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - it has no public name
    with FlopCounterMode(display=False, custom_mapping={attention: _attention_flops}) as counter:
        model({name.split("/")[1]: array for name, array in arrays.items()})
    counted = counter.get_total_flops() // 2  # INT8 products are unknown to it
    rest = counted - sum(gemm.multiply_adds for gemm in gemms if not gemm.is_int8)
    fused = Gemm(node="attention", layer="attention", is_int8=False, has_constant_weight=False, multiply_adds=rest)
    return [*gemms, fused]


def _attention_flops(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: Any, **__: Any) -> int:
    """FLOPs of one attention by the shapes of its three inputs, [batch, heads, tokens, width]."""
    from torch.utils.flop_counter import sdpa_flop_count

    flops: int = sdpa_flop_count(query, key, value)
    return flops

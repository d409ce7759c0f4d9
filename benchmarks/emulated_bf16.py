"""The command line with bf16 products computed in fp32, for CPUs that multiply bf16 in no time worth waiting for.

    python -m benchmarks.emulated_bf16 run --plan benchmarks/plans/fast_path.toml --data-dir GLUE --teacher SST-2=DIR

A CPU with AVX512-BF16 or AMX multiplies bf16 numbers exactly, adds up in fp32 and rounds the result to bf16. So does
this: operands are widened, which loses nothing, multiplied in fp32, and the result is rounded. What differs is the
order in which fp32 sums are added up, as between any two libraries. Training learns what it would learn there; its
time tells nothing.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

ATEN = torch.ops.aten
PRODUCTS = frozenset({
    ATEN.mm.default, ATEN.addmm.default, ATEN.bmm.default, ATEN.baddbmm.default, ATEN.linear.default,
    ATEN.matmul.default,
})  # fmt: skip
"""Every operator behind the products of a BERT, in training and in inference mode."""


class EmulatedBf16(TorchDispatchMode):
    """Within it, products of bf16 tensors in this thread are fp32's, rounded to bf16."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """One operator; torch calls it."""
        kwargs = kwargs or {}
        if func not in PRODUCTS or not any(_is_bf16(each) for each in args):
            return func(*args, **kwargs)
        wide = tree_map(lambda each: each.float() if _is_bf16(each) else each, (args, kwargs))
        return func(*wide[0], **wide[1]).to(torch.bfloat16)


def _is_bf16(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line as it is, its products emulated."""
    from compressbench.__main__ import main as command_line

    with EmulatedBf16():  # type: ignore[no-untyped-call]  # torch annotates no constructor
        return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main())

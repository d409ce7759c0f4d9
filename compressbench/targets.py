"""Instruction-set targets of INT8 models: which numbers a kind of CPU computes right, and which this one can check.

ONNX Runtime's fast x86 kernels multiply unsigned activations by signed weights. With VNNI they add the products up in
32 bits. Without, `vpmaddubsw` adds pairs of products in 16 bits and *saturates*: 2 x 255 x 127 is 64,770, where 32,767
is the most that fits. Weights in 7 bits (-64..64, `reduce_range`) keep every pair within 2 x 255 x 64 = 32,640, so such
a model gives the same numbers on every CPU. Arm's dot products add in 32 bits and take signed activations.
"""

import platform
from dataclasses import dataclass
from typing import Literal, get_args

from compressbench import environment
from compressbench.errors import InvalidParameter

TargetName = Literal["portable", "avx2", "avx512", "avx512_vnni", "arm64"]
NATIVE = "native"
TARGET_NAMES: tuple[TargetName, ...] = get_args(TargetName)
Family = Literal["x86", "arm", "other"]
WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""x86 flags of instructions that add INT8 products in 32 bits."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a model must be like to be right, and fast, on a kind of CPU."""

    name: TargetName
    family: Family | None
    """None: any."""
    adds_in_32_bits: bool
    """False: products are added in pairs in 16 bits, so weights have 7 bits."""
    activation_type: Literal["uint8", "int8"]
    """The codes of activations that its INT8 kernels take."""


TARGETS = {
    each.name: each
    for each in (
        Target(name="portable", family=None, adds_in_32_bits=False, activation_type="uint8"),
        Target(name="avx2", family="x86", adds_in_32_bits=False, activation_type="uint8"),
        Target(name="avx512", family="x86", adds_in_32_bits=False, activation_type="uint8"),
        Target(name="avx512_vnni", family="x86", adds_in_32_bits=True, activation_type="uint8"),
        Target(name="arm64", family="arm", adds_in_32_bits=True, activation_type="int8"),
    )
}


def native_target() -> TargetName:
    """The target of the CPU this runs on; ``portable`` where its kernels are not known.

    AVX-VNNI and AMX count as ``avx512_vnni``: like it they add in 32 bits. A CPU with AVX512 of which a virtual machine
    hides VNNI is ``avx512``.
    """
    flags = environment.cpu_description()[1]
    if cpu_family() == "arm":
        return "arm64"
    if flags & WIDE_SUMS:
        return "avx512_vnni"
    if "avx512f" in flags:
        return "avx512"
    return "avx2" if "avx2" in flags else "portable"


def cpu_family() -> Family:
    """Kind of CPU this runs on."""
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return "arm"
    return "x86" if machine in ("x86_64", "amd64") else "other"


def resolve_target(name: str) -> TargetName:
    """A target's name, ``native`` replaced by that of this CPU.

    Raises:
        InvalidParameter: If there is none of that name.
    """
    if name == NATIVE:
        return native_target()
    if name not in TARGETS:
        raise InvalidParameter(f"target={name} is unknown: use {NATIVE}, {', '.join(TARGET_NAMES)}")
    return TARGETS[name].name  # the same text, of the narrower type


def misfit(name: str, *, has_8_bit_weights: bool = False) -> str | None:
    """Why a model made for a target gives other numbers, or finds no INT8 kernels, on this CPU; None where it fits.

    Args:
        name: A target as a manifest holds it; one that this version does not know fits.
        has_8_bit_weights: Whether a user asked for them, whatever the target says.
    """
    target = TARGETS.get(name)  # type: ignore[call-overload]
    if target is None or target.family is None:
        return None
    here = native_target()
    if target.family != cpu_family():
        return f"it was made for {name}, and this CPU ({here}) has other INT8 kernels: expect another speed"
    if target.adds_in_32_bits and not TARGETS[here].adds_in_32_bits:
        return (
            f"it was made for {name}, and this CPU ({here}) adds INT8 products in 16 bits, which saturate: its scores "
            "here are not those of its target; make it with target=portable"
        )
    if has_8_bit_weights and not TARGETS[here].adds_in_32_bits:
        return (
            f"its weights have 8 bits (reduce_range=false), and this CPU ({here}) adds INT8 products in 16 bits, which "
            "saturate: make it without that parameter"
        )
    return None


def check_target(name: str) -> None:
    """Refuse a target whose numbers this machine cannot reproduce.

    A model is checked where it is made: its answers on dev rows and the share of it that runs in INT8. Where products
    saturate, or another family's kernels run, such a check says nothing of the target.

    Raises:
        InvalidParameter: If so.
    """
    reason = misfit(resolve_target(name))
    if reason is not None:
        raise InvalidParameter(
            f"target={name} cannot be checked on this machine, a CPU of target {native_target()}: "
            f"use target=portable, or make the model on a CPU of target {name}"
        )

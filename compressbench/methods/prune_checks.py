"""What parameters of pruning may not be together."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from compressbench.errors import InvalidParameter
from compressbench.methods.fitted import check_share
from compressbench.methods.method import AUTO

if TYPE_CHECKING:
    from compressbench.methods.prune import Prune

UNSTRUCTURED_ONLY = ("amount", "of", "schedule", "increments", "ramp_epochs", "criterion", "layer_floor")
STRUCTURED_ONLY = ("importance",)


def check_floor(method: Prune) -> None:
    """Refuse a floor that is no share, or more than the amount leaves.

    Raises:
        InvalidParameter: If so.
    """
    check_share("layer_floor", method.layer_floor)
    left = 1 - method.amount
    if method.of == "remaining":
        left **= method.increment_count
    if method.layer_floor > left:
        raise InvalidParameter(
            f"layer_floor={method.layer_floor} keeps more than amount={method.amount} leaves, which is {left:.3g} of "
            f"all: use layer_floor={left / 2:.3g}"
        )


def check_unused(method: Prune) -> None:
    """Refuse a parameter that means nothing beside `structured`, or without it.

    Raises:
        InvalidParameter: If one was given.
    """
    usual = {each.name: each.default for each in fields(method)}
    for name in UNSTRUCTURED_ONLY if method.structured else STRUCTURED_ONLY:
        value = getattr(method, name)
        is_resolved = name == "increments" and value == method.ramp_epochs
        if value != usual[name] and not is_resolved:
            what = f"beside structured={method.structured}" if method.structured else "without structured=..."
            raise InvalidParameter(f"{name}={value} means nothing {what}: leave it out")


def check_increments(method: Prune) -> None:
    """Refuse schedules that contradict themselves, and too few epochs for the ramp.

    Raises:
        InvalidParameter: If so.
    """
    is_one_shot = method.schedule == "one-shot"
    if method.of == "remaining" and method.schedule == "cubic":
        raise InvalidParameter("of=remaining has a pace of its own, so schedule=cubic means nothing: use linear")
    if method.of == "remaining" and is_one_shot and method.increments == AUTO:
        raise InvalidParameter(
            "of=remaining with schedule=one-shot does not say how often amount is taken of what is left: "
            "add increments=N, or use of=total"
        )
    if method.of == "total" and is_one_shot and method.increment_count > 1:
        raise InvalidParameter(
            f"increments={method.increments} contradicts schedule=one-shot: leave it out, or use schedule=linear"
        )
    if method.has_ramp and method.epochs != AUTO and int(method.epochs) < method.ramp_epochs:
        raise InvalidParameter(
            f"epochs={method.epochs} ends before the amount has grown over ramp_epochs={method.ramp_epochs}: "
            f"use epochs={method.ramp_epochs} or ramp_epochs={method.epochs}"
        )

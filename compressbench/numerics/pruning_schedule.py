"""How many weights are pruned after each increment, and before which training step each one comes."""

from typing import Literal

Schedule = Literal["linear", "cubic", "one-shot"]
AmountOf = Literal["total", "remaining"]


def pruned_counts(
    total: int, *, amount: float, increments: int, schedule: Schedule = "linear", of: AmountOf = "total"
) -> tuple[int, ...]:
    """Pruned weights after each increment, never falling; the last is what pruning ends with.

    * ``of="total"``: the last count is ``round(amount * total)``, exactly. ``linear`` gets there in equal increments,
      ``cubic`` as ``amount * (1 - (1 - k/n)^3)`` (Zhu and Gupta 2017, arXiv:1710.01878): much at first, little at last.
    * ``of="remaining"``: each increment prunes ``round(amount * left)`` of what the ones before it left, as calling
      `torch.nn.utils.prune` again and again does. The end is near ``1 - (1 - amount)^n`` of all.
    * ``one-shot``: the last count alone.

    Args:
        total: Weights there are.
        amount: Share, above 0 and below 1.
        increments: How many, n.
        schedule: How the count grows; ``of="remaining"`` knows ``linear`` and ``one-shot``.
        of: What `amount` is a share of.
    """
    counts: list[int] = []
    for done in range(1, increments + 1):
        if of == "remaining":
            before = counts[-1] if counts else 0
            counts.append(before + round(amount * (total - before)))
        elif done == increments:
            counts.append(round(amount * total))
        else:
            share = amount * (1 - (1 - done / increments) ** 3) if schedule == "cubic" else amount * done / increments
            counts.append(round(share * total))
    return tuple(counts[-1:]) if schedule == "one-shot" else tuple(counts)


def increment_steps(increments: int, *, ramp_steps: int, needs_steps_before: bool = False) -> tuple[int, ...]:
    """Before which step, counted from 0, each increment comes: evenly over the first `ramp_steps`.

    The first comes before any step, or after a share of the ramp where the criterion must see gradients first; after
    the last the model has the rest of the ramp to recover.

    Args:
        increments: How many.
        ramp_steps: Steps that they are spread over.
        needs_steps_before: Whether the first increment waits.
    """
    if needs_steps_before:
        return tuple(max(1, (place + 1) * ramp_steps // (increments + 1)) for place in range(increments))
    return tuple(place * ramp_steps // increments for place in range(increments))

"""Several questions asked at once, or one asked again and again: what each may cost; and "within a margin"."""

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for testing them all (Holm 1979), in the given order."""
    count, running = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        running = max(running, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def spent_at_look(look: int, *, total: float) -> float:
    """Error probability that the given look at growing data may spend: ``total / 2^look``.

    Whatever the number of looks and however they depend on one another, the probability that any of them errs is at
    most `total` (the union bound). The first look, where most decisions fall, has half of it (compare the spending
    functions of Lan and DeMets 1983, which spend less early).

    Args:
        look: 1 for the first; 0 where there is one look alone, which spends it all.
        total: For all looks together.
    """
    return math.ldexp(total, -look)


def within_margin(low: float, high: float, *, margin: float) -> bool | None:
    """Non-inferiority of a difference (candidate minus baseline, larger is better), a question of its own.

    "No significant difference" is no proof of equality: few rows never differ significantly. Non-inferior is what lies
    above ``-margin`` with its whole interval (Piaggio et al. 2012, the CONSORT statement on such trials).

    Returns:
        True: within the margin. False: worse by more than it. None: the rows do not tell.
    """
    if low > -margin:
        return True
    return False if high < -margin else None

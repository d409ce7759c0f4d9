"""`gate.toml`: thresholds, what to do with an inconclusive call, and regressions that somebody accepted for a while."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from compressbench.errors import BadInput, UnknownName, listed
from compressbench.gate.check import Check
from compressbench.gate.thresholds import METRICS, Thresholds, parse_threshold

CONFIG_NAME = "gate.toml"
ON_INCONCLUSIVE = ("fail", "warn")
_ACCEPT_KEYS = ("row", "metric", "up_to", "reason", "expires")


@dataclass(frozen=True, kw_only=True)
class Accept:
    """A worsening that is known and allowed until a day."""

    row: str
    """``CoLA/quant-qdq``: task and canonical chain; or the chain alone, on every task."""
    metric: str
    up_to: float
    """Worsening that is allowed, as a fraction."""
    reason: str
    expires: date

    def names(self, check: Check) -> bool:
        """Whether it is about this check's row."""
        return self.row in (check.row_name, check.row.chain, f"{check.row_name} (seed {check.row.seed})")

    def covers(self, check: Check) -> bool:
        """Whether it is about this check, and the worsening is not shown to be more than was accepted."""
        if not self.names(check) or self.metric != check.metric or check.worsening is None:
            return False
        least = check.worsening if check.low is None or check.metric == "score" else check.low
        return least <= self.up_to + 1e-9


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a call judges."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    on_inconclusive: str = "fail"
    accepts: tuple[Accept, ...] = ()


def read_settings(
    config: Path | None, *, given: Mapping[str, str | None], on_inconclusive: str | None, today: date | None = None
) -> Settings:
    """What the command line gave, else the file, else the defaults.

    Args:
        config: ``--config``; None: `CONFIG_NAME` of the current folder, where there is one.
        given: Thresholds by metric as text, None where not given.
        on_inconclusive: From the command line, or None.
        today: The day that decides what has expired; default: today in UTC.

    Raises:
        BadInput: If the file cannot be read, has a key that means nothing, a threshold without unit, or an entry that
            is incomplete or expired.
    """
    path = config or Path(CONFIG_NAME)
    values = _read(path) if config is not None or path.is_file() else {}
    for key in values:
        if key not in ("thresholds", "on_inconclusive", "accept"):
            raise UnknownName("key", key, ("thresholds", "on_inconclusive", "accept"))
    found = _thresholds(values.get("thresholds", {}), path=path)
    for metric, text in given.items():
        if text is not None:
            found[metric] = parse_threshold(metric, text, name=f"--{metric}-threshold")
    choice = on_inconclusive or values.get("on_inconclusive", "fail")
    if choice not in ON_INCONCLUSIVE:
        raise BadInput(f"{path}: on_inconclusive = {choice!r}: it is {listed(ON_INCONCLUSIVE)}")
    entries = values.get("accept", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadInput(f"{path}: accept is written as [[accept]] with {listed(_ACCEPT_KEYS, last='and')}")
    now = today or datetime.now(UTC).date()
    accepts = tuple(
        _accept(entry, where=f"{path}: [[accept]] {number}", today=now) for number, entry in enumerate(entries, start=1)
    )
    return Settings(thresholds=Thresholds(**found), on_inconclusive=choice, accepts=accepts)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--config {path} cannot be read ({error.strerror}): give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no TOML: {error}") from None


def _thresholds(values: Any, *, path: Path) -> dict[str, float]:
    if not isinstance(values, dict):
        raise BadInput(f"{path}: thresholds is a table: [thresholds] with lines such as latency = '5%'")
    found = {}
    for metric, text in values.items():
        if metric not in METRICS:
            raise UnknownName("threshold", metric, METRICS)
        found[metric] = parse_threshold(metric, str(text), name=f"{path}: {metric}")
    return found


def _accept(entry: Mapping[str, Any], *, where: str, today: date) -> Accept:
    missing = [key for key in _ACCEPT_KEYS if not entry.get(key)]
    if missing:
        raise BadInput(f"{where} has no {listed(missing, last='and')}: an entry names all of {', '.join(_ACCEPT_KEYS)}")
    for key in entry:
        if key not in _ACCEPT_KEYS:
            raise UnknownName("key", key, _ACCEPT_KEYS)
    metric = str(entry["metric"])
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    expires = _day(entry["expires"], where=where)
    if expires < today:
        raise BadInput(
            f"{where} ({entry['row']}, {metric}) expired on {expires}: mend the regression and drop the "
            "entry, or decide anew and give another day"
        )
    return Accept(
        row=str(entry["row"]),
        metric=metric,
        up_to=parse_threshold(metric, str(entry["up_to"]), name=f"{where}: up_to"),
        reason=str(entry["reason"]),
        expires=expires,
    )


def _day(value: Any, *, where: str) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise BadInput(f"{where}: expires = {value!r} is no day: write it as 2026-12-31") from None

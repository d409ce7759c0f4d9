"""Two runs row by row: scores in pairs on the same dev rows, sizes, and latencies where the machines agree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compressbench import stats
from compressbench.errors import BadInput
from compressbench.records.latencies import BOOTSTRAP_SEED, LatencyIndex, latency_index
from compressbench.records.run_folder import RunRecords
from compressbench.records.run_index import RunIndex, index_records
from compressbench.records.schema import CellRecord
from compressbench.reporting.cells import NONE, format_interval, format_p_value, row_label
from compressbench.scoring import Answers, primary_score, score_difference, split_answers
from compressbench.stats import holm, unpaired_ratio_interval
from compressbench.table import Table, bullets, print_notes, print_table, table_markdown
from compressbench.tasks.scores import metric_name, score_name
from compressbench.units import format_points, format_ratio

if TYPE_CHECKING:
    from rich.console import Console

UNPAIRED = (
    "Latencies were taken at different times, so the ratios A/B are not paired: their intervals hold the scatter "
    "within each run and not what differed between them. Methods of one run are measured interleaved."
)


def compare_runs(a: RunRecords, b: RunRecords, *, margin: float | None = None) -> dict[str, Any]:
    """Compare every row that both runs have; rows match on task, canonical chain and seed.

    Args:
        a: What is compared with.
        b: What is compared.
        margin: Score difference (a fraction) up to which B counts as not worse than A; None: not asked.

    Returns:
        ``a`` and ``b`` (folder names), ``margin``, ``rows``, ``only_in_a`` and ``only_in_b`` (names of rows) and
        ``notes``. A row holds both primary scores, ``difference`` B - A with interval, p-value and Holm's over all
        rows, ``within_margin`` (see `within_margin`), ``size_ratio`` and ``latency_ratio`` A / B (above 1: B is the
        smaller or faster), and ``further``: the same of the task's other scores, by name.

    Raises:
        BadInput: If the runs share no row, or a task's dev rows differ between them.
    """
    index_a, index_b = index_records(a.records), index_records(b.records)
    shared = [cell for cell in index_a.ordered_cells() if (cell.task, cell.chain, cell.seed) in index_b.cells]
    if not shared:
        raise BadInput(f"{a.folder} and {b.folder} have no row in common: rows match on task, canonical chain and seed")
    obstacle = _latency_obstacle(a, b)
    latencies = latency_index(index_a), latency_index(index_b)
    rows = []
    for cell in shared:
        other = index_b.cells[(cell.task, cell.chain, cell.seed)]
        row: dict[str, Any] = {"task": cell.task, "method": cell.method, "chain": cell.chain, "seed": cell.seed}
        row |= _scores(cell, other, index_a, index_b) | _sizes(cell, other, index_a, index_b)
        rows.append(row | {"latency_ratio": {} if obstacle else _latencies(cell, other, latencies)})
    compared = [*rows, *(each for row in rows for each in row["further"].values())]
    tested = [each["difference"] for each in compared if each["difference"]]
    for difference, adjusted in zip(tested, holm([each["p_value"] for each in tested]), strict=True):
        difference["p_value_holm"] = adjusted
    for each in compared:
        each["within_margin"] = None if margin is None else within_margin(each["difference"], margin=margin)
    return {
        "margin": margin,
        "a": a.folder.name,
        "b": b.folder.name,
        "rows": rows,
        "only_in_a": _names_missing(index_a, index_b),
        "only_in_b": _names_missing(index_b, index_a),
        "notes": [obstacle or UNPAIRED],
    }


def within_margin(found: dict[str, float] | None, *, margin: float) -> str | None:
    """Whether B is worse than A by no more than `margin`: non-inferiority, which is another question than difference.

    By the lower end of the paired 95 % interval, so that ``yes`` is wrong in 2.5 % of cases at the margin (Piaggio et
    al. 2012, the CONSORT statement on non-inferiority trials).

    Returns:
        ``yes`` (the whole interval lies above -margin), ``no`` (it lies below), else ``not shown``; None without a
        difference.
    """
    if found is None:
        return None
    answer = stats.within_margin(found["low"], found["high"], margin=margin)
    return {True: "yes", False: "no", None: "not shown"}[answer]


def comparison_tables(compared: dict[str, Any]) -> list[Table]:
    """Scores and sizes in one table, latency ratios in another."""
    rows = compared["rows"]
    many_seeds = len({row["seed"] for row in rows}) > 1
    scores, latencies = [], []
    places = list(
        dict.fromkeys((name, shape) for row in rows for name, part in row["latency_ratio"].items() for shape in part)
    )
    for row in rows:
        head = [row_label(row, with_seed=many_seeds), row["task"]]
        size = NONE if row["size_ratio"] is None else format_ratio(row["size_ratio"])
        scores.append([*head, *_score_cells(row, row["metric"], compared["margin"]), size])
        for metric, further in row["further"].items():
            scores.append([*head, *_score_cells(further, metric, compared["margin"]), ""])
        intervals = (row["latency_ratio"].get(runtime, {}).get(shape) for runtime, shape in places)
        latencies.append([*head, *map(format_interval, intervals)])
    columns = ["Model", "Task", "Metric", "A", "B", "B - A [95\u00a0%]", "p (Holm)"]
    columns += [] if compared["margin"] is None else [f"Within {format_points(compared['margin'])}"]
    columns.append("Size A/B")
    title = f"A = {compared['a']}, B = {compared['b']}: scores in points, on the same dev rows"
    tables = [Table(title=title, columns=columns, rows=scores)]
    if places:
        names = [f"{shape} in {runtime}" for runtime, shape in places]
        tables.append(Table(title="Latency A/B, not paired", columns=["Model", "Task", *names], rows=latencies))
    return tables


def print_run_comparison(compared: dict[str, Any], console: "Console") -> None:
    """Tables and notes on a screen."""
    for table in comparison_tables(compared):
        print_table(table, console)
    print_notes(_notes(compared), console)


def run_comparison_markdown(compared: dict[str, Any]) -> str:
    """Tables and notes as Markdown."""
    return "\n\n".join([*map(table_markdown, comparison_tables(compared)), bullets(_notes(compared))]) + "\n"


def _score_cells(found: dict[str, Any], metric: str | None, margin: float | None) -> list[str]:
    difference = found["difference"]
    return [
        metric_name(metric) if metric else NONE,
        *(NONE if found[name] is None else format_points(found[name]) for name in ("score_a", "score_b")),
        _points_interval(difference),
        format_p_value(difference["p_value_holm"] if difference else None),
        *([] if margin is None else [found["within_margin"] or NONE]),
    ]


def _scores(cell: CellRecord, other: CellRecord, index_a: RunIndex, index_b: RunIndex) -> dict[str, Any]:
    """Primary scores and their paired difference, nulls where a side has none; then the task's other scores."""
    empty: dict[str, Any] = dict.fromkeys(("metric", "score_a", "score_b", "difference"))
    answers_a, answers_b = split_answers(cell, index_a), split_answers(other, index_b)
    if not answers_a or not answers_b:
        return {**empty, "further": {}}
    task = index_a.tasks[cell.task]
    if any(each.undefined_rows for each in (*answers_a.values(), *answers_b.values())):
        return {**empty, "metric": task.metrics[0], "further": {}}
    try:
        found = {
            score_name(metric, split, task.dev_splits): _paired(metric, answers_a[split], answers_b[split])
            for split in task.dev_splits
            for metric in task.metrics
        }
    except BadInput:
        raise BadInput(
            f"the two runs have other dev rows of {cell.task}, so their scores cannot be compared: "
            "run both on the same data"
        ) from None
    return {"metric": task.metrics[0], **found.pop(task.metrics[0]), "further": found}


def _paired(metric: str, answers_a: Answers, answers_b: Answers) -> dict[str, Any]:
    found = score_difference(metric, answers_a, answers_b)
    return {
        "score_a": primary_score(metric, answers_a),
        "score_b": primary_score(metric, answers_b),
        "difference": found
        and {"difference": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value},
    }


def _sizes(cell: CellRecord, other: CellRecord, index_a: RunIndex, index_b: RunIndex) -> dict[str, float | None]:
    before, after = index_a.sizes.get(cell.measured_key), index_b.sizes.get(other.measured_key)
    return {"size_ratio": before.size_bytes / after.size_bytes if before and after else None}


def _latencies(
    cell: CellRecord, other: CellRecord, latencies: tuple[LatencyIndex, LatencyIndex]
) -> dict[str, dict[str, dict[str, float]]]:
    """Ratios A / B where both were measured with the same number of threads."""
    part: dict[str, dict[str, dict[str, float]]] = {}
    for place in latencies[0].places:
        blocks_a = latencies[0].find(cell.measured_key, place, task=cell.task)
        blocks_b = latencies[1].find(other.measured_key, place, task=other.task)
        if blocks_a is None or blocks_b is None or blocks_a.threads != blocks_b.threads:
            continue
        found = unpaired_ratio_interval(blocks_a.rounds(), blocks_b.rounds(), seed=BOOTSTRAP_SEED)
        part.setdefault(place[0], {})[place[1]] = {"ratio": found.ratio, "low": found.low, "high": found.high}
    return part


def _latency_obstacle(a: RunRecords, b: RunRecords) -> str | None:
    """Why latencies of the two runs cannot be compared, or None."""
    for name, words in (("isa_class", "instruction sets"), ("threads", "thread counts")):
        values = a.environment.get(name), b.environment.get(name)
        if values[0] is None or values[0] != values[1]:
            told = " and ".join("unknown" if value is None else str(value) for value in values)
            return f"Latency is not comparable: the runs' {words} differ or are not known ({told})."
    return None


def _names_missing(index: RunIndex, other: RunIndex) -> list[str]:
    return [
        f"{cell.task}/{cell.method} (seed {cell.seed})"
        for cell in index.ordered_cells()
        if (cell.task, cell.chain, cell.seed) not in other.cells
    ]


def _points_interval(found: dict[str, float] | None) -> str:
    """``-4.1 [-6.0, -2.2]`` in points."""
    if found is None:
        return NONE
    return f"{100 * found['difference']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _notes(compared: dict[str, Any]) -> Sequence[str]:
    missing = [
        f"Only in {side}: {', '.join(compared[key])}."
        for side, key in (("A", "only_in_a"), ("B", "only_in_b"))
        if compared[key]
    ]
    notes = ["A difference whose interval holds 0 is not a difference."]
    if compared["margin"] is not None:
        points = format_points(compared["margin"])
        notes.append(
            f"Within {points}: yes if the whole interval of B - A lies above -{points} points, no if below, else not "
            "shown. That is no matter of p: without a difference the margin may still not be shown, and the reverse."
        )
    return [*notes, *compared["notes"], *missing]

"""Live confirmations: `compressbench gate --live` as a user calls it, on the bank's models, timed by the wall clock."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.gate.bank import AGAIN, BASELINE, CONDITIONS, Bank
from benchmarks.gate.competitor import competing
from compressbench.errors import CompressbenchError
from compressbench.progress import Progress

RESULTS_NAME = "live.jsonl"
SLOWER = "+10 %"
ROWS = 64


def confirm(bank: Bank, *, count: int, progress: Progress) -> list[dict[str, Any]]:
    """Calls in turn quiet and loaded, of A against A and of a slower copy, until there are `count`; goes on.

    Raises:
        CompressbenchError: If a call ends without a report.
    """
    path = bank.folder / RESULTS_NAME
    done = [json.loads(each) for each in path.read_text().splitlines()] if path.exists() else []
    with progress.stage("live", total=max(0, count - len(done))) as advance:
        while len(done) < count:
            condition = CONDITIONS[len(done) % 2]
            side = (AGAIN, SLOWER)[len(done) // 2 % 2]
            done.append(_call(bank, condition=condition, side=side, seed=len(done)))
            with path.open("a") as stream:
                stream.write(json.dumps(done[-1]) + "\n")
            advance()
    return done


def live_markdown(calls: list[dict[str, Any]]) -> str:
    """One row a call."""
    lines = [
        "| Condition | Side | Latency | Slowdown [interval] | Processes a side | Seconds measuring | Seconds in all |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in calls:
        interval = f"{100 * each['slowdown']:+.1f} % [{100 * each['low']:+.1f}, {100 * each['high']:+.1f}]"
        lines.append(
            f"| {each['condition']} | {each['side']} | {each['verdict']} | {interval} | {each['processes']} | "
            f"{each['measuring_s']:.0f} | {each['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _call(bank: Bank, *, condition: str, side: str, seed: int) -> dict[str, Any]:
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    beside: AbstractContextManager[object] = competing(core=core, seed=seed) if condition == "loaded" else nullcontext()
    with tempfile.TemporaryDirectory() as name, beside:
        folder = Path(name)
        _write_rows(folder / "rows.csv")
        start = time.monotonic()
        answer = subprocess.run(
            [
                sys.executable, "-m", "compressbench", "gate", "--live", bank.model(BASELINE), bank.model(side),
                "--train", folder / "rows.csv", "--validation", folder / "rows.csv",
                "--shapes", str(bank.shape), "--threads", str(bank.threads), "--to", folder / "report",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - start
        report = folder / "report" / "gate.json"
        if not report.exists():
            raise CompressbenchError(
                f"gate --live ended with {answer.returncode} and no report: {answer.stderr[-400:]}"
            )
        (check,) = (each for each in json.loads(report.read_text())["checks"] if each["metric"] == "latency")
        records = folder / "report" / "records.jsonl"
        samples = [json.loads(each) for each in records.read_text().splitlines()]
        processes = len({each["process"] for each in samples if each["kind"] == "latency"})
    return {
        "condition": condition, "side": side, "verdict": check["verdict"], "slowdown": check["worsening"],
        "low": check["low"], "high": check["high"], "exit_code": answer.returncode, "processes": processes,
        "seconds": seconds, "measuring_s": _seconds_of_stage(answer.stderr, "gate: latency"),
    }  # fmt: skip


def _write_rows(path: Path) -> None:
    """Rows of words that the made-up tokenizer knows."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows([" ".join(f"w{5 + row + place}" for place in range(9)), row % 2] for row in range(ROWS))


def _seconds_of_stage(told: str, stage: str) -> float:
    """What progress said that a stage took, in seconds; NaN where it said nothing."""
    for text in reversed(told.splitlines()):
        if text.startswith(f"{stage}: ") and text.endswith(" s"):
            *minutes, seconds = text.removeprefix(f"{stage}: ").removesuffix(" s").split(" min ")
            return 60 * float(minutes[0] if minutes else 0) + float(seconds)
    return float("nan")

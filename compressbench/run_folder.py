"""A run's folder: opened for one plan, refused for another; the log of what was measured, and the session it is in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from compressbench.environment import describe_environment
from compressbench.errors import BadInput
from compressbench.plan import Plan
from compressbench.plan_file import write_plan_file
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.schema import LatencyRecord, Record, SessionRecord
from compressbench.reporting.run_index import RunIndex, index_records

DIGEST_NAME = "plan.digest"


def check_folder(folder: Path, plan: Plan) -> None:
    """Refuse, before any work, a folder that cannot be written or that holds another plan's run.

    Raises:
        BadInput: With what to do.
    """
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise BadInput(f"--out {folder}: {nearest} is a file, not a folder")
    probe = nearest / f".compressbench-{plan.digest}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(f"--out {folder} cannot be written ({error.strerror}): choose another folder") from None
    if not folder.exists() or not any(folder.iterdir()):
        return
    digest = folder / DIGEST_NAME
    if not digest.exists():
        raise BadInput(f"--out {folder} holds files that are no run: give a new or empty folder")
    if digest.read_text().strip() != plan.digest:
        raise BadInput(f"--out {folder} holds the run of another plan: give a new folder, or run that plan.toml again")


@dataclass(kw_only=True)
class RunFolder:
    """The open folder of one run."""

    path: Path
    log: RecordLog
    records: list[Record]
    """All there are, earlier sessions included; `add` keeps it and the file in step."""
    session: int
    fresh: str
    """What `Workshop.fresh` was when this folder's artifacts were made."""
    warnings: list[str] = field(default_factory=list)

    @property
    def index(self) -> RunIndex:
        """The records by what they tell of; the latest of its kind counts."""
        return index_records(self.records)

    @classmethod
    def open(cls, path: Path, plan: Plan, *, fresh: bool) -> RunFolder:
        """Open or create the folder and begin a session, or go on with the unfinished one."""
        check_folder(path, plan)
        path.mkdir(parents=True, exist_ok=True)
        (path / DIGEST_NAME).write_text(plan.digest + "\n")
        write_plan_file(plan, path / "plan.toml")
        environment = describe_environment(threads=plan.threads)
        (path / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
        log = RecordLog(path / LOG_NAME)
        contents = log.read()
        records = contents.records
        sessions = [each for each in records if isinstance(each, SessionRecord)]
        latest = sessions[-1] if sessions else None
        salt = datetime.now(UTC).isoformat(timespec="microseconds") if fresh else latest.fresh if latest else ""
        folder = cls(
            path=path,
            log=log,
            records=records,
            session=latest.session if latest else 0,
            fresh=salt,
            warnings=contents.warnings,
        )
        if latest is None or latest.state == "finished" or fresh:
            folder.session += 1
            folder._mark("begun")
        return folder

    def add(self, record: Record) -> None:
        """Append one record; it is on disk when this returns."""
        self.log.append(record)
        self.records.append(record)

    def finish(self) -> None:
        """End the session: the next run of this plan begins another."""
        self._mark("finished")

    def latency_records(self) -> Sequence[LatencyRecord]:
        """This session's latency blocks so far."""
        return [each for each in self.records if isinstance(each, LatencyRecord) and each.session == self.session]

    def _mark(self, state: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.add(SessionRecord(session=self.session, state=state, time_utc=now, fresh=self.fresh))

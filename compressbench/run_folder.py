"""A run's folder: opened for one plan, refused for another; the log of what was measured, and the session it is in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compressbench.environment import describe_environment, fingerprint
from compressbench.errors import BadInput
from compressbench.ledger import Ledger
from compressbench.plan import Plan
from compressbench.plan_file import write_plan_file
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.run_folder import ENVIRONMENT_NAME
from compressbench.records.schema import SessionRecord

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
    ledger: Ledger
    """All there is, earlier sessions included."""
    session: int
    fresh: str
    """What `Workshop.fresh` is for this folder's artifacts."""
    environment: str
    """Fingerprint of the machine and the runtimes."""
    threads: tuple[int, ...]
    """Thread counts of the latencies, the main one first."""

    @classmethod
    def open(cls, path: Path, plan: Plan, *, fresh: bool) -> RunFolder:
        """Open or create the folder and begin a session, or go on with the unfinished one."""
        check_folder(path, plan)
        path.mkdir(parents=True, exist_ok=True)
        (path / DIGEST_NAME).write_text(plan.digest + "\n")
        write_plan_file(plan, path / "plan.toml")
        environment = describe_environment(threads=plan.thread_counts[0])
        (path / ENVIRONMENT_NAME).write_text(json.dumps(environment, indent=2) + "\n")
        ledger = Ledger(RecordLog(path / LOG_NAME))
        sessions = [each for each in ledger.records if isinstance(each, SessionRecord)]
        latest = sessions[-1] if sessions else SessionRecord(session=0, state="finished", time_utc="")
        salt = datetime.now(UTC).isoformat(timespec="microseconds") if fresh else latest.fresh
        folder = cls(
            path=path,
            ledger=ledger,
            session=latest.session,
            fresh=salt,
            environment=fingerprint(environment),
            threads=plan.thread_counts,
        )
        if latest.state == "finished" or fresh or latest.environment != folder.environment:
            folder.session += 1  # blocks of another machine or runtime do not go on here
            folder._mark("begun")
        return folder

    def finish(self) -> None:
        """End the session: the next run of this plan begins another."""
        self._mark("finished")

    def _mark(self, state: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.ledger.add(
            SessionRecord(
                session=self.session,
                state=state,
                time_utc=now,
                fresh=self.fresh,
                environment=self.environment,
                threads=self.threads,
            )
        )

"""A run's folder: opened for one plan, refused for another; the log of what was measured, and the session it is in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compressbench.environment import describe_environment, fingerprint
from compressbench.errors import BadInput
from compressbench.ledger import Ledger
from compressbench.measurement import DIGEST_PREFIX
from compressbench.output import check_folder
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.run_folder import ENVIRONMENT_NAME, PLAN_NAME
from compressbench.records.schema import SessionRecord

DIGEST_NAME = "plan.digest"


def check_place(folder: Path, *, prefix: str = "") -> None:
    """Refuse, before any work, a folder that cannot be written or that holds something else than a run.

    Args:
        folder: A run's folder, there or not.
        prefix: What the digest of a run that may go on there begins with.

    Raises:
        BadInput: With what to do.
    """
    check_folder(folder, option="--out")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / DIGEST_NAME).exists():
        raise BadInput(f"--out {folder} holds files that are no run: give a new or empty folder")
    if not (folder / DIGEST_NAME).read_text().startswith(prefix):
        raise BadInput(f"--out {folder} holds {_holder(folder)}")


def check_digest(folder: Path, digest: str) -> None:
    """Refuse, before any work, a folder that cannot be written or that holds the run of another digest.

    Raises:
        BadInput: With what to do.
    """
    check_place(folder)
    if (folder / DIGEST_NAME).exists() and (folder / DIGEST_NAME).read_text().strip() != digest:
        raise BadInput(f"--out {folder} holds {_holder(folder)}")


def _holder(folder: Path) -> str:
    """What a folder that is another's holds, and the mend."""
    if (folder / DIGEST_NAME).read_text().startswith(DIGEST_PREFIX):
        return "another measurement: give a new folder, or to `measure` the models and options of the plan.toml there"
    return (
        "the run of another plan, or of this one before its teacher or data changed: "
        "give a new folder, or run that plan.toml again on what it was run on"
    )


@dataclass(kw_only=True)
class RunFolder:
    """The open folder of one run, or of one `measure`."""

    path: Path
    ledger: Ledger
    """All there is, earlier sessions included."""
    session: int
    fresh: str
    """What `Workshop.fresh` is for this folder's artifacts."""
    machine: Mapping[str, Any]
    """The machine and the runtimes, as environment.json tells them."""
    threads: tuple[int, ...]
    """Thread counts of the latencies, the main one first."""

    @classmethod
    def open(
        cls, path: Path, *, digest: str, plan_text: str, threads: tuple[int, ...], fresh: bool = False
    ) -> RunFolder:
        """Open or create the folder and begin a session, or go on with the unfinished one.

        Args:
            path: The folder, new or of the same digest.
            digest: Of everything that decides results.
            plan_text: What plan.toml is to hold.
            threads: Thread counts of the latencies, the main one first.
            fresh: Whether to begin a session that finds nothing made before.

        Raises:
            BadInput: If the folder cannot be written or is another's.
        """
        check_digest(path, digest)
        path.mkdir(parents=True, exist_ok=True)
        (path / DIGEST_NAME).write_text(digest + "\n")
        (path / PLAN_NAME).write_text(plan_text)
        machine = describe_environment(threads=threads[0])
        (path / ENVIRONMENT_NAME).write_text(json.dumps(machine, indent=2) + "\n")
        ledger = Ledger(RecordLog(path / LOG_NAME))
        sessions = [each for each in ledger.records if isinstance(each, SessionRecord)]
        latest = sessions[-1] if sessions else SessionRecord(session=0, state="finished", time_utc="")
        salt = datetime.now(UTC).isoformat(timespec="microseconds") if fresh else latest.fresh
        folder = cls(
            path=path,
            ledger=ledger,
            session=latest.session,
            fresh=salt,
            machine=machine,
            threads=threads,
        )
        if latest.state == "finished" or fresh or latest.environment != fingerprint(machine):
            folder.session += 1  # blocks of another machine or runtime do not go on here
            folder._mark("begun")
        return folder

    @classmethod
    def in_memory(cls, *, threads: tuple[int, ...]) -> RunFolder:
        """A first session of which nothing stays on disk."""
        machine = describe_environment(threads=threads[0])
        folder = cls(path=Path(), ledger=Ledger(), session=1, fresh="", machine=machine, threads=threads)
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
                environment=fingerprint(self.machine),
                threads=self.threads,
            )
        )

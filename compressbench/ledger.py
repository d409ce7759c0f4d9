"""The records of one run in memory and, where there is a folder, on disk: what is known, and a place to add to it."""

import json

from compressbench.records.log import RecordLog
from compressbench.records.run_index import RunIndex, index_records
from compressbench.records.schema import CellRecord, Record, SessionRecord, to_json


class Ledger:
    """Records so far; `add` keeps memory and file in step."""

    def __init__(self, log: RecordLog | None = None) -> None:
        contents = log.read() if log else None
        self._log = log
        self.records: list[Record] = contents.records if contents else []
        self.warnings: list[str] = contents.warnings if contents else []
        """One sentence for each line of the file that could not be used."""
        self._session = max((each.session for each in self.records if isinstance(each, SessionRecord)), default=0)

    def add(self, record: Record) -> None:
        """Append one record; if there is a file it is on disk when this returns."""
        if self._log:
            self._log.append(record, session=self._session)
        self.records.append(record)
        if isinstance(record, SessionRecord):
            self._session = record.session

    def add_cell(self, record: CellRecord) -> None:
        """Append a cell's record, unless an equal one stands."""
        standing = self.index.cells.get((record.task, record.chain, record.seed))
        if standing is None or _spelled(standing) != _spelled(record):
            self.add(record)

    @property
    def index(self) -> RunIndex:
        """The records by what they tell of; the latest of its kind counts."""
        return index_records(self.records)


def _spelled(record: Record) -> str:
    """A record as it would be on disk: read back, its tuples are lists."""
    return json.dumps(to_json(record), sort_keys=True)

"""What packing notes of a shard that it has written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videomae_train.data.copying import FileFacts
from videomae_train.data.layout import IndexRow
from videomae_train.data.pack_summary import PackFault
from videomae_train.data.shards import ShardFacts


@dataclass(frozen=True)
class FinishedShard:
    """A shard with all that the set's index and description say of it.

    Attributes:
        file: The shard file; None if none of its videos could be read.
        rows: Its videos.
        faults: Videos that were meant for it.
        duration_sec: Playing time.
        num_damaged: Videos with frames that the decoder flags as damaged.
    """

    file: ShardFacts | None
    rows: tuple[IndexRow, ...]
    faults: tuple[PackFault, ...]
    duration_sec: float
    num_damaged: int

    def is_whole(self, folder: Path) -> bool:
        """Say whether the file in the folder is the one that was written."""
        if self.file is None:
            return True
        return FileFacts(self.file.num_bytes, self.file.sha256).are_those_of(folder / self.file.name)

    def as_json(self) -> dict[str, Any]:
        """Give what `from_json` reads."""
        rows = [{**asdict(row), "checksum": row.checksum.hex()} for row in self.rows]
        return {**asdict(self), "rows": rows}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> FinishedShard:
        """Read what `as_json` gave."""
        return cls(
            file=None if content["file"] is None else ShardFacts(**content["file"]),
            rows=tuple(map(_row_of, content["rows"])),
            faults=tuple(PackFault(**fault) for fault in content["faults"]),
            duration_sec=content["duration_sec"],
            num_damaged=content["num_damaged"],
        )


def _row_of(row: dict[str, Any]) -> IndexRow:
    checksum = bytes.fromhex(row.pop("checksum"))
    return IndexRow(**row, checksum=checksum)

"""The account of a packing that is under way, from which it continues after any interruption.

.packing/plan.json            what is packed and how; a set is unfinished as long as this file is there
.packing/shard-000007.json    what is in a finished shard; written after the shard itself
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    FAULTS_FILE,
    INDEX_FILE,
    IndexRow,
    shard_name,
    write_json,
)
from videomae_train.data.pack_summary import PackFault
from videomae_train.data.shards import ShardFacts
from videomae_train.errors import ConfigError

_FOLDER = ".packing"
_PLAN = "plan.json"


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


class UnfinishedSet:
    """A folder that is being filled.

    Args:
        destination: The folder.
        identity: `PackPlan.identity`.
    """

    def __init__(self, destination: Path, identity: dict[str, object]) -> None:
        self._destination = destination
        self._folder = destination / _FOLDER
        self._identity = identity

    def begin(self, *, overwrite: bool) -> None:
        """Start to fill the folder, or go on where another packing of the same plan has stopped.

        Raises:
            ConfigError: Something else is there, and `overwrite` does not allow to remove it.
        """
        plan = self._folder / _PLAN
        if plan.is_file():
            changes = _changes(json.loads(plan.read_text(encoding="utf-8")), self._identity)
            if not changes:
                return
            if not overwrite:
                raise _another_plan(self._destination, changes)
        elif not overwrite:
            _check_vacant(self._destination)
        self._clear_all()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(plan, self._identity)

    def _clear_all(self) -> None:
        """Remove an old set, its description first, so that no half of it looks whole."""
        for pattern in (DESCRIPTION_FILE, INDEX_FILE, FAULTS_FILE, "shard-*.tar", "*.partial"):
            for file in self._destination.glob(pattern):
                file.unlink()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def load(self, number: int) -> FinishedShard | None:
        """Read what is known of a shard; None if it is not finished or not what was written."""
        receipt = self._receipt(number)
        if not receipt.is_file():
            return None
        try:
            shard = _shard_of(json.loads(receipt.read_text(encoding="utf-8")), self._identity)
        except json.JSONDecodeError:
            return None  # cut by a crash of the machine: the shard is made again
        is_whole = shard is not None and (shard.file is None or _is_whole(self._destination, shard.file))
        return shard if is_whole else None

    def save(self, number: int, shard: FinishedShard) -> None:
        """Note that a shard is finished; its file is in place."""
        write_json(self._receipt(number), {"plan": self._identity, "shard": _as_json(shard)}, indent=None)

    def remove_leftovers(self, number: int | None = None) -> None:
        """Remove what an interrupted packing left of one shard, or of any file."""
        name = "" if number is None else shard_name(number) + "."
        for file in self._destination.glob(f"{name}*.partial"):
            file.unlink(missing_ok=True)

    def end(self) -> None:
        """Declare the set finished, now that its description is written."""
        (self._folder / _PLAN).unlink()
        shutil.rmtree(self._folder)

    def _receipt(self, number: int) -> Path:
        return self._folder / Path(shard_name(number)).with_suffix(".json")


def _is_whole(folder: Path, facts: ShardFacts) -> bool:
    file = folder / facts.name
    if not file.is_file() or file.stat().st_size != facts.num_bytes:
        return False
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest() == facts.sha256


def _as_json(shard: FinishedShard) -> dict[str, Any]:
    rows = [{**asdict(row), "checksum": row.checksum.hex()} for row in shard.rows]
    return {**asdict(shard), "rows": rows}


def _shard_of(receipt: dict[str, Any], identity: dict[str, object]) -> FinishedShard | None:
    if receipt["plan"] != identity:
        return None
    content = receipt["shard"]
    return FinishedShard(
        file=None if content["file"] is None else ShardFacts(**content["file"]),
        rows=tuple(map(_row_of, content["rows"])),
        faults=tuple(PackFault(**fault) for fault in content["faults"]),
        duration_sec=content["duration_sec"],
        num_damaged=content["num_damaged"],
    )


def _row_of(row: dict[str, Any]) -> IndexRow:
    checksum = bytes.fromhex(row.pop("checksum"))
    return IndexRow(**row, checksum=checksum)


def _changes(before: dict[str, object], now: dict[str, object]) -> list[str]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} {before.get(name)}, now {now.get(name)}" for name in names]


def _check_vacant(destination: Path) -> None:
    if (destination / DESCRIPTION_FILE).exists():
        came, expected = "a packed data set that is there already", "a new or empty folder"
    elif any(destination.glob("shard-*.tar")):
        came, expected = "shards without a description of how they were packed", "a new or empty folder"
    else:
        return
    todo = "Choose another folder, or allow overwriting."
    raise ConfigError(where=str(destination), came=came, expected=expected, todo=todo)


def _another_plan(destination: Path, changes: list[str]) -> ConfigError:
    return ConfigError(
        where=str(destination),
        came="an unfinished packing of something else: " + "; ".join(changes),
        expected="the same source and options, to continue it",
        todo="Repeat the options of before, choose another folder, or allow overwriting.",
    )

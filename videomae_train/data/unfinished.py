"""The account of a set that is being made, from which the work continues after any interruption.

.unfinished/plan.json            what is made and how; a set is unfinished as long as this file is there
.unfinished/shard-000007.json    what is in a shard that is done with, and of what this is true

Several processes may work in one folder: every file is renamed into place, and a receipt that fits is as good as the
work itself, whoever wrote it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from videomae_train.data.layout import (
    DESCRIPTION_FILE,
    FAULTS_FILE,
    INDEX_FILE,
    remove_partial_files,
    shard_name,
    write_json,
)
from videomae_train.errors import ConfigError

_FOLDER = ".unfinished"
_PLAN = "plan.json"
_SET_FILES = (DESCRIPTION_FILE, INDEX_FILE, FAULTS_FILE)
_LONGEST_VALUE = 100


class UnfinishedSet:
    """A folder that is being filled.

    Args:
        destination: The folder.
        plan: All that decides the bytes of the set, JSON; `work` names what is done, such as "packing".
        own_shards: Pattern of the shards that the work writes; "" if it writes none. An old set of such shards is
            removed before another one is made; without them it stays whole until the new files replace it.
    """

    def __init__(self, destination: Path, plan: Mapping[str, object], *, own_shards: str) -> None:
        self._destination = destination
        self._folder = destination / _FOLDER
        self._plan = dict(plan)
        self._own_shards = (own_shards,) if own_shards else ()

    def begin(self, *, overwrite: bool) -> None:
        """Start to fill the folder, or go on where other work of the same plan has stopped.

        Raises:
            ConfigError: Something else is there, and `overwrite` does not allow to replace it.
        """
        # Asked before the plan is looked for: another part may write its plan, and then a shard, in between.
        occupied = self._occupied()
        plan = self._folder / _PLAN
        if plan.is_file():
            before = json.loads(plan.read_text(encoding="utf-8"))
            if before == self._plan:
                return
            if not overwrite:
                raise self._another_plan(before)
        elif occupied is not None and not overwrite:
            raise occupied
        if overwrite:
            self._remove_old_set()
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(plan, self._plan)

    def _remove_old_set(self) -> None:
        """Remove shards that will be written anew, and before them what says that they are a set."""
        if self._own_shards:
            for pattern in (*_SET_FILES, *self._own_shards):
                for file in self._destination.glob(pattern):
                    file.unlink()
        self.remove_leftovers()

    def load(self, number: int, of: Mapping[str, object]) -> dict[str, Any] | None:
        """Read what is known of a shard; None if it is not done with, or if that is of something else."""
        try:
            receipt = json.loads(self._receipt(number).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None  # not there, or cut by a crash of the machine: the shard is taken again
        return receipt["shard"] if receipt["of"] == of else None

    def save(self, number: int, shard: Mapping[str, object], of: Mapping[str, object]) -> None:
        """Note that a shard is done with; its file is in place.

        Args:
            number: The shard's.
            shard: What is in it, JSON.
            of: All on which this depends, JSON; asked for again by `load`.
        """
        write_json(self._receipt(number), {"of": of, "shard": shard}, indent=None)

    def remove_leftovers(self, shard: int | None = None) -> None:
        """Remove what interrupted work left of one shard, or of any file of the set."""
        names = (*_SET_FILES, *self._own_shards) if shard is None else (shard_name(shard),)
        remove_partial_files(self._destination, names)

    def withdraw(self) -> None:
        """Give the plan up, as one that leads to no set; receipts stay for another plan that they fit."""
        (self._folder / _PLAN).unlink(missing_ok=True)

    def end(self) -> None:
        """Declare the set finished, now that its description is written."""
        (self._folder / _PLAN).unlink()
        shutil.rmtree(self._folder)

    def _receipt(self, number: int) -> Path:
        return self._folder / Path(shard_name(number)).with_suffix(".json")

    def _occupied(self) -> ConfigError | None:
        if (self._destination / DESCRIPTION_FILE).exists():
            came = "a data set that is there already"
        elif any(file for pattern in self._own_shards for file in self._destination.glob(pattern)):
            came = "shards without a description of how they were packed"
        else:
            return None
        expected, todo = "a new or empty folder", "Choose another folder, or replace it: --overwrite."
        return ConfigError(where=str(self._destination), came=came, expected=expected, todo=todo)

    def _another_plan(self, before: Mapping[str, object]) -> ConfigError:
        return ConfigError(
            where=str(self._destination),
            came=f"an unfinished {before['work']} of something else: {'; '.join(_changes(before, self._plan))}",
            expected="the same source and options, to continue it",
            todo="Repeat the options of before, choose another folder, or begin anew: --overwrite.",
        )


def _changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if "work" in names:
        return [f"now {now['work']}"]  # everything else differs too, and says nothing
    return [f"{name} {_short(before.get(name))}, now {_short(now.get(name))}" for name in names]


def _short(value: object) -> str:
    return shorten(str(value), _LONGEST_VALUE, placeholder=" ...")

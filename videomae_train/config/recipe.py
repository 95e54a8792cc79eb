"""What a run is, as against where it runs: the record of its configuration, and what may change on resuming.

Each field of a training configuration is of one kind, by the longest entry below that it falls under.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from videomae_train.config.schema import TrainingConfig
from videomae_train.data.layout import write_json
from videomae_train.errors import ConfigError

RECORD = "recipe.json"


class Kind(Enum):
    """What a field decides."""

    MACHINE = "how and where the run is computed; free to change"
    RECIPE = "what the run trains; changes only where allow_changes names it"
    FIXED = "what checkpoints are made of: weights, optimiser state, order of videos; never changes in a run"


KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("run", "resume", "allow_changes", "max_fault_ratio"), Kind.MACHINE),
    **dict.fromkeys(("trainer", "loader", "logger", "watch", "data.path", "data.sets.*.path"), Kind.MACHINE),
    **dict.fromkeys(("optim", "masking", "data", "mix", "validation"), Kind.RECIPE),
    **dict.fromkeys(("seed", "model", "init", "weights", "head", "frozen_blocks"), Kind.FIXED),
    # An optimiser's constants lie in its state, from where a resumed run takes them.
    **dict.fromkeys(("optim.name", "optim.betas", "optim.eps", "optim.weight_decay"), Kind.FIXED),
    **dict.fromkeys(("optim.layer_decay", "optim.ema_decay", "optim.global_batch"), Kind.FIXED),
    **dict.fromkeys(("data.selection", "data.per_class", "data.per_class_seed", "data.sets"), Kind.FIXED),
    "data.shuffle_window_videos": Kind.FIXED,
}
_PATHS = ("data.path", "data.sets.*.path", "init", "weights")


class Change(NamedTuple):
    """One field that differs between two configurations; None stands for null and for nothing at all."""

    key: str
    was: Any
    now: Any


@dataclass(frozen=True)
class RunRecord:
    """What recipe.json in a run's folder says.

    Attributes:
        verb: pretrain, finetune or probe.
        config: The configuration of the latest attempt, as `TrainingConfig.given` has it, paths made absolute.
        changes: Recipe changes that were asked for on resuming, oldest first: key, was, now, and the step of the
            checkpoint after which they count.
    """

    verb: str
    config: dict[str, Any]
    changes: list[dict[str, Any]]


def read_record(run: Path) -> RunRecord | None:
    """Read a run's record; None where there is none.

    Raises:
        ConfigError: It is not what was written.
    """
    file = run / RECORD
    try:
        return RunRecord(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            where=str(file), came=f"no record of a run ({error})", expected="the file as the run wrote it",
            todo="Restore it, or remove it to resume without a comparison of recipes.",
        ) from error  # fmt: skip


def record_run(config: TrainingConfig, verb: str, before: RunRecord | None, step: int) -> None:
    """Write what a run is, adding to its changes what differs from before.

    Args:
        config: The configuration of this attempt.
        verb: pretrain, finetune or probe.
        before: The record so far, of a run that goes on.
        step: The checkpoint's that it goes on from.
    """
    now = _comparable(config)
    changes = list(before.changes) if before else []
    if before:
        new = recipe_changes(before.config, now)
        changes += [{"after_step": step, **change._asdict()} for change in new]
    write_json(config.run / RECORD, {"verb": verb, "config": now, "changes": changes})


def check_unchanged(config: TrainingConfig, verb: str, before: RunRecord) -> None:
    """Compare a configuration with the run that it is to go on with.

    Raises:
        ConfigError: The verb or the recipe differs, in more than `allow_changes` names; all differences are listed.
    """
    check_verb(config.run, verb, before)
    changes = recipe_changes(before.config, _comparable(config))
    refused = [change for change in changes if not _is_allowed(change.key, config.allow_changes)]
    if refused:
        raise _changed(config.run, refused)


def check_verb(run: Path, verb: str, before: RunRecord) -> None:
    """Refuse a run of another verb.

    Raises:
        ConfigError: It is one.
    """
    if before.verb != verb:
        raise ConfigError(
            where="run", came=f"{run}, a run of {before.verb}", expected=f"a run of {verb}",
            todo=f"Use videomae {before.verb}, or give another run=<folder>.",
        )  # fmt: skip


def recipe_changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """List the fields in which two configurations differ, without those of the machine."""
    before, after = dict(_leaves(was)), dict(_leaves(now))
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and kind_of(key) is not Kind.MACHINE
    ]


def recipe_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give what makes a run what it is by dotted keys, without what only the machine decides."""
    return {key: value for key, value in _leaves(values) if kind_of(key) is not Kind.MACHINE}


def kind_of(key: str) -> Kind:
    """Return what a dotted key decides, by the entry with the most parts that it falls under."""
    return KINDS[
        max((entry for entry in KINDS if _falls_under(key, entry)), key=lambda entry: entry.count("."))
    ]


def _falls_under(key: str, entry: str) -> bool:
    parts, wanted = key.split("."), entry.split(".")
    return len(parts) >= len(wanted) and all(
        want in ("*", part) for part, want in zip(parts, wanted, strict=False)
    )


def _is_allowed(key: str, allowed: Collection[str]) -> bool:
    return kind_of(key) is Kind.RECIPE and key in allowed


def _changed(run: Path, refused: list[Change]) -> ConfigError:
    lines = "".join(f"\n  - {key}: {json.dumps(was)} -> {json.dumps(now)}" for key, was, now in refused)
    fixed = [change.key for change in refused if kind_of(change.key) is Kind.FIXED]
    keys = ",".join(change.key for change in refused if change.key not in fixed)
    on_purpose = f"To change it on purpose, add 'allow_changes=[{keys}]'. " if keys else ""
    never = f"Within a run {', '.join(fixed)} cannot change: start a new run for that. " if fixed else ""
    return ConfigError(
        where=str(run),
        came=f"another recipe than the run began with:{lines}\n",
        expected="the same recipe (machine settings may differ)",
        todo=f"{on_purpose}{never}`run={run}` alone goes on as it was.",
    )


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the dotted key of each value."""
    if not isinstance(values, dict) or not values:
        yield prefix.removesuffix("."), values
        return
    for name, value in values.items():
        yield from _leaves(value, f"{prefix}{name}.")


def _comparable(config: TrainingConfig) -> dict[str, Any]:
    """Give a configuration with absolute paths, so that the folder in which a command is typed does not matter."""

    def absolute(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: absolute(part, f"{key}.{name}".strip(".")) for name, part in value.items()}
        # What does not exist here is a hub id or an address.
        is_path = any(_falls_under(key, path) for path in _PATHS) and isinstance(value, str)
        return str(Path(value).absolute()) if is_path and Path(value).exists() else value

    return absolute(config.given(), "")

"""`videomae evaluate splits=[1,2,3]`: one configuration for each split, all checked before the first is scored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from videomae_train.config.loader import validate_config
from videomae_train.config.places import PLACE
from videomae_train.config.schema import EvaluateConfig
from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model import read_config

_NUMBERED = re.compile(r"split\d+/")


def split_configs(values: Mapping[str, Any]) -> dict[str, EvaluateConfig] | None:
    """Make the configuration of each split; None where there is no `splits`.

    In `weights` and `data.selection` stands {split} for the split's name; of a selection such as split1/test, the
    number is the split's.

    Args:
        values: The resolved configuration.

    Raises:
        ConfigError: There is no place for the split's name, or weights are missing; all of them are named.
    """
    splits = values["splits"]
    if splits is None:
        return None
    names = _names(splits)
    if PLACE not in str(values["weights"]):
        raise ConfigError(
            where="weights",
            came=f"{values['weights']} for each of the splits {', '.join(names)}",
            expected=f"{PLACE} where the split's name stands, such as runs/split{PLACE}/weights",
            todo="Train one classifier for each split: the others have seen its test videos.",
        )
    selection = _selection_pattern(values["data"]["selection"])
    weights = {name: str(values["weights"]).replace(PLACE, name) for name in names}
    _check_weights(weights)
    return {
        name: validate_config(
            "evaluate",
            {
                **values,
                "splits": None,
                "weights": weights[name],
                "run": str(Path(values["run"]) / f"split{name}"),
                "data": {**values["data"], "selection": selection.replace(PLACE, name)},
            },
            EvaluateConfig,
        )
        for name in names
    }


def _names(splits: Any) -> list[str]:
    names = [str(split) for split in cast("list[object]", splits)] if isinstance(splits, list) else []
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            where="splits",
            came=str(splits),
            expected="a list of different splits",
            todo="Give splits=[1,2,3]; without it data.selection alone is scored.",
        )
    return names


def _selection_pattern(selection: str) -> str:
    if PLACE in selection:
        return selection
    pattern, found = _NUMBERED.subn(f"split{PLACE}/", selection, count=1)
    if not found:
        raise ConfigError(
            where="data.selection",
            came=f"{selection}, the same for every split",
            expected=f"a selection that names its split, such as split1/test or fold{PLACE}/test",
            todo=f"Give data.selection=split{PLACE}/test, or leave `splits` out.",
        )
    return pattern


def _check_weights(weights: Mapping[str, str]) -> None:
    problems: list[str] = []
    for split, source in weights.items():
        path = Path(source)
        if not path.exists() and path.parent.exists():  # else it may be a hub id
            problems.append(f"split {split}: {source} is not there")
            continue
        try:
            read_config(path)
        except CheckpointError as error:
            problems.append(f"split {split}: {source}: {error.came}")
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise ConfigError(
            where="weights",
            came=f"{len(problems)} of {len(weights)} splits cannot be scored:{listed}\n",
            expected="a weights folder for each split",
            todo="Finish their training first, or leave them out of `splits`.",
        )

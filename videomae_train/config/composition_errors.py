"""What Hydra says of a command line that it cannot compose, in our four parts."""

from __future__ import annotations

import difflib
import re
from typing import Any

from hydra import compose
from omegaconf import OmegaConf

from videomae_train.config.sweep_stages import LATER
from videomae_train.errors import ConfigError

_NAMED_CHOICES = 12


def composition_error(verb: str, error: Exception) -> ConfigError:
    """Name what could not be composed, and the nearest that could.

    Args:
        verb: Name of the primary YAML file.
        error: Hydra's or OmegaConf's; the caller is still inside `initialize_config_dir`.
    """
    message = str(error).strip()
    unknown = re.match(r"Could not override '([^']+)'", message)
    if unknown:
        key = unknown.group(1)
        near = difflib.get_close_matches(key, _known_keys(verb), n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        if near == [key]:
            hint = "It belongs to another choice of a group. "
        if key.startswith("hydra."):
            hint = f"+{key}=VALUE adds a key, +{key}.NAME=VALUE an entry to one. "
        if verb == "evaluate" and key.partition(".")[0] == "trainer":
            hint = "A score has accelerator=, devices= and num_nodes= instead. "
        if verb == "pretrain" and (stage := _stage_meant(key)):
            hint = f"{stage}.KEY=VALUE is of that stage of a sweep. "
            if rest := key.partition(".")[2]:
                hint = f"Did you mean {stage}.{rest}, of a sweep? "
        return ConfigError(
            where=f"videomae {verb}",
            came=f"the unknown key {key}",
            expected="a key of the configuration",
            todo=f"{hint}`videomae {verb} --cfg job` shows them all.",
        )
    choice = re.search(
        r"Could not find '(.+?)/([^/']*)'\s+Available options in '[^']+':\s+(.*)", message, re.S
    )
    if "submitit" in (choice[2] if choice else message):
        return ConfigError(
            where="launcher=slurm",
            came="Hydra's submitit launcher is not installed",
            expected="the extra `slurm`, in the environment that the nodes see too",
            todo="Run `make install`, or pip install '.[slurm]' from a clone.",
        )
    if choice:
        return _choice_error(verb, *choice.groups())
    return ConfigError(
        where=f"videomae {verb}",
        came=" ".join(message.split()),
        expected="overrides such as masking.ratio=0.9 or model=base",
        todo=f"`videomae {verb} --help` lists the choices of every group.",
    )


def _stage_meant(key: str) -> str | None:
    """Give the later stage of a sweep whose name a key begins with, but for a slip."""
    begin, _, rest = key.lower().partition(".")
    near = difflib.get_close_matches(begin, LATER, n=1, cutoff=0.8)
    return near[0] if near and (rest or begin in LATER) else None


def _choice_error(verb: str, group: str, chosen: str, available: str) -> ConfigError:
    names = [name for name in available.partition("Config search path")[0].split() if name != "own"]
    if group == "experiment":  # those of other verbs would be refused
        names = [name for name in names if name.startswith(f"{verb}_")]
    near = difflib.get_close_matches(chosen, names, n=_NAMED_CHOICES)
    few = near or names[:_NAMED_CHOICES]
    more = f" and {len(names) - len(few)} more" if len(names) > len(few) else ""
    return ConfigError(
        where=group,
        came=chosen or "nothing",
        expected=f"{', '.join(few)}{more}",
        todo=f"{f'Did you mean {near[0]}? ' if near else ''}`videomae {verb} --help` lists the choices of every group.",
    )


def _known_keys(verb: str) -> list[str]:
    def walk(node: Any, prefix: str) -> list[str]:
        if not isinstance(node, dict):
            return [prefix]
        return [
            key for name, child in node.items() for key in walk(child, f"{prefix}.{name}" if prefix else name)
        ]

    # The caller is inside initialize_config_dir already.
    return walk(OmegaConf.to_container(compose(verb), resolve=False), "")

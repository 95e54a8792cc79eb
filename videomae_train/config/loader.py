"""From Hydra's mapping to a frozen typed configuration, with every problem in one message."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from videomae_train.config.paths import configs_folder
from videomae_train.errors import ConfigError, VideoMAETrainError

Schema = TypeVar("Schema", bound=BaseModel)


def compose_config(verb: str, overrides: Sequence[str]) -> DictConfig:
    """Compose the primary file of a verb with overrides, without Hydra's command line.

    Raises:
        ConfigError: An override names an unknown key or choice, or cannot be parsed.
    """
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        try:
            return compose(verb, list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            # Hydra raises a bare ValueError for a group that was set to null.
            raise _composition_error(verb, overrides, error) from None


def _composition_error(verb: str, overrides: Sequence[str], error: Exception) -> ConfigError:
    message = str(error).strip()
    unknown = re.match(r"Could not override '([^']+)'", message)
    if unknown:
        key = unknown.group(1)
        near = difflib.get_close_matches(key, _known_keys(verb), n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        return ConfigError(
            where=f"videomae {verb} {' '.join(overrides)}",
            came=f"the unknown key {key}",
            expected="a key of the configuration",
            todo=f"{hint}`videomae {verb} --cfg job` shows them all.",
        )
    return ConfigError(
        where=f"videomae {verb} {' '.join(overrides)}",
        came=" ".join(message.split()),
        expected="overrides such as masking.ratio=0.9 or model=base",
        todo=f"`videomae {verb} --help` lists the choices of every group.",
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


def load_config(verb: str, mapping: DictConfig, schema: type[Schema]) -> Schema:
    """Resolve and validate a composed configuration; past this point there is no DictConfig.

    Raises:
        ConfigError: Values are missing, of the wrong type or out of range, or keys are unknown; all are listed.
    """
    missing = sorted(OmegaConf.missing_keys(mapping))
    if missing:
        raise ConfigError(
            where=f"videomae {verb}",
            came=f"no value for {', '.join(missing)}",
            expected="a value for each of them",
            todo=f"Add {' '.join(f'{key}=...' for key in missing)} to the command.",
        )
    try:
        values = OmegaConf.to_container(mapping, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            where=f"videomae {verb}",
            came=" ".join(str(error).split()),
            expected="interpolations that resolve",
            todo="Check the ${...} of your YAML files.",
        ) from None
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _validation_error(verb, error) from None


def _validation_error(verb: str, error: ValidationError) -> ConfigError:
    problems = error.errors()
    if len(problems) == 1:
        where, came, expected = _describe(problems[0])
        return ConfigError(
            where=where,
            came=came,
            expected=expected,
            todo=f"`videomae {verb} --cfg job` shows the whole configuration.",
        )
    lines = "".join(
        f"\n  - {where}: {came}; expected {expected}" for where, came, expected in map(_describe, problems)
    )
    return ConfigError(
        where=f"videomae {verb}",
        came=f"{len(problems)} problems:{lines}\n",
        expected="none",
        todo=f"Correct them all; `videomae {verb} --cfg job` shows the whole configuration.",
    )


def _describe(problem: ErrorDetails) -> tuple[str, str, str]:
    where = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return where, "an unknown key", "only keys that exist"
    if problem["type"] == "missing":
        return where, "nothing", "a value"
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):
        return cause.where, cause.came, f"{cause.expected}. {cause.todo.rstrip('.')}"
    came = "null" if problem["input"] is None else f"{problem['input']}"
    return where, came, problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def run_composed(verb: str, arguments: Sequence[str], action: Callable[[DictConfig], None]) -> None:
    """Run an action under Hydra's command line, so that its flags, output folders and launchers work.

    Args:
        verb: Name of the primary YAML file.
        arguments: What stood behind the verb on the command line.
        action: Called with the composed mapping, once a job.
    """
    command_line = sys.argv

    def job(mapping: DictConfig) -> None:
        # Lightning starts further ranks with this process's command line, which must hold the verb again.
        sys.argv = command_line
        try:
            action(mapping)
        except VideoMAETrainError as error:
            # Raised through Hydra it would become a traceback; carried out, it becomes one message.
            failures.append(error)

    failures: list[VideoMAETrainError] = []
    sys.argv = [command_line[0], *arguments]
    try:
        hydra.main(config_path=str(configs_folder()), config_name=verb, version_base="1.3")(job)()
    finally:
        sys.argv = command_line
    if failures:
        raise failures[0]


def run_folder() -> Path:
    """Return the running job's folder as Hydra decided it, the same on every rank."""
    return Path(HydraConfig.get().runtime.output_dir)

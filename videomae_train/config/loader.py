"""From Hydra's mapping to a frozen typed configuration, with every problem in one message."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from videomae_train.config.composition_errors import composition_error
from videomae_train.config.paths import configs_folder
from videomae_train.config.slurm_queue import follow_jobs_in_queue
from videomae_train.config.submitted import is_submitted, run_submitted
from videomae_train.errors import ConfigError, VideoMAETrainError
from videomae_train.training.starters import ranks_from_outside

_HYDRA_MODES = ("-m", "--multirun", "-r", "--run", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion")


Schema = TypeVar("Schema", bound=BaseModel)


def compose_config(verb: str, overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Compose the primary file of a verb with overrides, without Hydra's command line.

    Args:
        verb: Name of the primary YAML file.
        overrides: As they stand behind the verb.
        with_hydra: Keep Hydra's own settings, at `hydra`.

    Raises:
        ConfigError: An override names an unknown key or choice, a recipe of another verb, or cannot be parsed.
    """
    _check_recipe(verb, overrides)
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        try:
            return compose(verb, list(overrides), return_hydra_config=with_hydra)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            # Hydra raises a bare ValueError for a group that was set to null.
            raise composition_error(verb, error) from None


def _check_recipe(verb: str, overrides: Sequence[str]) -> None:
    """Refuse a recipe of another verb by its name: its keys would be called unknown one by one."""
    names = [word.removeprefix("experiment=") for word in overrides if word.startswith("experiment=")]
    for name in names:
        other = name.partition("_")[0]
        if other in ("pretrain", "finetune") and other != verb:
            raise ConfigError(
                where="experiment",
                came=f"{name} with videomae {verb}",
                expected=f"a recipe of this verb, {verb}_...",
                todo=f"`videomae {other} experiment={name} ...` runs it.",
            )


def load_config(verb: str, mapping: DictConfig, schema: type[Schema]) -> Schema:
    """Resolve and validate a composed configuration; past this point there is no DictConfig.

    Raises:
        ConfigError: Values are missing, of the wrong type or out of range, or keys are unknown; all are listed.
    """
    return validate_config(verb, resolve_config(verb, mapping), schema)


def load_job(verb: str, mapping: DictConfig, schema: type[Schema]) -> Schema:
    """Load as `load_config`, with the running job's folder: ranks started later would name it after their own clock."""
    mapping.run = str(run_folder())
    return load_config(verb, mapping, schema)


def resolve_config(verb: str, mapping: DictConfig) -> dict[str, Any]:
    """Resolve a composed configuration to plain values.

    Raises:
        ConfigError: Values are missing, or interpolations do not resolve.
    """
    missing = sorted(_missing_in(OmegaConf.to_container(mapping, resolve=False)))
    if missing:
        raise ConfigError(
            where=f"videomae {verb}",
            came=f"no value for {', '.join(missing)}",
            expected="a value for each of them",
            todo=f"Add {' '.join(f'{key}=...' for key in missing)} to the command.",
        )
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(mapping, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(
            where=f"videomae {verb}",
            came=" ".join(str(error).split()),
            expected="interpolations that resolve",
            todo="Check the ${...} of your YAML files.",
        ) from None


def _missing_in(values: Any, prefix: str = "") -> Iterator[str]:
    """Name what has no value; OmegaConf's own search breaks at what refers to it, as a sweep's later stages do."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if value == "???":
            yield f"{prefix}{key}"
        else:
            yield from _missing_in(value, f"{prefix}{key}.")


def validate_config(verb: str, values: Any, schema: type[Schema]) -> Schema:
    """Validate plain values.

    Raises:
        ConfigError: As `load_config`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _validation_error(verb, values, error) from None


def _validation_error(verb: str, values: Any, error: ValidationError) -> ConfigError:
    problems = _of_each_key([_describe(problem, values) for problem in error.errors()])
    if len(problems) == 1:
        where, came, expected = problems[0]
        return ConfigError(
            where=where,
            came=came,
            expected=expected,
            todo=f"`videomae {verb} --cfg job` shows the whole configuration.",
        )
    lines = "".join(f"\n  - {where}: {came}; expected {expected}" for where, came, expected in problems)
    return ConfigError(
        where=f"videomae {verb}",
        came=f"{len(problems)} problems:{lines}\n",
        expected="none",
        todo=f"Correct them all; `videomae {verb} --cfg job` shows the whole configuration.",
    )


def _of_each_key(problems: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Join what a value that may be of several kinds fails at: it has to be one of them."""
    expected: dict[tuple[str, str], list[str]] = {}
    for where, came, wanted in problems:
        expected.setdefault((where, came), []).append(wanted)
    return [(where, came, ", or ".join(wanted)) for (where, came), wanted in expected.items()]


def _describe(problem: ErrorDetails, values: Any) -> tuple[str, str, str]:
    where = ".".join(_keys_of(problem["loc"], values)) or "configuration"
    context = problem.get("ctx", {})
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return where, "an unknown key", "only keys that exist"
    if problem["type"] == "missing":
        return where, "nothing", "a value"
    if problem["type"] == "union_tag_invalid":
        named_by = context["discriminator"].strip("'")
        return f"{where}.{named_by}", context["tag"], context["expected_tags"].replace(", ", " or ")
    cause = context.get("error")
    if isinstance(cause, ConfigError):
        return cause.where, cause.came, f"{cause.expected}. {cause.todo.rstrip('.')}"
    came = "null" if problem["input"] is None else f"{problem['input']}" or "nothing"
    if problem["type"] == "path_type":
        return where, came, "a path"
    if problem["type"] == "tuple_type":
        return where, came, "a list, such as [a,b]"
    if problem["type"] == "string_pattern_mismatch":
        return where, came, f"text like {context['pattern']}"
    # What came is said anyhow, and not how it was read.
    said = re.split(", (?:unable to|got a)", problem["msg"])[0]
    return where, came, said.removeprefix("Input should be ").removeprefix("Value error, ")


def _keys_of(location: Sequence[int | str], values: Any) -> list[str]:
    """Give the keys on the way to a value, without the kinds that pydantic tried, which stand among them."""
    keys: list[str] = []
    for part in location:
        if isinstance(values, dict):
            is_choice = part not in values and part in values.values()  # the name of a chosen class
            if is_choice:
                continue
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            values = values[part] if part < len(values) else None
        else:
            continue
        keys.append(str(part))
    return keys


def run_composed(verb: str, arguments: Sequence[str], action: Callable[[DictConfig], None]) -> None:
    """Run an action under Hydra's command line, so that its flags, output folders and launchers work.

    Args:
        verb: Name of the primary YAML file.
        arguments: What stood behind the verb on the command line.
        action: Called with the composed mapping, once a job.

    Raises:
        ConfigError: Two of Hydra's flags exclude each other.
    """
    _check_flags(arguments)
    follow_jobs_in_queue()
    command_line = sys.argv

    def job(mapping: DictConfig) -> None:
        # Lightning starts further ranks with this process's command line, which must hold the verb again.
        sys.argv = command_line
        if is_submitted():
            run_submitted(lambda: action(mapping))
            return
        try:
            action(mapping)
        except VideoMAETrainError as error:
            # Raised through Hydra it would become a traceback; carried out, it becomes one message.
            failures.append(error)

    failures: list[VideoMAETrainError] = []
    sys.argv = [command_line[0], *arguments, *_name_of_sweep_points(arguments)]
    try:
        hydra.main(config_path=str(configs_folder()), config_name=verb, version_base="1.3")(job)()
    finally:
        sys.argv = command_line
    if failures:
        raise failures[0]


def _check_flags(arguments: Sequence[str]) -> None:
    modes = [word for word in arguments if word.partition("=")[0] in _HYDRA_MODES]
    if len(modes) > 1:  # Hydra's own answer is a traceback
        raise ConfigError(
            where=" ".join(modes),
            came=f"{len(modes)} flags",
            expected="one of them: run a sweep, or show a configuration",
            todo=f"Leave out {modes[0]}; with --cfg, give one value for each key.",
        )


def _name_of_sweep_points(arguments: Sequence[str]) -> list[str]:
    """Leave in hydra.job.override_dirname, which names the folder of a job, only what differs between jobs."""
    if arguments and arguments[-1] in ("-i", "--info"):
        return []  # which would take the next word for its own, and runs nothing
    try:
        overrides = OverridesParser.create().parse_overrides([arg for arg in arguments if arg[:1] != "-"])
    except HydraException:
        return []  # Hydra's own command line will say what is wrong
    shared = [override.key_or_group for override in overrides if not override.is_sweep_override()]
    return [f"hydra.job.config.override_dirname.exclude_keys=[{','.join(shared)}]"]


def names_only_a_run(arguments: Sequence[str]) -> bool:
    """Say whether a command line is `run=<folder>` and nothing else: go on with that run as it was."""
    return len(arguments) == 1 and arguments[0].startswith("run=")


def task_overrides() -> list[str]:
    """Return the running job's overrides of our own configuration, without those of Hydra's."""
    return list(HydraConfig.get().overrides.task)


def run_folder() -> Path:
    """Return the running job's folder as Hydra decided it, the same on every rank.

    Raises:
        ConfigError: srun or torchrun started several ranks without a folder.
    """
    config = HydraConfig.get()
    is_given = any(override.startswith("run=") for override in config.overrides.task)
    if not is_given and not is_submitted() and ranks_from_outside() > 1:
        raise ConfigError(
            where="run",
            came="no folder, and each rank would name one after its own clock",
            expected="one folder for all ranks",
            todo="Add run=<folder>.",
        )
    return Path(config.runtime.output_dir)

"""Which YAML file, or the command line, each value of a composed configuration comes from.

Hydra itself says which files it merges, in which order and to which place; this module reads the same files in the same
order and remembers who wrote each value last. A test merges them and compares the outcome with Hydra's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra import initialize_config_dir
from hydra.core.default_element import ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from videomae_train.config.paths import configs_folder

Kind = Literal["default", "group", "recipe", "command line", "derived"]
_RECIPES = "experiment"


@dataclass(frozen=True)
class Origin:
    """Where a value comes from.

    Attributes:
        kind: "default" is the verb's own file, or the code where no file names the value; "derived" follows from other
            values.
        file: The YAML file below configs/; None for the command line, for code and for derived values.
        chosen_by: For a group's file, who picked it: the verb's own defaults list, the recipe, or the command line.
    """

    kind: Kind
    file: str | None = None
    chosen_by: Literal["default", "recipe", "command line"] | None = None


@dataclass(frozen=True)
class Layer:
    """One file's part of a configuration.

    Attributes:
        origin: The file.
        values: What it says, nested as in the whole configuration; without its defaults list.
        package: The dotted key below which it stands there; empty at the top.
    """

    origin: Origin
    values: Mapping[str, Any]
    package: str = ""


class Provenance:
    """Origins by dotted key; the last writer of a key holds it."""

    def __init__(self) -> None:
        self._origins: dict[str, Origin] = {}

    def write(self, key: str, origin: Origin) -> None:
        """Note that `key`, and everything below it, now comes from `origin`."""
        for known in list(self._origins):
            if f"{known}.".startswith(f"{key}.") or key.startswith(f"{known}."):
                del self._origins[known]
        self._origins[key] = origin

    def of(self, key: str) -> Origin:
        """Say where the value of a dotted key comes from: its own writer, that of a part it lies in, or code."""
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            origin = self._origins.get(".".join(parts[:length]))
            if origin is not None:
                return origin
        return Origin("default")


def trace_values(verb: str, overrides: Sequence[str]) -> Provenance:
    """Find where each value of a verb's configuration comes from; for overrides that `compose_config` has accepted."""
    layers, from_command_line = read_layers(verb, overrides)
    provenance = Provenance()
    for layer in layers:
        for key in flatten(layer.values):
            provenance.write(key, layer.origin)
    for key in from_command_line:
        provenance.write(key, Origin("command line"))
    return provenance


def read_layers(verb: str, overrides: Sequence[str]) -> tuple[list[Layer], list[str]]:
    """Read the files that Hydra merges, in its order, and the keys that the command line sets afterwards."""
    plan = _defaults_list(verb, overrides)
    choices = {group: _chooser(choice) for group, choice in plan.overrides.override_metadata.items()}
    layers = [_read_layer(part, choices) for part in plan.defaults if not _is_of_hydra(part)]
    changes: list[Override] = plan.config_overrides
    return layers, [change.key_or_group for change in changes]


def chosen_options(verb: str, overrides: Sequence[str]) -> dict[str, str | None]:
    """List the groups of a verb in its order, with the choice that stands in each; None for nothing."""
    chosen = reversed(_defaults_list(verb, overrides).overrides.known_choices.items())
    return {group: choice for group, choice in chosen if not group.startswith("hydra/")}


def _defaults_list(verb: str, overrides: Sequence[str]) -> Any:
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        return (
            GlobalHydra.instance().config_loader().compute_defaults_list(verb, list(overrides), RunMode.RUN)
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """List the dotted keys of all leaves; a list or an empty mapping is one leaf.

    >>> list(flatten({"optim": {"betas": [0.9, 0.95]}, "seed": 0}))
    ['optim.betas', 'seed']
    """
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{key}.")
        else:
            yield key


def _is_of_hydra(part: ResultDefault) -> bool:
    return f"{part.config_path}/".startswith("hydra/")


def _chooser(choice: Any) -> Literal["default", "recipe", "command line"]:
    if choice.external_override:
        return "command line"
    return "recipe" if str(choice.containing_config_path).startswith(f"{_RECIPES}/") else "default"


def _read_layer(part: ResultDefault, choices: Mapping[str, Any]) -> Layer:
    path = str(part.config_path)
    values: Any = OmegaConf.to_container(OmegaConf.load(configs_folder() / f"{path}.yaml"), resolve=False)
    for name in ("defaults", "hydra"):
        values.pop(name, None)
    package = part.package or ""
    for name in reversed(package.split(".") if package else []):
        values = {name: values}
    group = path.rpartition("/")[0]
    if part.primary:
        return Layer(Origin("default", f"{path}.yaml"), values, package)
    if path.startswith(f"{_RECIPES}/"):
        return Layer(Origin("recipe", f"{path}.yaml"), values, package)
    return Layer(Origin("group", f"{path}.yaml", choices.get(group, "default")), values, package)

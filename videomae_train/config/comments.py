"""What the comments in configs/ say of every value and every choice, for `videomae VERB --help`.

The YAML files are where a user looks values up, so their comments are what explains them: behind a value, or on lines
of their own above it; at the top of a file, what the whole of it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from videomae_train.config.paths import configs_folder
from videomae_train.config.provenance import Layer

# Lines at the top of a file that are commands, or say on which machine, and not what it is.
_COMMANDS = re.compile(r"(@package |On \d+ GPUs?\b|One possible machine:|Then: )")
_NO_CHOICES = frozenset({"sweep/own"})
"""Files that others build upon, and that are nothing by themselves; so are those below `shared` and `published`."""
_EXPLAINED_BY = {"model": ("model/base.yaml",)}
"""Groups whose files have the same keys -> the one that explains them for all."""
_OF_VERBS = ("experiment", "data", "optim")
"""Groups whose choices begin with the name of the verb that they are for; a probe trains as `finetune` does."""


@dataclass(frozen=True)
class Comments:
    """The comments of one YAML file.

    Attributes:
        command: The command that uses it; empty where it names none at its top.
        summary: What the file is, in one sentence; empty where it does not say.
        of_keys: What each dotted key means, as far as the file says; of values and of parts.
    """

    command: str
    summary: str
    of_keys: Mapping[str, str]


def explain_keys(layers: list[Layer]) -> dict[str, str]:
    """Explain the values and parts of a composed configuration: dotted key -> words.

    What a recipe says of its values is said of them alone and left out.

    Args:
        layers: The files that the configuration is composed of, in Hydra's order.
    """
    words: dict[str, str] = {}
    for layer in layers:
        if layer.origin.kind == "recipe" or layer.origin.file is None:
            continue
        for file in (*_EXPLAINED_BY.get(layer.origin.file.partition("/")[0], ()), layer.origin.file):
            for key, said in read_comments(configs_folder() / file).of_keys.items():
                words[f"{layer.package}.{key}" if layer.package else key] = said
    return words


def choices(group: str, verb: str) -> dict[str, str]:
    """List the choices of a group that a verb may take, with what each is: name -> sentence."""
    name = "finetune" if verb == "probe" and group != "experiment" else verb
    return {
        file.stem: read_comments(file).summary
        for file in sorted((configs_folder() / group).glob("*.yaml"))
        if (group not in _OF_VERBS or file.stem.partition("_")[0] == name)
        and f"{group}/{file.stem}" not in _NO_CHOICES
    }


@cache
def read_comments(file: Path) -> Comments:
    """Read the comments of a YAML file whose keys stand one to a line."""
    text = file.read_text()
    lines = text.splitlines()
    num_header = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    root = yaml.compose(text)
    said = dict(_walk(root, lines, num_header)) if isinstance(root, yaml.MappingNode) else {}
    command, summary = _about_file([line[1:].strip() for line in lines[:num_header]])
    return Comments(command, summary, said)


def _walk(
    part: yaml.MappingNode, lines: list[str], first: int, prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for name, value in part.value:
        if not prefix and name.value in ("defaults", "hydra"):
            continue
        key, number = f"{prefix}{name.value}", name.start_mark.line
        end = value.end_mark if value.end_mark.line == number else name.end_mark
        behind = re.search(r"\s#\s*(.*)", lines[number][end.column :])
        if behind:
            yield key, behind.group(1).strip()
        elif above := _above(lines, number, first):
            yield key, above
        if isinstance(value, yaml.MappingNode):
            yield from _walk(value, lines, first, f"{key}.")


def _above(lines: list[str], number: int, first: int) -> str:
    begin = number
    while begin > first and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    return " ".join(line.strip()[1:].strip() for line in lines[begin:number])


def _about_file(header: list[str]) -> tuple[str, str]:
    """Give the command that a file's comment begins with, and the first sentence behind it.

    >>> _about_file(["@package _global_", "videomae probe probe=knn: the k nearest", "videos vote. As DINO"])
    ('videomae probe probe=knn', 'The k nearest videos vote')
    """
    command, words = "", [line for line in header if not _COMMANDS.match(line)]
    if words and words[0].startswith(("videomae ", "make ", "masking/")):
        command, _, words[0] = words[0].partition(": ")
    sentence = re.split(r"(?<!\.)\.(?=\s|$)", " ".join(words).strip(), maxsplit=1)[0]
    return command, sentence[:1].upper() + sentence[1:]

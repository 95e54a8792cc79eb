"""Keys that messages and docstrings name are those of the configuration, so that one can type them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import videomae_train
from videomae_train.config.loader import compose_config

PACKAGE = Path(videomae_train.__file__).parent
COMMANDS = (
    "pretrain", "pretrain data=pretrain_hybrid", "pretrain masking/decode=running_cell",
    "pretrain masking/decode=share", "finetune model=tiny", "evaluate", "probe", "probe probe=knn",
)  # fmt: skip
PARTS = "trainer|optim|data|loader|masking|watch|mix|validation"
# Files of the package, and what follows from the model and cannot be given.
OTHERS = {"data.clip_stream", "masking.split_mask", "data.num_frames", "data.size"}


def keys_below(values: Any, key: str = "") -> set[str]:
    if not isinstance(values, dict):
        return {key}
    return {key}.union(*(keys_below(value, f"{key}.{name}".lstrip(".")) for name, value in values.items()))


def named_keys(file: Path) -> set[str]:
    texts = [node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    pattern = re.compile(rf"(?<![\w./{{}}-])(?:{PARTS})(?:\.[a-z_]+)+\b(?![(/])")
    return {name for text in texts if isinstance(text, str) for name in pattern.findall(text)}


def test_named_keys__exist() -> None:
    known = set(OTHERS)
    for command in COMMANDS:
        verb, *overrides = command.split()
        known |= keys_below(OmegaConf.to_container(compose_config(verb, overrides)))
    named = {file: named_keys(file) for file in PACKAGE.rglob("*.py")}
    assert sum(map(len, named.values())) > 100
    assert {str(file): unknown for file, names in named.items() if (unknown := names - known)} == {}

"""What is written for Hydra's command line is read back as it was."""

import pytest
from omegaconf import OmegaConf

from videomae_train.config.grammar import in_grammar, parsed, quoted

AWKWARD = [
    "with space",
    "it's",
    "a=b,c",
    "{x}",
    "",
    "jürgen",
    "中",
    "back\\slash",
    "end\\",
    "\\'",
    "#1 (2)",
    "s3://x?a=[1]",
]


@pytest.mark.parametrize("text", ["plain/path-1.0", *AWKWARD])
def test_quoted__is_read_back_as_it_was(text: str) -> None:
    (override,) = parsed([f"run={quoted(text)}"])
    assert str(override.value()) == text


@pytest.mark.parametrize("value", [None, True, 1e-6, 3, "a b", [0.9, None, "x,y"], {"a": {"b": ["c d"]}}])
def test_values__are_read_back_as_they_were(value: object) -> None:
    composed = OmegaConf.create({"key": parsed([f"key={in_grammar(value)}"])[0].value()})
    assert OmegaConf.to_container(composed)["key"] == value

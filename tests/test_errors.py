import ast
import doctest
import pickle
import re
from pathlib import Path

import pytest

from videomae_train import errors
from videomae_train.errors import ConfigError, DecodeCause, DecodeError, VideoMAETrainError


def test_errors__read_where_came_expected_todo() -> None:
    error = ConfigError(where="masking.ratio", came="1.5", expected="0 < ratio < 1", todo="Try 0.9.")
    assert str(error) == "masking.ratio: 1.5; expected 0 < ratio < 1. Try 0.9."
    assert error.exit_code == 2


def test_errors__survive_the_way_from_a_loader_worker() -> None:
    error = DecodeError(where="shard-000001.tar, a", cause=DecodeCause.TRUNCATED, came="cut at byte 7")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.cause, copy.exit_code) == (DecodeError, str(error), error.cause, 1)


def test_errors__none_of_the_four_parts_can_be_forgotten() -> None:
    with pytest.raises(TypeError):
        VideoMAETrainError(where="here", came="this", expected="that")  # type: ignore[call-arg]


def test_errors__say_how_and_not_only_that_something_is_to_be_corrected() -> None:
    vague = re.compile(r"(Correct|Change|Choose) (it|them|another|the line)( and start again)?\.")
    texts = [
        (file.name, node.value.value)
        for file in Path(errors.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "todo" and isinstance(node.value, ast.Constant)
    ]
    assert len(texts) > 100
    assert [(name, text) for name, text in texts if vague.fullmatch(text)] == []


def test_documented_examples__hold() -> None:
    assert doctest.testmod(errors).failed == 0

"""Numbers on the command line: what would divide by zero or be no limit at all is refused."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from videomae_train.cli import videomae

# Any number is a seed; a layer may be counted from the last; an encoding checks its own numbers.
UNBOUNDED = {"--seed", "--layer", "--short-side", "--keyframe-interval", "--crf"}


def numbers_of(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Option]]:
    """List the options of a command and those below it that take numbers."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from numbers_of(below, (*words, name))
    for option in command.params:
        if isinstance(option, click.Option) and option.type.name.startswith(("integer", "float")):
            yield " ".join((*words, option.opts[0])), option


def test_every_number__has_a_lowest_value() -> None:
    found = dict(numbers_of(videomae))
    assert len(found) > 30
    without = {
        name
        for name, option in found.items()
        if not (isinstance(option.type, click.IntRange | click.FloatRange) and option.type.min is not None)
    }
    assert {name for name in without if name.split()[-1] not in UNBOUNDED} == set()


def test_nan__is_a_number_of_no_option() -> None:
    floats = [option for _, option in numbers_of(videomae) if option.type.name.startswith("float")]
    assert len(floats) > 5
    for option in floats:
        with pytest.raises(click.BadParameter, match="nan is not in the range"):
            option.type.convert("nan", option, None)


@pytest.mark.parametrize(
    "words",
    [
        "pack SOURCE OUT --timeout-sec 0",
        "pack SOURCE OUT --timeout-sec inf",
        "pack SOURCE OUT --shard-videos 0",
        "pack SOURCE OUT --shard-mib 0",
        "pack SOURCE OUT --processes 0",
        "check SOURCE --stride 0",
        "index SOURCE --timeout-sec 0",
        "predict WEIGHTS VIDEO --timeout-sec 0",
        "features WEIGHTS VIDEO --timeout-sec 0",
        "bench loader SOURCE --videos 0",
        "bench loader SOURCE --rounds 0",
        "bench loader SOURCE --step-ms -1",
    ],
)
def test_no_limit_and_no_number__are_refused(words: str) -> None:
    with pytest.raises(click.BadParameter, match="is not in the range"):
        videomae.main(words.split(), standalone_mode=False)

"""What a sweep's command line and file come to."""

import re
from pathlib import Path

import pytest

from videomae_train.config.grammar import parsed, quoted
from videomae_train.config.paths import configs_folder
from videomae_train.config.sweep import launcher_settings, read_sweep
from videomae_train.config.sweep_request import asks_for_sweep
from videomae_train.errors import ConfigError

SHIPPED = sorted(file.stem for file in (configs_folder() / "sweep").glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "points"),
    [("mask_ratio", 39), ("decoder_depth", 12), ("finetune_lr", 5), ("study", 7), ("study_worth", 2)],
)
def test_shipped_sweeps__have_their_points(name: str, points: int) -> None:
    sweep = read_sweep([f"sweep={name}", "data.path=x"])
    assert len(sweep.points) == points
    assert sweep.options.then == ("finetune", "evaluate")
    assert sweep.folder == Path(f"runs/sweeps/{name}").absolute(), "the same folder when it is started again"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sweeps__compose_in_every_point(name: str) -> None:
    sweep = read_sweep([f"sweep={name}", "data.path=x", "-m", "seed=0"])
    assert sweep.compose(sweep.points[-1]).sweep.at_once == 1


def test_score__is_of_the_set_that_the_classifier_had() -> None:
    words = [
        "-m",
        "data.path=pretraining",
        "finetune.data.path=labelled",
        "seed=0,1",
        "sweep.then=[finetune,evaluate]",
    ]
    base = {"finetune": ["data.path=pretraining"], "evaluate": ["data.path=pretraining", "card=false"]}
    for given, expected in (([], "labelled"), (["evaluate.data.path=other"], "other")):
        sweep = read_sweep([*words, *given])
        assert sweep.later_words("evaluate", sweep.points[0], base)[-1] == f"data.path={expected}"


def test_points__are_named_by_what_differs_and_need_no_quotes() -> None:
    sweep = read_sweep(
        ["-m", "data.path=x", "seed=3", "masking.ratio=0.75,0.9", "optim.betas=[0.9,0.95],[0.9,0.99]"]
    )
    names = [point.name for point in sweep.points]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[\w.+-]+", name) for name in names)
    assert all("seed" not in name for name in names)
    (one,) = read_sweep(["-m", "data.path=x"]).points
    assert one.name == "point"


def test_long_names__stay_short_and_different() -> None:
    long = "a" * 300
    names = [point.name for point in read_sweep(["-m", f"init={long}b,{long}c"]).points]
    assert len(set(names)) == 2
    assert max(map(len, names)) < 140


def test_the_same_point_twice__is_refused() -> None:
    with pytest.raises(ConfigError, match="several points of the same values"):
        read_sweep(["-m", "seed=0,0,1"])


def test_grids__multiply_with_the_command_line() -> None:
    sweep = read_sweep(["sweep=study", "data.path=x", "seed=0,1,2", "finetune.data.per_class=null,2"])
    assert len(sweep.points) == 42
    assert sum(point.is_pretrained for point in sweep.points) == 36
    scratch = next(point for point in sweep.points if not point.is_pretrained)
    assert "model=tiny" in scratch.words("finetune")
    assert all("pretrain=" not in word for word in scratch.words("pretrain"))


@pytest.mark.parametrize(
    ("arguments", "asks"),
    [(["-m", "seed=0,1"], True), (["sweep=study"], True), (["--multirun"], True), (["seed=0"], False),
     (["sweep=study", "--cfg", "job"], False), (["sweep=study", "--cfg=job"], False), (["sweep=null"], False),
     ([], False),     (["-m", "--config-dir", "mine"], True), (["--multi"], True), (["-m", "--info"], False)],
)  # fmt: skip
def test_asks_for_sweep(arguments: list[str], asks: bool) -> None:
    assert asks_for_sweep(arguments) is asks


def test_other_launchers__are_refused() -> None:
    assert launcher_settings(read_sweep(["-m", "data.path=x", "seed=0,1"])) is None
    with pytest.raises(ConfigError, match="launcher=slurm"):
        launcher_settings(read_sweep(["-m", "data.path=x", "hydra/launcher=submitit_local", "seed=0,1"]))


@pytest.mark.parametrize("name", [*SHIPPED])
def test_later_stages__take_values_of_the_pretraining_as_they_are(name: str) -> None:
    """Also null, which as a text would be None, and paths that Hydra would take for something else."""
    for path in ("x", "with space", "it's", "a=b,c", "jürgen", "#1 (2)", "s3://x?a=[1]"):
        sweep = read_sweep([f"sweep={name}", f"data.path={quoted(path)}", "-m", "seed=0"])
        bases = sweep.later_bases(sweep.points[0])
        for word in (each for words in bases.values() for each in words):
            (override,) = parsed([word])
            assert override.value() != "None", word
            assert override.key_or_group != "data.path" or override.value() == path


@pytest.mark.parametrize(
    ("given", "points", "values"),
    [(["seed=0"], 13, {"0"}), (["masking.ratio=0.9"], 9, {"0", "1", "2"}), (["masking=tube"], 15, {"0", "1", "2"}),
     (["masking=frame"], 9, {"0", "1", "2"}), (["-m", "masking=tube,frame"], 24, {"0", "1", "2"}),
     (["-m", "masking=tube,random"], 30, {"0", "1", "2"}), (["-m", "seed=5,6"], 26, {"5", "6"}),
     (["masking=tube", "masking.ratio=0.8", "seed=0"], 1, {"0"})],
)  # fmt: skip
def test_command_line__takes_the_place_of_the_same_key_in_a_grid(
    given: list[str], points: int, values: set[str]
) -> None:
    sweep = read_sweep(["sweep=mask_ratio", "data.path=x", *given])
    assert len(sweep.points) == points
    words = [sweep.pretrain_words(point) for point in sweep.points]
    seeds = [[word.partition("=")[2] for word in own if word.startswith("seed=")] for own in words]
    assert all(len(each) == 1 for each in seeds), "none is given twice"
    assert {each[0] for each in seeds} == values


def test_keys_are_taken_away__in_every_point() -> None:
    taken = ["~data.sets.something", "~finetune.mix"]
    sweep = read_sweep(["-m", "data=pretrain_hybrid", *taken, "seed=0,1", "sweep.then=[finetune]"])
    assert "~data.sets.something" in sweep.pretrain_words(sweep.points[0])
    assert sweep.later_words("finetune", sweep.points[0], {"finetune": []}) == ["~mix"]


@pytest.mark.parametrize("values", ["glob(*)", "interval(0,1)"])
def test_values_that_cannot_be_listed__are_refused(values: str) -> None:
    with pytest.raises(ConfigError, match=r"model=.*0\.75,0\.9"):
        read_sweep(["-m", f"model={values}"])

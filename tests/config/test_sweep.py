"""What a sweep's command line and file come to."""

import json
import re
import shutil
from pathlib import Path

import pytest

from videomae_train.config.grammar import in_grammar, parsed, quoted
from videomae_train.config.paths import configs_folder
from videomae_train.config.sweep import asks_for_sweep, launcher_settings, read_sweep
from videomae_train.config.sweep_plan import SweepPlan, plan_sweep
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, save_weights_folder

TINY = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
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


def test_finetune_lr__pretrains_once(packed_motions: Path) -> None:
    own = [
        "data.selection=split/train",
        "finetune.data.selection=split/train",
        "evaluate.data.selection=split/test",
    ]
    small = ["experiment=pretrain_tiny", "finetune.experiment=finetune_tiny", f"data.path={packed_motions}"]
    batch = [
        "optim.global_batch=4",
        "finetune.optim.global_batch=4",
        "trainer.micro_batch=4",
        "finetune.trainer.micro_batch=4",
    ]
    plan = plan_sweep(read_sweep(["sweep=finetune_lr", *small, *own, *batch]), {})
    assert [[stage.verb for stage in stages] for stages in plan.shared] == [["pretrain"]]
    assert len({planned.stages[1].identity for planned in plan.points}) == 5


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


def test_without_pretraining__fine_tuning_starts_from_weights_that_are_there(
    packed_motions: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    save_weights_folder(
        VideoMAEForPreTraining(VideoMAEConfig(image_size=64, num_frames=8, **TINY)), weights, card=""
    )
    grid = f"sweep.grids=[{{pretrain:null,finetune.weights:{quoted(weights)},finetune.optim.base_lr:[1e-3,2e-3]}}]"
    later = [
        "finetune.data.selection=split/train",
        "evaluate.data.selection=split/test",
        "finetune.optim.steps=2",
    ]
    batch = [
        "finetune.experiment=finetune_tiny",
        "finetune.optim.global_batch=4",
        "finetune.trainer.micro_batch=4",
    ]
    chain = ["sweep.then=[finetune,evaluate]", *later, *batch, "finetune.optim.warmup_steps=1"]
    plan = plan_sweep(read_sweep(["-m", f"data.path={packed_motions}", grid, *chain]), {})
    assert [[stage.verb for stage in planned.stages] for planned in plan.points] == [
        ["finetune", "evaluate"]
    ] * 2
    for planned in plan.points:
        assert [word for word in planned.stages[0].words if word.startswith("weights=")] == [
            f"weights={quoted(weights)}"
        ]


def test_frame_masks_that_hide_as_much__are_one_pretraining(packed_motions: Path) -> None:
    """Of the tiny model's four time slots 0.75 hides three, and so does 0.9; a tube mask has more places."""
    small = [
        "experiment=pretrain_tiny",
        f"data.path={packed_motions}",
        "optim.global_batch=4",
        "trainer.micro_batch=4",
    ]
    for kind, runs in (("frame", 2), ("tube", 3)):
        words = [*small, f"masking={kind}", "masking.ratio=0.5,0.75,0.9"]
        plan = plan_sweep(read_sweep(["-m", *words]), {})
        stages = [planned.stages[0] for planned in plan.points]
        # The last of a key counts: whatever a point asked for, one command trains them, also when points are added.
        ratios = {[word for word in stage.words if word.startswith("masking.ratio=")][-1] for stage in stages}
        assert len({stage.identity for stage in stages}) == len(ratios) == runs, kind


def test_probe__is_a_stage_like_fine_tuning(packed_motions: Path) -> None:
    words = [
        "-m",
        "experiment=pretrain_tiny",
        f"data.path={packed_motions}",
        "optim.global_batch=4",
        "trainer.micro_batch=4",
    ]
    own = [
        "probe.data.selection=split/train",
        "evaluate.data.selection=split/test",
        "probe.optim.global_batch=8",
    ]
    probe = [*own, "probe.trainer.micro_batch=8", "probe.probe=linear,attentive"]
    plan = plan_sweep(read_sweep([*words, *probe, "sweep.then=[probe,evaluate]"]), {})
    assert [[stage.verb for stage in planned.stages] for planned in plan.points] == [
        ["pretrain", "probe", "evaluate"]
    ] * 2
    assert [[stage.verb for stage in stages] for stages in plan.shared] == [["pretrain"]]


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
    with pytest.raises(ConfigError, match="more than one point"):
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
     (["sweep=study", "--cfg", "job"], False), (["sweep=null"], False), ([], False)],
)  # fmt: skip
def test_asks_for_sweep(arguments: list[str], asks: bool) -> None:
    assert asks_for_sweep(arguments) is asks


def test_other_launchers__are_refused() -> None:
    assert launcher_settings(read_sweep(["-m", "data.path=x", "seed=0,1"])) is None
    with pytest.raises(ConfigError, match="launcher=slurm"):
        launcher_settings(read_sweep(["-m", "data.path=x", "hydra/launcher=submitit_local", "seed=0,1"]))


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
    from omegaconf import OmegaConf

    composed = OmegaConf.create({"key": parsed([f"key={in_grammar(value)}"])[0].value()})
    assert OmegaConf.to_container(composed)["key"] == value


@pytest.mark.parametrize("name", [*SHIPPED])
def test_later_stages__take_values_of_the_pretraining_as_they_are(name: str) -> None:
    """Also null, which as a text would be None, and paths that Hydra would take for something else."""
    for path in ("x", *AWKWARD[:4], *AWKWARD[5:]):
        sweep = read_sweep([f"sweep={name}", f"data.path={quoted(path)}", "-m", "seed=0"])
        bases = sweep.later_bases(sweep.points[0])
        for word in (each for words in bases.values() for each in words):
            (override,) = parsed([word])
            assert override.value() != "None", word
            assert override.key_or_group != "data.path" or override.value() == path


@pytest.mark.parametrize(
    ("given", "points", "values"),
    [(["seed=0"], 13, {"0"}), (["masking.ratio=0.9"], 9, {"0", "1", "2"}), (["masking=tube"], 18, {"0", "1", "2"}),
     (["-m", "seed=5,6"], 26, {"5", "6"})],
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
    sweep = read_sweep(["-m", "data=hybrid", *taken, "seed=0,1", "sweep.then=[finetune]"])
    assert "~data.sets.something" in sweep.pretrain_words(sweep.points[0])
    assert sweep.later_words("finetune", sweep.points[0], {"finetune": []}) == ["~mix"]


@pytest.mark.parametrize("values", ["glob(*)", "interval(0,1)"])
def test_values_that_cannot_be_listed__are_refused(values: str) -> None:
    with pytest.raises(ConfigError, match=r"model=.*0\.75,0\.9"):
        read_sweep(["-m", f"model={values}"])


SMALL_CHAIN = [
    "-m", "experiment=pretrain_tiny", "optim.global_batch=4", "trainer.micro_batch=4", "seed=0,1",
    "finetune.experiment=finetune_tiny", "finetune.optim.global_batch=4", "finetune.trainer.micro_batch=4",
    "data.selection=split/train", "finetune.data.selection=split/train", "evaluate.data.selection=split/test",
    "sweep.then=[finetune,evaluate]",
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["sweep.then=[evaluate]"], "no classes"),
        (["evaluate.data.path={other}"], "weights: a model of the classes"),
        (["finetune.data.selection=all", "finetune.data.val_selection=split/test"], "data.val_selection"),
        (["finetune.mix.mixup_alpha=0.8", "finetune.trainer.micro_batch=1"], "even number of clips"),
    ],
)
def test_what_would_fail_after_hours__is_refused_at_once(
    given: list[str], told: str, packed_motions: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(packed_motions, other)
    description = json.loads((other / "dataset.json").read_text())
    description["classes"] = description["classes"][::-1]
    (other / "dataset.json").write_text(json.dumps(description))
    words = [f"data.path={packed_motions}", *SMALL_CHAIN]
    plan_sweep(read_sweep(words), {})
    if given == ["sweep.then=[evaluate]"]:
        words = [word for word in words if "finetune" not in word]
    words += [word.format(other=other) for word in given]
    with pytest.raises(ConfigError, match=told):
        plan_sweep(read_sweep(words), {})


def knn_sweep(data: Path, *more: str) -> SweepPlan:
    words = [
        "-m",
        "experiment=pretrain_tiny",
        f"data.path={data}",
        "optim.global_batch=4",
        "trainer.micro_batch=4",
    ]
    own = ["data.selection=split/train", "probe.data.selection=split/train", *more]
    return plan_sweep(read_sweep([*words, *own]), {})


def test_knn__scores_by_itself_beside_probes_that_train(packed_motions: Path) -> None:
    of_linear = ["sweep.then=[probe,evaluate]", "evaluate.data.selection=split/test"]
    linear = "probe.probe:linear,probe.optim.global_batch:8,probe.trainer.micro_batch:8"
    grid = f"sweep.grids=[{{probe.probe:knn,probe.data.val_selection:split/test}},{{{linear}}}]"
    plan = knn_sweep(packed_motions, *of_linear, grid)
    by_knn, by_linear = (planned.stages for planned in plan.points)
    assert [stage.verb for stage in by_knn] == ["pretrain", "probe"], "it has its score"
    assert [stage.verb for stage in by_linear] == ["pretrain", "probe", "evaluate"]
    assert by_knn[0] == by_linear[0]
    assert "resume=auto" not in by_knn[1].words, "there is nothing to go on with"
    assert "resume=auto" in by_linear[1].words
    assert f"weights={by_knn[0].folder}/weights" in by_knn[1].words


def test_knn__is_told_apart_by_what_decides_its_score(packed_motions: Path) -> None:
    def identity(*more: str) -> str:
        knn = ["sweep.then=[probe]", "probe.probe=knn", "probe.data.val_selection=split/test"]
        return knn_sweep(packed_motions, *knn, *more).points[0].stages[-1].identity

    first = identity()
    assert identity("probe.batch_videos=3", "probe.threads=1", "probe.loader.num_workers=0") == first
    for of_score in ("probe.knn.neighbours=3", "optim.steps=700"):
        assert identity(of_score) != first


def test_knn__has_no_stage_behind_it_and_no_video_twice(packed_motions: Path) -> None:
    knn = ["probe.probe=knn", "probe.data.val_selection=split/test"]
    with pytest.raises(ConfigError, match="it scores by itself"):
        knn_sweep(packed_motions, *knn, "sweep.then=[probe,evaluate]", "evaluate.data.selection=split/test")
    with pytest.raises(ConfigError, match="share 12 videos"):
        knn_sweep(packed_motions, knn[0], "probe.data.val_selection=split/train", "sweep.then=[probe]")

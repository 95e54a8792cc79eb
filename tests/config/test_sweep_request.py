"""What a sweep's command line is refused for, each by its name and before anything is planned."""

from pathlib import Path

import pytest

from videomae_train.config.sweep import read_sweep
from videomae_train.config.sweep_request import asks_for_sweep, of_later_stages
from videomae_train.errors import ConfigError

SCRATCH = "sweep.grids=[{pretrain:null}]"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["run=a,b"], r"^run=a,b: several values.* quoted: 'run=\"a,b\"'"),
        (["sweep.at_once=1,2"], "^sweep.at_once=1,2: several values"),
        (["sweep=own,study"], "^sweep=own,study: several values"),
        (["sweep.then=finetune,evaluate"], r"a list, 'sweep\.then=\[\.\.\.\]'"),
        (["launcher=slurm,null"], "^launcher=slurm,null: several values"),
        (["seed=range(0,0)"], r"^seed=range\(0,0\): no value"),
        (["sweep.grids=[{seed:[]}]"], "^sweep.grids: seed: no value"),
        ([SCRATCH], r"^sweep\.then: \[\], and a point without pretraining"),
        (["hydra.sweeper.params={seed: 1}"], "^hydra.sweeper.params.*Hydra's own sweeps"),
        (["hydra.sweep.dir=b"], "^hydra.sweep.dir=b: a setting of Hydra's own sweeps"),
        (["--config-name", "x"], "^--config-name: a flag that a sweep does not take"),
        (["--config-dir", "nowhere"], "^--config-dir: nowhere; expected a folder"),
        (["--config-dir"], "^--config-dir: nothing; expected a folder"),
        (["sweep.at_once=0"], r"^sweep\.at_once: 0; expected greater than 0"),
        (["sweep.then=finetune"], r"^sweep\.then: finetune; expected a list, such as \[a,b\]"),
        (["sweep.then=[evalute]"], r"^sweep\.then\.0: evalute; expected 'finetune', 'probe' or 'evaluate'"),
        (["finetune.seed=1", "evaluate.data.num_clips=1"], r"Add them: 'sweep\.then=\[finetune,evaluate\]'"),
    ],
)  # fmt: skip
def test_mistakes__are_named(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_sweep(["-m", "data.path=x", *given])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("finetune.weights=w", r"^finetune\.weights: w, where a stage before it trains"),
        ("finetune.weights=v,w", r"^finetune\.weights: v, where a stage before it trains"),
        ("evaluate.weights=w", r"^evaluate\.weights: w, where a stage before it trains"),
        ("evaluate.run=w", r"^evaluate\.run: w; expected nothing"),
        ("finetune.resume=never", r"^finetune\.resume: never; expected nothing"),
    ],
)
def test_what_the_sweep_decides_for_its_runs__is_no_value_of_theirs(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_sweep(["-m", "data.path=x", "sweep.then=[finetune,evaluate]", given])


@pytest.mark.parametrize(
    ("given", "points"),
    [
        (["seed=0,1,2", "seed=3,4"], ["seed-3", "seed-4"]),
        (["seed=0,1,2", "seed=5"], ["point"]),
        (["seed=5", "seed=0,1"], ["seed-0", "seed-1"]),
        (["run=a", "seed=0,1", "run=b"], ["seed-0", "seed-1"]),
        (["sweep=study", "sweep=own", "seed=0,1"], ["seed-0", "seed-1"]),
        (["finetune.seed=7", "seed=0,1", "sweep.then=[]", "sweep.then=[finetune]"], ["seed-0", "seed-1"]),
    ],
)
def test_of_a_key_given_twice__the_last_counts(given: list[str], points: list[str]) -> None:
    sweep = read_sweep(["-m", "data.path=x", *given])
    assert [point.name for point in sweep.points] == points
    assert sweep.folder.name == ("b" if "run=b" in given else "own")
    assert [each.word for each in sweep.shared if each.key == "seed" and each.stage == "pretrain"] == [
        word for word in given[-1:] if word == "seed=5"
    ]


def test_sweep_null_in_the_end__is_none() -> None:
    assert asks_for_sweep(["sweep=null", "sweep=study"])
    assert not asks_for_sweep(["sweep=study", "sweep=null"])


def test_weights_that_are_there__begin_what_has_no_pretraining() -> None:
    chain = ["-m", "data.path=x", "sweep.then=[finetune,evaluate]", SCRATCH]
    assert len(read_sweep([*chain, "finetune.weights=v,w"]).points) == 2
    with pytest.raises(ConfigError, match=r"evaluate\.weights"):
        read_sweep([*chain, "evaluate.weights=w"])


@pytest.mark.parametrize(
    "place", [["--config-dir", "{}"], ["--config-dir={}"], ["hydra.searchpath=['file://{}']"]]
)
def test_recipes_of_ones_own__are_found_by_every_stage(place: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "my configs"
    folder.mkdir()
    place = [each.format(folder) for each in place]
    sweep = read_sweep(["-m", *place, "data.path=x", "seed=0,1", "sweep.then=[finetune]"])
    word = f"hydra.searchpath=['file://{folder}']"
    assert word in sweep.pretrain_words(sweep.points[0])
    assert word in sweep.later_words("finetune", sweep.points[0], {"finetune": []})


def test_showing_a_sweep__leaves_out_what_only_later_stages_know() -> None:
    later = ["finetune.experiment=finetune_tiny", "+evaluate.card=false"]
    shown = ["sweep=study", *later, "optim.steps=3"]
    assert of_later_stages([*shown, "--cfg", "job"]) == later
    assert of_later_stages(shown) == [], "which runs it"
    assert of_later_stages([*later, "--cfg", "job"]) == [], "which are mistakes without a sweep"

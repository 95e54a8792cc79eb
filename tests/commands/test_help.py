"""`videomae VERB --help`: what can be chosen, and what every value means."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from omegaconf import OmegaConf

from videomae_train.commands.hydra_verbs import run_hydra_verb
from videomae_train.config.comments import choices, explain_keys, read_comments
from videomae_train.config.loader import compose_config
from videomae_train.config.paths import configs_folder
from videomae_train.config.provenance import chosen_options, flatten, read_layers
from videomae_train.errors import ConfigError

VERBS = ("pretrain", "finetune", "probe", "evaluate", "reconstruct")


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    run_hydra_verb(verb, [*words, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        *((verb, ()) for verb in VERBS),
        ("pretrain", ("data=pretrain_hybrid", "model=giant", "masking=frame", "masking/decode=share")),
        ("pretrain", ("sweep=study", "launcher=slurm", "masking=random", "masking/decode=running_cell")),
        ("finetune", ("model=tiny", "data=finetune_something", "trainer=ddp", "logger=online")),
        ("probe", ("probe=knn",)),
        ("probe", ("probe=attentive",)),
        ("evaluate", ("data=evaluate_something",)),
    ],
)
def test_every_value__is_explained(verb: str, words: Sequence[str]) -> None:
    values = OmegaConf.to_container(compose_config(verb, words), resolve=False)
    assert isinstance(values, dict)
    explained = explain_keys(read_layers(verb, words)[0])
    assert [
        key for key in flatten({str(key): value for key, value in values.items()}) if not explained.get(key)
    ] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_choice__is_explained_and_can_be_chosen(verb: str) -> None:
    for group in chosen_options(verb, []):
        named = choices(group, verb)
        assert named or group == "optim", group
        assert [name for name, said in named.items() if not re.match(r"[A-Z].{10,}", said)] == [], group
        for name in named if group != "experiment" else ():  # recipes have tests of their own
            compose_config(verb, [f"{group}={name}"])


def test_help_of_a_verb__shows_its_own_recipes_choices_and_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shown(capsys, monkeypatch, "finetune")
    assert "Usage: videomae finetune weights=<folder> data.path=<packed set>" in page
    assert re.search(r"finetune_vitb_ucf101 +ViT-B on UCF101, 100 epochs", page)
    assert re.search(r"finetune \* +Labelled clips", page)
    assert re.search(r"optim\.layer_decay=0\.7 +each block's rate", page)
    assert re.search(r"data\.path=\?\?\? +folder that", page)
    assert not re.search(r"^ +(pretrain_|probe_|evaluate)", page, re.M)


def test_help_with_a_recipe__shows_its_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shown(capsys, monkeypatch, "pretrain", "experiment=pretrain_tiny")
    assert re.search(r"pretrain_tiny \* ", page)
    assert re.search(r"tiny \* ", page)
    # The value is the recipe's, the words are for every recipe.
    assert re.search(r"optim\.base_lr=0\.016 +of 256 videos", page)


def test_help_beside_several_values_of_a_key__leaves_them_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = shown(capsys, monkeypatch, "pretrain", "-m", "masking.ratio=0.5,0.75", "seed=3")
    assert "masking.ratio=0.9 " in page
    assert "seed=3 " in page


def test_help_with_a_mistyped_word__says_so() -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        run_hydra_verb("pretrain", ["masking.ration=0.5", "--help"])


def test_comments__are_those_behind_a_value_or_above_it() -> None:
    said = read_comments(configs_folder() / "evaluate.yaml").of_keys
    assert said["devices"] == "ranks on each node; they share the videos"
    assert said["batch_videos"].startswith("Videos scored at once")
    assert "hydra.job.name" not in said

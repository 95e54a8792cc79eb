from dataclasses import replace
from pathlib import Path

import pytest

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.schema import EvaluateConfig, FinetuneConfig, PretrainConfig
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig

GIVEN = ["data.path=x", "run=somewhere"]


def problems_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config("pretrain", compose_config("pretrain", [*GIVEN, *overrides]), PretrainConfig)
    return str(caught.value)


def test_misspelt_key__is_named_with_the_nearest_right_one() -> None:
    message = problems_of("masking.ration=0.9")
    assert "unknown key masking.ration" in message
    assert "Did you mean masking.ratio?" in message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("finetun.optim.base_lr=1", "Did you mean finetune.optim.base_lr, of a sweep?"),
        ("Evaluate.data.selection=x", "Did you mean evaluate.data.selection, of a sweep?"),
        ("finetune=x", "finetune.KEY=VALUE is of that stage"),
    ],
)
def test_key_of_a_sweeps_later_stage__is_not_taken_for_the_pretrainings(given: str, said: str) -> None:
    assert said in problems_of(given)


def test_other_launchers__are_no_sign_of_a_missing_submitit() -> None:
    message = problems_of("hydra/launcher=joblib")
    assert "joblib" in message
    assert "not installed" not in message


def test_nothing__is_said_to_be_nothing() -> None:
    assert problems_of("masking.ratio=").startswith("masking.ratio: nothing; expected")


def test_unknown_choice__is_named_with_the_choices() -> None:
    message = problems_of("model=enormous")
    assert "enormous" in message
    assert "base" in message


def test_misspelt_recipe__is_named_with_those_of_its_verb() -> None:
    message = problems_of("experiment=pretrain_vitb_k40")
    assert "Did you mean pretrain_vitb_k400?" in message
    assert "finetune" not in message
    assert len(message) < 400


def test_hydras_own_key__is_added_with_a_plus() -> None:
    assert "+hydra.job.exclusive=VALUE" in problems_of("hydra.job.exclusive=true")


def test_trainer_of_a_score__is_named_as_scores_have_it() -> None:
    with pytest.raises(ConfigError, match=r"accelerator=, devices= and num_nodes="):
        compose_config("evaluate", ["trainer.devices=2"])


def test_added_key__is_refused() -> None:
    assert "masking.depth: an unknown key" in problems_of("+masking.depth=1")
    assert "trainer.gpus: an unknown key" in problems_of("+trainer.gpus=1")


def test_ratio_out_of_range__says_what_came_and_what_fits() -> None:
    assert problems_of("masking.ratio=1.5").startswith("masking.ratio: 1.5; expected less than 1")


def test_several_problems__come_in_one_message() -> None:
    message = problems_of("masking.ratio=1.5", "optim.base_lr=-1", "trainer.precision=fp64", "seed=x")
    assert "4 problems" in message
    for key in ("masking.ratio", "optim.base_lr", "trainer.precision", "seed"):
        assert key in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.micro_batch=0.5", "trainer.micro_batch: 0.5; expected a valid integer, or 'auto'."),
        (
            "trainer.compile=maybe",
            "trainer.compile: maybe; expected a valid boolean, or 'max-autotune-no-cudagraphs'.",
        ),
        (
            "watch.reconstruct_every_steps=0",
            "watch.reconstruct_every_steps: 0; expected greater than 0, or 'end'.",
        ),
        ("loader.pin_memory=some", "loader.pin_memory: some; expected a valid boolean, or 'auto'."),
        ("data.path=3", "data.path: 3; expected a valid string, or a path."),
        (
            "masking.decode.name=some",
            "masking.decode.name: some; expected 'all' or 'running_cell' or 'share'.",
        ),
        ("optim.betas=[0.9,x]", "optim.betas.1: x; expected a valid number."),
    ],
)
def test_a_value_of_several_kinds__is_one_problem_by_the_names_that_one_types(
    override: str, message: str
) -> None:
    assert problems_of(override).startswith(message)


@pytest.mark.parametrize(
    ("choice", "change", "where"),
    [
        ("masking/decode=running_cell", "masking.decode.ratio=2", "masking.decode.ratio: 2; "),
        ("masking/decode=running_cell", "~masking.decode.ratio", "masking.decode.ratio: nothing; "),
        ("masking/decode=running_cell", "+masking.decode.depth=1", "masking.decode.depth: an unknown key; "),
        ("masking/decode=share", "masking.decode.share=2", "masking.decode.share: 2; "),
    ],
)
def test_a_chosen_classs_values__are_named_without_its_name(choice: str, change: str, where: str) -> None:
    assert problems_of(choice, change).startswith(where)


def test_frozen_blocks__a_number_or_all() -> None:
    mapping = compose_config("finetune", [*GIVEN, "model=tiny", "frozen_blocks=-1", "seed=-1"])
    with pytest.raises(
        ConfigError, match=r"(?s)2 problems:.*\n  - frozen_blocks: -1; .* equal to 0, or 'all'\n"
    ):
        load_config("finetune", mapping, FinetuneConfig)


def test_missing_values__are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"no value for data\.path"):
        load_config("pretrain", compose_config("pretrain", ["run=somewhere"]), PretrainConfig)


def test_clip_shape__follows_from_the_model_alone() -> None:
    assert "data.num_frames: a value of its own" in problems_of("+data.num_frames=8")


def test_layer_decay__is_of_finetuning_alone() -> None:
    """The pretraining model has no order of layers: the value would be on record and do nothing."""
    assert "optim.layer_decay: 0.7; expected 1.0 in pretraining" in problems_of("optim.layer_decay=0.7")


def test_model_problems__keep_their_own_words() -> None:
    assert "model.hidden_size: 100 is no multiple of num_attention_heads=12" in problems_of(
        "model.hidden_size=100"
    )


@pytest.mark.parametrize("sources", [[], ["weights=a", "model=tiny"]])
def test_finetune__wants_weights_or_a_model(sources: list[str]) -> None:
    with pytest.raises(ConfigError, match="exactly one of them"):
        load_config("finetune", compose_config("finetune", [*GIVEN, *sources]), FinetuneConfig)


def test_clips__are_square_and_a_pair_of_equal_sides_is_one(tmp_path: Path) -> None:
    config = VideoMAEConfig(
        image_size=(32, 48), patch_size=8, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    config.save_pretrained(tmp_path / "wide")
    wide = "frames of 32x48; expected a model of square frames"
    given = ["data.path=x", "run=somewhere", f"weights={tmp_path / 'wide'}"]
    with pytest.raises(ConfigError, match=f"weights: {wide}"):
        load_config("evaluate", compose_config("evaluate", given), EvaluateConfig)
    assert f"model.image_size: {wide}" in problems_of("model.image_size=[32,48]")
    replace(config, image_size=32).save_pretrained(tmp_path / "square")
    record = tmp_path / "square" / "config.json"
    record.write_text(record.read_text().replace('"image_size": 32', '"image_size": [32, 32]'))
    given[-1] = f"weights={tmp_path / 'square'}"
    assert load_config("evaluate", compose_config("evaluate", given), EvaluateConfig).data.size == 32


@pytest.mark.parametrize(
    ("part", "overrides"),
    [
        ("model", ["~model", "data.path=x"]),
        ("model", ["model=null", "data.path=x"]),
        ("masking", ["~masking", "data.path=x"]),
        ("data", ["~data"]),
    ],
)
def test_deleted_part__is_named(part: str, overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=part):
        load_config("pretrain", compose_config("pretrain", ["run=somewhere", *overrides]), PretrainConfig)

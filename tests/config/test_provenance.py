import pytest
from omegaconf import OmegaConf

from videomae_train.config.loader import compose_config
from videomae_train.config.provenance import Origin, Provenance, flatten, read_layers, trace_values

RECIPES = [
    "pretrain_demo", "pretrain_vitb_k400_800e", "pretrain_vitg_hybrid_v2",
    "finetune_demo", "finetune_vitb_ssv2", "finetune_vitb_ucf101_from_k400",
]  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_layers__merged_in_order_are_what_hydra_composes(recipe: str) -> None:
    """Nothing is guessed: the files that origins are read from give the very configuration."""
    verb = recipe.split("_")[0]
    overrides = [f"experiment={recipe}", "trainer=ddp"]
    layers, _ = read_layers(verb, overrides)
    merged = OmegaConf.merge(*[OmegaConf.create(dict(layer.values)) for layer in layers])
    composed = OmegaConf.to_container(compose_config(verb, overrides), resolve=False)
    assert OmegaConf.to_container(merged, resolve=False) == composed


def test_origins__name_default_group_recipe_and_command_line() -> None:
    found = trace_values("pretrain", ["experiment=pretrain_vitl_k400", "trainer=gpu", "optim.base_lr=1e-4"])
    assert found.of("seed") == Origin("default", "pretrain.yaml")
    assert found.of("optim.betas") == Origin("group", "optim/pretrain.yaml", "default")
    assert found.of("model.hidden_size") == Origin("group", "model/large.yaml", "recipe")
    assert found.of("trainer.precision") == Origin("group", "trainer/gpu.yaml", "command line")
    assert found.of("trainer.devices") == Origin("group", "trainer/auto.yaml", "command line")
    assert found.of("optim.global_batch") == Origin("recipe", "experiment/pretrain_vitl_k400.yaml")
    assert found.of("optim.base_lr") == Origin("command line")
    assert found.of("model.layer_norm_eps") == Origin("default")


def test_origins__follow_a_recipe_into_the_one_it_builds_on() -> None:
    found = trace_values("pretrain", ["experiment=pretrain_vitb_k400_800e", "masking/decode=share"])
    assert found.of("optim.epochs") == Origin("recipe", "experiment/pretrain_vitb_k400_800e.yaml")
    assert found.of("optim.global_batch") == Origin("recipe", "experiment/pretrain_vitb_k400.yaml")
    assert found.of("masking.decode.share") == Origin("group", "masking/decode/share.yaml", "command line")


def test_origins__a_group_taken_over_by_the_command_line_is_no_longer_the_recipe_s() -> None:
    found = trace_values("pretrain", ["experiment=pretrain_vitl_k400", "model=small"])
    assert found.of("model.hidden_size") == Origin("group", "model/small.yaml", "command line")


def test_origins__a_whole_part_on_the_command_line_covers_what_lies_in_it() -> None:
    found = trace_values("pretrain", ["model={hidden_size: 384}", "+extra.deep=1"])
    assert found.of("model.hidden_size") == Origin("command line")
    assert found.of("extra.deep") == Origin("command line")
    assert found.of("extra") == Origin("default")


def test_provenance__a_value_in_place_of_a_part_and_back() -> None:
    provenance = Provenance()
    first, second = Origin("default", "a.yaml"), Origin("group", "b.yaml")
    provenance.write("model", first)
    provenance.write("model.width", second)
    assert provenance.of("model.width") == second
    assert provenance.of("model.depth") == Origin("default"), "the null of a.yaml is gone"
    provenance.write("model", first)
    assert provenance.of("model.width") == first


def test_flatten__keeps_lists_and_empty_mappings_whole() -> None:
    assert list(flatten({"a": {"b": [1, 2], "c": {}}, "d": None})) == ["a.b", "a.c", "d"]

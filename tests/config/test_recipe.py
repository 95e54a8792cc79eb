"""What may change when a run goes on, and what may not."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from videomae_train.config.loader import compose_config, load_config
from videomae_train.config.recipe import (
    KINDS,
    RECORD,
    Kind,
    check_unchanged,
    kind_of,
    read_record,
    recipe_changes,
    record_run,
)
from videomae_train.config.schema import FinetuneConfig, PretrainConfig
from videomae_train.errors import ConfigError

FINETUNE = ["model=tiny", "data.selection=split/train", "data.val_selection=split/test"]


def pretraining(run: Path, *overrides: str) -> PretrainConfig:
    mapping = compose_config("pretrain", ["model=tiny", "data.path=x", f"run={run}", *overrides])
    return load_config("pretrain", mapping, PretrainConfig)


def finetuning(run: Path) -> FinetuneConfig:
    mapping = compose_config("finetune", [*FINETUNE, "data.path=x", f"run={run}"])
    return load_config("finetune", mapping, FinetuneConfig)


def probing(run: Path) -> FinetuneConfig:
    mapping = compose_config("probe", [*FINETUNE, "data.path=x", f"run={run}"])
    return load_config("probe", mapping, FinetuneConfig)


def hybrid(run: Path) -> PretrainConfig:
    sets = ["data=pretrain_hybrid", "data.sets.kinetics.path=y", "data.sets.something.path=z"]
    mapping = compose_config("pretrain", ["model=tiny", *sets, f"run={run}"])
    return load_config("pretrain", mapping, PretrainConfig)


def keys_of(values: Any, prefix: str = "") -> set[str]:
    if not isinstance(values, dict) or not values:
        return {prefix}
    return {key for name, part in values.items() for key in keys_of(part, f"{prefix}.{name}".strip("."))}


def test_every_field__is_of_one_kind_and_every_kind_of_some_field(tmp_path: Path) -> None:
    fields = keys_of(finetuning(tmp_path).given())
    for config in (pretraining(tmp_path), hybrid(tmp_path), probing(tmp_path)):
        fields |= keys_of(config.given())
    assert {kind_of(field) for field in fields} == set(Kind)  # raises for one that nobody has thought about
    for entry in KINDS:
        assert any(fnmatch(field, f"{entry}*") for field in fields), f"{entry} is no field"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("trainer.micro_batch", Kind.MACHINE),
        ("trainer.devices", Kind.MACHINE),
        ("loader.num_workers", Kind.MACHINE),
        ("data.path", Kind.MACHINE),
        ("data.sets.kinetics.path", Kind.MACHINE),
        ("data.sets.kinetics.stride", Kind.FIXED),
        ("data.stride", Kind.RECIPE),
        ("optim.epochs", Kind.RECIPE),
        ("optim.weight_decay", Kind.FIXED),
        ("model.hidden_size", Kind.FIXED),
        ("seed", Kind.FIXED),
    ],
)
def test_kinds__go_by_the_longest_entry(key: str, kind: Kind) -> None:
    assert kind_of(key) is kind


@pytest.mark.parametrize("make", [pretraining, finetuning, hybrid])
def test_given_values__give_the_same_configuration_again(make: Any, tmp_path: Path) -> None:
    config = make(tmp_path)
    assert type(config).model_validate(config.given()) == config


def record(config: PretrainConfig) -> Any:
    record_run(config, "pretrain", None, 0)
    return read_record(config.run)


def test_machine__may_change_freely(tmp_path: Path) -> None:
    before = record(pretraining(tmp_path))
    machine = ["trainer=ddp", "trainer.devices=3", "loader.num_workers=9", "logger=disabled", "data.path=y"]
    check_unchanged(pretraining(tmp_path, *machine, "resume=auto"), "pretrain", before)


def test_checkpoints__of_a_gpu_go_by_the_clock_and_some_are_always_due(tmp_path: Path) -> None:
    """Also of a run that began when they went by steps: the machine may change freely."""
    for trainer in ("gpu", "ddp"):
        machine = pretraining(tmp_path, f"trainer={trainer}").trainer
        assert (machine.checkpoint_every_steps, machine.checkpoint_every_minutes) == (None, 15)
    before = record(pretraining(tmp_path, "trainer=gpu", "trainer.checkpoint_every_steps=500"))
    check_unchanged(pretraining(tmp_path, "trainer=gpu", "resume=auto"), "pretrain", before)
    with pytest.raises(ConfigError, match="null for both"):
        pretraining(tmp_path, "trainer=gpu", "trainer.checkpoint_every_minutes=null")


def test_logger__may_change_and_may_be_of_before_it_had_tags(tmp_path: Path) -> None:
    older = pretraining(tmp_path).given()
    for key in ("entity", "group", "tags"):
        del older["logger"][key]
    assert PretrainConfig.model_validate(older) == pretraining(tmp_path)
    before = record(pretraining(tmp_path))
    named = ["logger.entity=team", "logger.group=ratios", "logger.tags=[tube,'0.9']"]
    changed = pretraining(tmp_path, *named)
    assert changed.logger.tags == ("tube", "0.9")
    check_unchanged(changed, "pretrain", before)


def refusal(config: PretrainConfig, before: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_unchanged(config, "pretrain", before)
    return str(caught.value)


def test_recipe__that_changed_is_listed_in_full(tmp_path: Path) -> None:
    before = record(pretraining(tmp_path))
    message = refusal(pretraining(tmp_path, "optim.epochs=1600", "masking.ratio=0.75", "seed=1"), before)
    assert "optim.epochs: 800.0 -> 1600.0" in message
    assert "masking.ratio: 0.9 -> 0.75" in message
    assert "seed: 0 -> 1" in message
    assert "allow_changes=[masking.ratio,optim.epochs]" in message
    assert "Within a run seed cannot change" in message


def test_allowed_changes__pass_and_are_kept_on_record(tmp_path: Path) -> None:
    before = record(pretraining(tmp_path))
    longer = pretraining(tmp_path, "optim.epochs=1600", "allow_changes=[optim.epochs]", "resume=auto")
    check_unchanged(longer, "pretrain", before)
    record_run(longer, "pretrain", before, 500)
    after = read_record(tmp_path)
    assert after is not None
    assert after.changes == [{"after_step": 500, "key": "optim.epochs", "was": 800.0, "now": 1600.0}]
    # The run is the longer one now: the same command goes on without being asked again, the shorter one does not.
    again = pretraining(tmp_path, "optim.epochs=1600")
    check_unchanged(again, "pretrain", after)
    record_run(again, "pretrain", after, 700)
    assert read_record(tmp_path) is not None
    assert len(read_record(tmp_path).changes) == 1  # type: ignore[union-attr]
    assert "1600.0 -> 800.0" in refusal(pretraining(tmp_path), after)


def test_allowed_changes__are_those_named_and_never_the_fixed_ones(tmp_path: Path) -> None:
    before = record(pretraining(tmp_path))
    both = ["optim.epochs=1600", "masking.ratio=0.75", "allow_changes=[optim.epochs]"]
    message = refusal(pretraining(tmp_path, *both), before)
    assert "masking.ratio" in message
    assert "optim.epochs" not in message
    assert "seed" in refusal(pretraining(tmp_path, "seed=1", "allow_changes=[seed]"), before)


def test_other_verb__is_refused(tmp_path: Path) -> None:
    before = record(pretraining(tmp_path))
    with pytest.raises(ConfigError, match="a run of pretrain; expected a run of finetune"):
        check_unchanged(finetuning(tmp_path), "finetune", before)


def test_paths__are_the_same_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    assert record(pretraining(tmp_path)).config["data"]["path"] == str(tmp_path / "x")


def test_lists__are_compared_as_values() -> None:
    changes = recipe_changes({"optim": {"betas": [1, 2]}}, {"optim": {"betas": [1, 3]}})
    assert changes == [("optim.betas", [1, 2], [1, 3])]


def test_record__that_is_damaged_is_named(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    (tmp_path / RECORD).write_text("{}")
    with pytest.raises(ConfigError, match="no record of a run"):
        read_record(tmp_path)

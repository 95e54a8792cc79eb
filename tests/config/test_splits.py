"""One command for several splits: a configuration for each, checked before the first is scored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from videomae_train.config.loader import compose_config, resolve_config
from videomae_train.config.places import quote_places
from videomae_train.config.splits import split_configs
from videomae_train.errors import ConfigError
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, save_weights_folder

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    config = VideoMAEConfig(
        image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=48,
    ).with_labels({0: "a", 1: "b"})  # fmt: skip
    for split in (1, 3):
        save_weights_folder(
            VideoMAEForVideoClassification(config), tmp_path / f"of {split}" / "weights", card="# x"
        )
    return tmp_path


@pytest.fixture
def values(runs: Path) -> Values:
    def compose(*overrides: str) -> dict[str, Any]:
        weights = f"weights={runs}/of {{split}}/weights"
        given = quote_places([weights, "data.path=x", "run=scores", *overrides])
        return resolve_config("evaluate", compose_config("evaluate", given))

    return compose


def test_splits__each_have_their_weights_selection_and_folder(values: Values, runs: Path) -> None:
    configs = split_configs(values("splits=[1,3]"))
    assert configs is not None
    assert list(configs) == ["1", "3"]
    for split, config in configs.items():
        assert config.weights == runs / f"of {split}" / "weights"
        assert config.data.selection == f"split{split}/test"
        assert config.run == Path(f"scores/split{split}")
        assert config.data.num_frames == 4


@pytest.mark.parametrize(
    ("selection", "expected"), [("split2/val", "split3/val"), ("fold{split}/test", "fold3/test")]
)
def test_selection__follows_the_split(values: Values, selection: str, expected: str) -> None:
    configs = split_configs(values("splits=[3]", f"data.selection={selection}"))
    assert configs is not None
    assert configs["3"].data.selection == expected


def test_no_splits__is_one_evaluation(values: Values) -> None:
    assert split_configs(values()) is None


def test_missing_weights__are_all_named(values: Values, runs: Path) -> None:
    (runs / "of 4" / "checkpoints").mkdir(parents=True)
    (runs / "of 4" / "checkpoints" / "step-00000001.ckpt").touch()
    with pytest.raises(ConfigError) as caught:
        split_configs(values("splits=[1,2,3,4,5]", f"weights={runs}/of {{split}}"))
    message = str(caught.value)
    assert "3 of 5 splits cannot be scored" in message
    assert all(f"split {split}: {runs}/of {split}" in message for split in (2, 4, 5))
    assert "split 1:" not in message
    assert "a run without a weights folder" in message


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["splits=[1,3]", "weights=x"], "weights"),
        (["splits=[1,3]", "data.selection=all"], "data.selection"),
        (["splits=[1,1]"], "splits"),
        (["splits=[]"], "splits"),
        (["splits=2"], "splits"),
    ],
)
def test_requests__that_cannot_be_meant_are_refused(values: Values, overrides: list[str], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_configs(values(*overrides))
    assert caught.value.where == where


def test_quotes__are_for_values_with_a_place_only() -> None:
    given = ["weights=a{split}", "weights='a{split}'", 'weights="a{split}"', "splits=[1]", "data.path=x"]
    assert quote_places(given) == ["weights='a{split}'", *given[1:]]

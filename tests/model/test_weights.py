"""Weights folders: written whole, read with every tensor accounted for, refused for every planted fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from small_models import random_clips, shake
from torch import Tensor

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model import (
    Fate,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    classifier_from_pretrained,
    folders,
    load_classifier,
    load_pretraining_model,
    pretraining_from_pretrained,
    read_config,
    save_weights_folder,
)

State = dict[str, Tensor]
BLOCK = "videomae.encoder.layer.1"


@pytest.fixture
def pretrained(config: VideoMAEConfig, tmp_path: Path) -> Path:
    """A weights folder of a pretraining model."""
    model = VideoMAEForPreTraining(config)
    shake(model)
    save_weights_folder(model, tmp_path / "pretrained", card="# Card")
    return tmp_path / "pretrained"


def edit(folder: Path, change: Callable[[State], object]) -> None:
    """Change a folder's tensors."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")


def test_folder__holds_the_four_files_and_gives_the_same_model_back(pretrained: Path) -> None:
    names = {path.name for path in pretrained.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    assert (pretrained / "README.md").read_text() == "# Card"
    model, again = load_pretraining_model(pretrained), load_pretraining_model(pretrained)
    save_weights_folder(again, pretrained, card="")
    for name, tensor in load_pretraining_model(pretrained).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize("kind", ["joint", "cross"])
def test_cross_decoder_and_resampled_positions__survive_the_folder(
    config: VideoMAEConfig, tmp_path: Path, kind: str
) -> None:
    model = VideoMAEForPreTraining(replace(config, decoder_kind=kind, position_grid=(2, 2, 2)))
    shake(model)
    model.save_pretrained(tmp_path / "w")
    again = VideoMAEForPreTraining.from_pretrained(tmp_path / "w")
    assert again.config == model.config
    assert torch.equal(again.encoder.positions, model.encoder.positions)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    # transformers would compute another function of these weights, so it must not even start.
    with pytest.raises(ValueError, match="videomae_train"):
        transformers.AutoModel.from_pretrained(tmp_path / "w")


FAULTS: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda s: s.pop(f"{BLOCK}.layernorm_before.weight"), "blocks.1.norm1.weight is missing"),
    "missing key rows": (lambda s: s.pop(f"{BLOCK}.attention.attention.key.weight"), "qkv.weight is missing"),
    "missing bias": (lambda s: s.pop(f"{BLOCK}.attention.attention.v_bias"), "v_bias is missing"),
    "extra": (lambda s: s.update(cls_token=torch.zeros(3)), "cls_token has no place"),
    "extra block": (
        lambda s: s.update({"videomae.encoder.layer.3.layernorm_before.weight": torch.ones(48)}),
        "blocks.3.norm1.weight has no place",
    ),
    "renamed": (
        lambda s: s.update({f"{BLOCK}.layernorm_avant.bias": s.pop(f"{BLOCK}.layernorm_before.bias")}),
        "norm1.bias is missing",
    ),
    "transposed": (
        lambda s: s.update({"encoder_to_decoder.weight": s["encoder_to_decoder.weight"].T}),
        r"encoder_to_decoder.weight is \(48, 24\), not \(24, 48\)",
    ),
    "other width": (lambda s: s.update(mask_token=torch.zeros(1, 1, 25)), "mask_token is"),
    "not a number": (lambda s: s["mask_token"].fill_(torch.nan), "mask_token holds NaN"),
    "misnamed decoder": (
        lambda s: s.update({"decoder.layers.0.norm": s.pop("decoder.norm.weight")}),
        "decoder.norm.weight is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults__are_refused_by_name(pretrained: Path, fault: str) -> None:
    change, named = FAULTS[fault]
    edit(pretrained, change)
    with pytest.raises(CheckpointError, match=named):
        load_pretraining_model(pretrained)


@pytest.mark.parametrize(
    "fault", sorted(set(FAULTS) - {"transposed", "other width", "misnamed decoder", "not a number"})
)
def test_planted_faults__are_refused_when_fine_tuning_too(pretrained: Path, fault: str) -> None:
    change, named = FAULTS[fault]
    edit(pretrained, change)
    with pytest.raises(CheckpointError, match=named):
        classifier_from_pretrained(pretrained, read_config(pretrained).with_labels(3))


def test_a_fault_allowed_by_name__is_reported_as_fresh_or_dropped(pretrained: Path) -> None:
    edit(pretrained, lambda s: (s.pop("mask_token"), s.update(cls_token=torch.zeros(3))))
    with pytest.raises(CheckpointError, match="2 tensors do not fit"):
        VideoMAEForPreTraining.from_pretrained(pretrained)
    with pytest.raises(CheckpointError, match="cls_token"):
        VideoMAEForPreTraining.from_pretrained(pretrained, allow=["mask_token"])
    VideoMAEForPreTraining.from_pretrained(pretrained, allow=["mask_token", "cls_token"])


def test_refusal__leaves_the_model_untouched(config: VideoMAEConfig) -> None:
    from videomae_train.model.audit import place_weights

    model, other = VideoMAEForPreTraining(config), VideoMAEForPreTraining(config).state_dict()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    del other["mask_token"]
    with pytest.raises(CheckpointError, match="mask_token"):
        place_weights(model, other, source="test", drop={}, fresh={})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_fine_tuning__places_the_encoder_and_accounts_for_the_rest(pretrained: Path) -> None:
    source = load_pretraining_model(pretrained)
    wanted = replace(read_config(pretrained), drop_path_rate=0.1).with_labels(3)
    model, report = classifier_from_pretrained(pretrained, wanted)
    assert model.config == wanted
    theirs, ours = source.encoder.state_dict(), model.encoder.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert set(report.names(Fate.FRESH)) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    fates = [*report.names(Fate.PLACED), *report.names(Fate.DROPPED)]
    assert sorted(fates) == sorted(source.state_dict())
    assert not report.suspicious
    for row in ("placed", "dropped", "encoder.norm", "fresh", "head"):
        assert row in report.table()


def test_fine_tuning__from_a_classifier_keeps_the_head_of_the_same_classes(
    config: VideoMAEConfig, tmp_path: Path
) -> None:
    first = VideoMAEForVideoClassification(config.with_labels({0: "a", 1: "b"}))
    shake(first)
    first.save_pretrained(tmp_path / "w")
    same, report = classifier_from_pretrained(tmp_path / "w", config.with_labels({0: "a", 1: "b"}))
    assert torch.equal(same.head.weight, first.head.weight)
    assert report.names(Fate.FRESH) == ()
    other, report = classifier_from_pretrained(tmp_path / "w", config.with_labels({0: "b", 1: "a"}))
    assert not torch.equal(other.head.weight, first.head.weight)
    assert set(report.names(Fate.FRESH)) == {"head.weight", "head.bias"}
    assert torch.equal(other.fc_norm.weight, first.fc_norm.weight)


def test_fine_tuning__on_other_clips_resamples_the_trained_positions(pretrained: Path) -> None:
    config = read_config(pretrained)
    longer = replace(config, num_frames=8, image_size=64).with_labels(3)
    model, _ = classifier_from_pretrained(pretrained, longer)
    assert model.config.trained_grid == config.grid
    assert model.classify(random_clips(longer)).shape == (2, 3)


def test_fine_tuning__with_another_encoder_is_refused(pretrained: Path) -> None:
    config = read_config(pretrained).with_labels(3)
    with pytest.raises(ConfigError, match="num_attention_heads 2"):
        classifier_from_pretrained(pretrained, replace(config, num_attention_heads=2))


def test_pretraining_goes_on__from_every_tensor(pretrained: Path) -> None:
    theirs = load_pretraining_model(pretrained)
    wanted = replace(read_config(pretrained), norm_pix_loss=False)
    model, report = pretraining_from_pretrained(pretrained, wanted)
    assert model.training
    assert not model.config.norm_pix_loss  # what is predicted is the recipe's choice
    assert set(report.names(Fate.PLACED)) == set(theirs.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_pretraining_goes_on__on_longer_clips_with_resampled_positions(pretrained: Path) -> None:
    config = read_config(pretrained)
    model, _ = pretraining_from_pretrained(pretrained, replace(config, num_frames=8))
    assert model.config.trained_grid == config.grid


@pytest.mark.parametrize(
    "change", [{"hidden_size": 96}, {"decoder_num_hidden_layers": 1}, {"decoder_kind": "cross"}]
)
def test_pretraining_goes_on__not_in_another_architecture(pretrained: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"model: {next(iter(change))}"):
        pretraining_from_pretrained(pretrained, replace(read_config(pretrained), **change))


def test_pretraining_goes_on__not_from_a_classifier(config: VideoMAEConfig, tmp_path: Path) -> None:
    VideoMAEForVideoClassification(config.with_labels(3)).save_pretrained(tmp_path / "c")
    with pytest.raises(CheckpointError, match="expected a VideoMAEForPreTraining"):
        pretraining_from_pretrained(tmp_path / "c", config)


def test_bare_encoder__comes_from_every_class(
    config: VideoMAEConfig, pretrained: Path, tmp_path: Path
) -> None:
    classifier = VideoMAEForVideoClassification(config.with_labels(3))
    shake(classifier)
    classifier.save_pretrained(tmp_path / "c")
    pixels = torch.randn(1, 4, 3, 32, 48)
    for folder in (pretrained, tmp_path / "c"):
        bare = VideoMAEModel.from_pretrained(folder)
        theirs = transformers.VideoMAEModel.from_pretrained(folder).eval()
        mine, yours = bare(pixels).last_hidden_state, theirs(pixels).last_hidden_state
        assert (mine - yours).abs().max() < 1e-5
        bare.save_pretrained(tmp_path / f"bare_{folder.name}")
        again = VideoMAEModel.from_pretrained(tmp_path / f"bare_{folder.name}")
        assert torch.equal(again(pixels).last_hidden_state, mine)


def test_zero_query_and_value_biases__are_reported_as_suspicious(
    pretrained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit(pretrained, lambda s: [t.zero_() for n, t in s.items() if n.endswith(("q_bias", "v_bias"))])
    _, report = classifier_from_pretrained(pretrained, read_config(pretrained).with_labels(3))
    assert "biases are zero" in report.table()
    caplog.clear()
    load_pretraining_model(pretrained)
    assert "biases are zero" in caplog.text


@pytest.mark.parametrize("style", ["query.bias", "fused", "bare", "bin"])
def test_other_layouts_of_transformers__give_the_same_tensors(pretrained: Path, style: str) -> None:
    before = VideoMAEModel.from_pretrained(pretrained).state_dict()
    if style == "query.bias":
        rename(pretrained, lambda name: name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"))
    if style == "fused":
        edit(pretrained, fuse)
    if style == "bare":
        edit(pretrained, lambda s: [s.pop(name) for name in list(s) if not name.startswith("videomae.")])
        rename(pretrained, lambda name: name.removeprefix("videomae."))
        edit_config(pretrained, architectures=["VideoMAEModel"])
    if style == "bin":
        torch.save(load_file(pretrained / "model.safetensors"), pretrained / "pytorch_model.bin")
        (pretrained / "model.safetensors").unlink()
    after = VideoMAEModel.from_pretrained(pretrained).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def rename(folder: Path, new: Callable[[str], str]) -> None:
    """Rename a folder's tensors."""
    edit(folder, lambda s: [s.update({new(name): s.pop(name)}) for name in list(s)])


def fuse(state: State) -> None:
    """Store query, key and value as one weight."""
    for name in [name for name in state if name.endswith("query.weight")]:
        parts = [state.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        state[name.replace("query", "qkv")] = torch.cat(parts)


def edit_config(folder: Path, **changes: object) -> None:
    """Change a folder's config.json."""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | changes))


def test_sharded_folder__is_read_whole(pretrained: Path) -> None:
    before = load_pretraining_model(pretrained).state_dict()
    state = load_file(pretrained / "model.safetensors")
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: state[name] for name in held}, pretrained / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (pretrained / "model.safetensors.index.json").write_text(json.dumps(index))
    (pretrained / "model.safetensors").unlink()
    after = load_pretraining_model(pretrained).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_run_folder__is_its_weights(pretrained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    pretrained.rename(run / "weights")
    assert load_pretraining_model(run).config == load_pretraining_model(run / "weights").config


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_damaged_or_missing_files__are_refused(pretrained: Path, file: str) -> None:
    contents = (pretrained / file).read_bytes()
    (pretrained / file).write_bytes(contents[: len(contents) // 2])
    with pytest.raises(CheckpointError, match=file):
        load_pretraining_model(pretrained)
    (pretrained / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        load_pretraining_model(pretrained)


def test_wrong_class_and_wrong_path__are_refused(pretrained: Path) -> None:
    with pytest.raises(CheckpointError, match="VideoMAEForPreTraining"):
        load_classifier(pretrained)
    with pytest.raises(CheckpointError, match="no such file or folder"):
        load_classifier(pretrained / "absent")


def test_saving__never_replaces_foreign_files_and_leaves_no_litter(pretrained: Path) -> None:
    model = load_pretraining_model(pretrained)
    (pretrained / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        save_weights_folder(model, pretrained, card="")
    assert [path.name for path in pretrained.parent.iterdir()] == ["pretrained"]


def test_saving__interrupted_while_writing_leaves_the_old_folder(
    pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_pretraining_model(pretrained)
    before = (pretrained / "model.safetensors").read_bytes()
    shake(model)

    def full_disk(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(folders.os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_weights_folder(model, pretrained, card="")
    assert (pretrained / "model.safetensors").read_bytes() == before
    assert [path.name for path in pretrained.parent.iterdir()] == ["pretrained"]


def test_configuration__travels_alone_too(config: VideoMAEConfig, pretrained: Path, tmp_path: Path) -> None:
    assert VideoMAEConfig.from_pretrained(pretrained) == config
    (pretrained / "model.safetensors").unlink()
    assert read_config(pretrained) == config
    changed = replace(config, use_mean_pooling=False, encoder_norm=False, decoder_norm_eps=1e-7)
    changed.save_pretrained(tmp_path / "alone")
    assert VideoMAEConfig.from_pretrained(tmp_path / "alone") == changed
    assert transformers.VideoMAEConfig.from_pretrained(tmp_path / "alone").hidden_size == config.hidden_size


def test_published_epsilons__in_transformers_shift_logits_by_less_than_1e_4(pretrained: Path) -> None:
    """transformers hard-wires 1e-5 in the decoder's norm, so our models get other digits there."""
    ours, theirs = (
        load_pretraining_model(pretrained),
        transformers.VideoMAEForPreTraining.from_pretrained(pretrained),
    )
    pixels, mask = torch.randn(2, 4, 3, 32, 48), torch.arange(48).expand(2, 48) % 4 > 0
    difference = (ours(pixels, mask).logits - theirs(pixels, bool_masked_pos=mask).logits).abs().max()
    assert 0 < difference < 1e-4

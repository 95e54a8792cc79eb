"""Where weights come from, beside folders of transformers: VideoMAE V2's hub folders, single files, older pickles."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import random_clips, shake
from torch import Tensor
from torch.nn import functional as F

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    VideoMAEModel,
    config_record,
    normalise_clips,
    read_config,
    sources,
)
from videomae_train.model.inference import infer_config
from videomae_train.model.official import read_official
from videomae_train.model.placing import classifier_config, place_classifier
from videomae_train.model.positions import sincos_table
from videomae_train.model.sources import open_source

# What a VideoMAE V2 folder says of its encoder, with the sizes of the test model.
V2_ARGUMENTS: dict[str, object] = {
    "img_size": 32, "patch_size": 8, "in_chans": 3, "num_classes": 0, "embed_dim": 48, "depth": 3,
    "num_heads": 4, "mlp_ratio": 2, "qkv_bias": True, "qk_scale": None, "drop_rate": 0.0, "attn_drop_rate": 0.0,
    "drop_path_rate": 0.0, "norm_layer": "nn.LayerNorm", "layer_norm_eps": 1e-6, "init_values": 0.0,
    "use_learnable_pos_emb": False, "tubelet_size": 2, "use_mean_pooling": True, "with_cp": False,
    "num_frames": 4, "cos_attn": False,
}  # fmt: skip


@pytest.fixture
def square(config: VideoMAEConfig) -> VideoMAEConfig:
    return replace(config, image_size=32)


@pytest.fixture
def v2(square: VideoMAEConfig, tmp_path: Path) -> Path:
    """A hub folder of VideoMAE V2: an encoder with its pooling norm, remote code, nested arguments."""
    model = VideoMAEForVideoClassification(square)
    shake(model)
    folder = tmp_path / "v2"
    folder.mkdir()
    names = {name: f"model.{name.removeprefix('encoder.')}" for name in model.state_dict()}
    save_file(
        {names[name]: tensor for name, tensor in model.state_dict().items()}, folder / "model.safetensors"
    )
    write_v2_config(folder, V2_ARGUMENTS)
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    return folder


def write_v2_config(folder: Path, arguments: dict[str, object]) -> None:
    values = {
        "model_type": "VideoMAEv2_Base",
        "architectures": ["VideoMAEv2_Base"],
        "auto_map": {"AutoModel": "modeling_videomaev2.VideoMAEv2"},
        "model_config": arguments,
    }
    (folder / "config.json").write_text(json.dumps(values))


def v2_features(state: dict[str, Tensor], clips: Tensor) -> Tensor:
    """Section 1 of the published description on clips (B, C, T, H, W), written out; pooled features (B, D)."""
    x = F.conv3d(clips, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=(2, 8, 8))
    x = x.flatten(2).transpose(1, 2)
    x = x + sincos_table(x.shape[1], 48)
    for i in range(3):
        p = {name.removeprefix(f"blocks.{i}."): tensor for name, tensor in state.items()}
        h = F.layer_norm(x, (48,), p["norm1.weight"], p["norm1.bias"], eps=1e-6)
        bias = torch.cat((p["attn.q_bias"], torch.zeros(48), p["attn.v_bias"]))
        q, k, v = F.linear(h, p["attn.qkv.weight"], bias).view(len(h), -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
        weights = (q * 12**-0.5 @ k.transpose(-1, -2)).softmax(-1)
        h = (weights @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(h, p["attn.proj.weight"], p["attn.proj.bias"])
        h = F.layer_norm(x, (48,), p["norm2.weight"], p["norm2.bias"], eps=1e-6)
        h = F.gelu(F.linear(h, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
        x = x + F.linear(h, p["mlp.fc2.weight"], p["mlp.fc2.bias"])
    return F.layer_norm(x.mean(1), (48,), state["fc_norm.weight"], state["fc_norm.bias"], eps=1e-6)


def test_v2_folder__gives_its_features(v2: Path, tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification.from_pretrained(v2)
    assert model.num_classes == 0
    assert model.config.image_mean == (0.1, 0.2, 0.3)
    state = {name.removeprefix("encoder."): tensor for name, tensor in model.state_dict().items()}
    theirs = torch.randn(2, 3, 4, 32, 32)
    expected = v2_features(state, theirs)
    assert (model(theirs.transpose(1, 2)).logits - expected).abs().max() < 1e-5
    model.save_pretrained(tmp_path / "ours")
    again = VideoMAEForVideoClassification.from_pretrained(tmp_path / "ours")
    assert again.config == model.config
    assert torch.equal(again(theirs.transpose(1, 2)).logits, model(theirs.transpose(1, 2)).logits)
    bare = VideoMAEModel.from_pretrained(v2)
    pooled = bare(theirs.transpose(1, 2)).last_hidden_state.mean(1)
    assert (model.fc_norm(pooled) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"cos_attn": True}, "cos_attn=True"),
        ({"use_learnable_pos_emb": True}, "use_learnable_pos_emb=True"),
        ({"init_values": 0.1}, "init_values=0.1"),
        ({"qk_scale": 0.5}, r"qk_scale=0\.5"),
        ({"rotary": True}, "the unknown key rotary"),
        ({"depth": 2}, r"blocks\.2\.attn\.proj\.bias has no place"),
    ],
)
def test_v2_folder__that_computes_something_else_is_refused_by_name(
    v2: Path, changed: dict[str, object], named: str
) -> None:
    write_v2_config(v2, V2_ARGUMENTS | changed)
    with pytest.raises(CheckpointError, match=named):
        VideoMAEModel.from_pretrained(v2)


def test_cosine_attention__in_a_file_is_refused_by_its_tensor(square: VideoMAEConfig, tmp_path: Path) -> None:
    model = VideoMAEForVideoClassification(square.with_labels(2))
    state = {name.removeprefix("encoder."): tensor for name, tensor in model.state_dict().items()}
    torch.save({"module": state | {"blocks.0.attn.scale": torch.zeros(4, 1, 1)}}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn\.scale has no place"):
        VideoMAEForVideoClassification.from_pretrained(tmp_path / "file.pth", config=square.with_labels(2))


def test_encoder_only_file__under_module_starts_a_classifier(square: VideoMAEConfig, tmp_path: Path) -> None:
    """The published ViT-H pretraining file is said to be one: encoder names, key `module`, half precision."""
    pretrained = VideoMAEForPreTraining(square)
    state = {n: t.half() for n, t in pretrained.state_dict().items() if n.startswith("encoder.")}
    torch.save({"module": state}, tmp_path / "file.pth")
    opened = open_source(tmp_path / "file.pth", config=square)
    config = classifier_config(opened, square.with_labels(3))
    model = VideoMAEForVideoClassification(config)
    place_classifier(model, opened, config)
    name = "encoder.blocks.2.mlp.fc1.weight"
    assert torch.equal(model.state_dict()[name], pretrained.state_dict()[name].half().float())


def test_encoder_only_file__tells_by_its_tensors_to_pool_by_mean() -> None:
    """Its final norm is the pretraining encoder's, not a classifier's of the first token."""
    small = VideoMAEConfig(
        hidden_size=384, num_attention_heads=6, num_hidden_layers=1, image_size=32, num_frames=4,
        decoder_hidden_size=192, decoder_num_attention_heads=3, decoder_num_hidden_layers=1,
    )  # fmt: skip
    state = VideoMAEForPreTraining(small).state_dict()
    encoder = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    assert infer_config(encoder, where="file.pth").use_mean_pooling
    first_token = VideoMAEForVideoClassification(replace(small, use_mean_pooling=False, num_labels=2))
    assert not infer_config(first_token.state_dict(), where="file.pth").use_mean_pooling


def test_checkpoint_of_a_run__tells_its_own_configuration(square: VideoMAEConfig, tmp_path: Path) -> None:
    trained = VideoMAEForPreTraining(replace(square, decoder_kind="cross", norm_pix_loss=False))
    contents = {
        "state_dict": {f"model.{name}": tensor for name, tensor in trained.state_dict().items()},
        "config": config_record(trained),
        "optimizer_states": [],
    }
    torch.save(contents, tmp_path / "step.ckpt")
    again = VideoMAEForPreTraining.from_pretrained(tmp_path / "step.ckpt")
    assert again.config == trained.config == read_config(tmp_path / "step.ckpt")
    assert torch.equal(again.mask_token, trained.mask_token)
    torch.save({"state_dict": contents["state_dict"]}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="--config FOLDER"):
        VideoMAEForPreTraining.from_pretrained(tmp_path / "foreign.ckpt")
    VideoMAEForPreTraining.from_pretrained(tmp_path / "foreign.ckpt", config=trained.config)


def test_configuration_of_a_file__is_read_once_until_the_file_is_another(
    square: VideoMAEConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of gigabytes of tensors, which every rank asks for the shape of clips and the like."""
    opened: list[Path] = []

    def reading(path: Path, **options: Any) -> object:
        opened.append(path)
        return read_official(path, **options)

    monkeypatch.setattr(sources, "read_official", reading)
    file = tmp_path / "step.ckpt"
    for number, config in enumerate((square, replace(square, num_hidden_layers=1))):
        model = VideoMAEForPreTraining(config)
        torch.save({"state_dict": model.state_dict(), "config": config_record(model)}, file)
        assert [read_config(file), read_config(str(file)), read_config(file)] == [config] * 3
        assert len(opened) == number + 1
    file.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        read_config(file)


def test_configuration_of_a_hub_id__is_asked_for_once_and_reads_no_tensors(
    square: VideoMAEConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[str] = []
    VideoMAEForPreTraining(square).save_pretrained(tmp_path / "fetched")

    def fetched(repo: str, **_: object) -> str:
        asked.append(repo)
        return str(tmp_path / "fetched")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetched)
    monkeypatch.setattr(sources, "read_tensors", lambda *_, **__: pytest.fail("it reads tensors"))
    assert [read_config("somebody/fetched-once") for _ in range(3)] == [square] * 3
    assert asked == ["somebody/fetched-once"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_other_clip_size__resamples_the_trained_positions(
    square: VideoMAEConfig, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / kind
    trained = VideoMAEForPreTraining(square)
    if kind == "folder":
        trained.save_pretrained(source)
    else:
        torch.save({"model": trained.state_dict(), "config": config_record(trained)}, source)
    longer = replace(square, num_frames=8, image_size=(32, 48))
    for cls in (VideoMAEForPreTraining, VideoMAEModel):
        model = cls.from_pretrained(source, config=longer)
        assert model.config.trained_grid == square.grid
        assert model.encoder.positions.shape == (longer.grid.num_tokens, 48)
        assert not torch.equal(model.encoder.positions, sincos_table(longer.grid.num_tokens, 48))
    same = VideoMAEForPreTraining.from_pretrained(source, config=square)
    assert torch.equal(same.encoder.positions, trained.encoder.positions)
    assert same.config == square


def test_loaded_models__evaluate_until_told_to_train(square: VideoMAEConfig, tmp_path: Path) -> None:
    dropping = replace(square, drop_path_rate=0.5)
    VideoMAEForPreTraining(dropping).save_pretrained(tmp_path / "w")
    model = VideoMAEForPreTraining.from_pretrained(tmp_path / "w")
    assert not any(module.training for module in model.modules())
    clips = random_clips(dropping, batch=8)
    visible_idx = torch.arange(8).expand(8, 8)
    hidden_idx = torch.arange(8, 32).expand(8, 24)
    assert torch.equal(*(model.predict_hidden(clips, visible_idx, hidden_idx) for _ in range(2)))
    model.train()
    assert not torch.equal(*(model.predict_hidden(clips, visible_idx, hidden_idx) for _ in range(2)))


def test_image_processor__of_a_file_follows_from_its_configuration(
    square: VideoMAEConfig, tmp_path: Path
) -> None:
    model = VideoMAEForPreTraining(replace(square, image_mean=(0.1, 0.2, 0.3)))
    torch.save({"model": model.state_dict(), "config": config_record(model)}, tmp_path / "file.pth")
    processor = VideoMAEImageProcessor.from_pretrained(tmp_path / "file.pth")
    assert processor.image_mean == (0.1, 0.2, 0.3)
    assert processor.crop_size == {"height": 32, "width": 32}


def test_sharded_pickles__are_read_whole(square: VideoMAEConfig, tmp_path: Path) -> None:
    model = VideoMAEModel(square)
    model.save_pretrained(tmp_path / "w")
    state = load_file(tmp_path / "w" / "model.safetensors")
    (tmp_path / "w" / "model.safetensors").unlink()
    files = {
        "pytorch_model-00001-of-00002.bin": sorted(state)[::2],
        "pytorch_model-00002-of-00002.bin": sorted(state)[1::2],
    }
    for file, held in files.items():
        torch.save({name: state[name] for name in held}, tmp_path / "w" / file)
    index = {"weight_map": {name: file for file, held in files.items() for name in held}}
    (tmp_path / "w" / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    again = VideoMAEModel.from_pretrained(tmp_path / "w").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("file", ["preprocessor_config.json", "video_preprocessor_config.json"])
@pytest.mark.parametrize("normalises", [True, False])
def test_statistics__of_the_folders_processor_give_its_pixels(
    square: VideoMAEConfig, tmp_path: Path, file: str, normalises: bool
) -> None:
    """A video processor that transformers 5 saved alone counts as well; one that does not normalise is no mean."""
    folder = foreign_folder(square, tmp_path)
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "do_normalize": normalises}
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / file).write_text(json.dumps({**values, **size, "do_rescale": True, "rescale_factor": 1 / 255}))
    config = read_config(folder)
    assert (config.image_mean, config.image_std) == (
        ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)) if normalises else ((0.0,) * 3, (1.0,) * 3)
    )
    clip = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    pixels = VideoMAEImageProcessor.from_pretrained(folder)(clip, return_tensors="pt").pixel_values
    torch.testing.assert_close(normalise_clips(clip[None], config.image_mean, config.image_std), pixels)


def foreign_folder(config: VideoMAEConfig, parent: Path) -> Path:
    """Save weights as transformers would: the pixels' statistics are the image processor's alone."""
    folder = parent / "foreign"
    VideoMAEModel(config).save_pretrained(folder)
    values = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in values.items() if key not in ("image_mean", "image_std")}
    (folder / "config.json").write_text(json.dumps(kept))
    (folder / "preprocessor_config.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"do_rescale": False}, "do_rescale false"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor 0.0078"),
        ({"do_rescale": False, "rescale_factor": 1 / 255, "do_normalize": False}, "do_rescale false"),
    ],
)
def test_statistics__of_pixels_on_another_scale_are_refused_unless_the_configuration_has_its_own(
    square: VideoMAEConfig, tmp_path: Path, values: dict[str, object], named: str
) -> None:
    folder = foreign_folder(square, tmp_path)
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    for read in (read_config, open_source):
        with pytest.raises(ConfigError, match=rf"preprocessor_config\.json: {named}"):
            read(folder)
    record = json.loads((folder / "config.json").read_text())
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "config.json").write_text(json.dumps(record | own))
    assert read_config(folder).image_mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("source", ["/no/such/folder", "./gone", "../gone", "runs/gone", "gone"])
@pytest.mark.parametrize("read", [open_source, read_config, VideoMAEImageProcessor.from_pretrained])
def test_path_to_nothing__is_not_asked_of_the_hub(
    source: str, read: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("it asks the hub"))
    with pytest.raises(CheckpointError, match=f"^{re.escape(source)}: no such file or folder"):
        read(source)

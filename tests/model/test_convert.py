"""Official files in and out, timm names, and one round through all layouts."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
import transformers
from safetensors.torch import load_file
from small_models import shake
from timm.models.vision_transformer import VisionTransformer

from videomae_train.errors import CheckpointError, ConfigError
from videomae_train.model import (
    Fate,
    Layout,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    convert,
    read_config,
)
from videomae_train.model.inference import infer_config
from videomae_train.model.sources import open_source

CLIP = torch.randn(1, 4, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(config: VideoMAEConfig) -> VideoMAEForPreTraining:
    made = VideoMAEForPreTraining(config)
    shake(made)
    return made


@pytest.fixture
def classifier(config: VideoMAEConfig) -> VideoMAEForVideoClassification:
    made = VideoMAEForVideoClassification(config.with_labels(5)).eval()
    shake(made)
    return made


def official_names(name: str) -> bool:
    """The names that section 3.1 of the published layout lists."""
    tops = ("mask_token", "encoder_to_decoder.weight", "encoder.patch_embed.proj.", "encoder.norm.")
    return name.startswith((*tops, "encoder.blocks.", "decoder.blocks.", "decoder.norm.", "decoder.head."))


def test_all_layouts_in_a_round__are_byte_equal_per_tensor(
    model: VideoMAEForPreTraining, tmp_path: Path
) -> None:
    """Official -> ours -> transformers' own saving -> ours -> official."""
    first = tmp_path / "first.pth"
    torch.save({"model": dict(model.state_dict()), "epoch": 3, "args": Namespace(lr=1.0)}, first)
    assert all(map(official_names, model.state_dict()))
    convert(first, tmp_path / "hf", to=Layout.HF, config=model.config)
    theirs = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path / "hf")
    theirs.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "last.pth", to=Layout.OFFICIAL)
    last = torch.load(tmp_path / "last.pth", weights_only=True)["model"]
    assert last.keys() == model.state_dict().keys()
    assert all(torch.equal(last[name], tensor) for name, tensor in model.state_dict().items())


def test_our_official_file__reads_back_with_its_configuration(
    classifier: VideoMAEForVideoClassification, tmp_path: Path
) -> None:
    classifier.save_pretrained(tmp_path / "w")
    convert(tmp_path / "w", tmp_path / "out.pth", to=Layout.OFFICIAL)
    names = torch.load(tmp_path / "out.pth", weights_only=True)["model"].keys()
    assert {"patch_embed.proj.weight", "blocks.0.attn.q_bias", "fc_norm.weight", "head.bias"} <= names
    again = VideoMAEForVideoClassification.from_pretrained(tmp_path / "out.pth")
    assert again.config == classifier.config
    assert torch.equal(again(CLIP).logits, classifier(CLIP).logits)


@pytest.mark.parametrize("top", ["model", "module", "whole"])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "backbone.", "module._orig_mod."])
def test_official_wrappings__give_the_same_encoder(
    classifier: VideoMAEForVideoClassification, tmp_path: Path, top: str, prefix: str
) -> None:
    state = {prefix + n.removeprefix("encoder."): t for n, t in classifier.state_dict().items()}
    torch.save(state if top == "whole" else {top: state}, tmp_path / "file.pth")
    opened = open_source(tmp_path / "file.pth", config=classifier.config)
    assert opened.architecture == "VideoMAEForVideoClassification"
    assert opened.state.keys() == classifier.state_dict().keys()


def test_compiled_pretraining_file__loses_its_prefix_everywhere(
    model: VideoMAEForPreTraining, tmp_path: Path
) -> None:
    state = {n.replace("encoder.", "encoder._orig_mod.", 1): t for n, t in model.state_dict().items()}
    torch.save({"model": state}, tmp_path / "file.pth")
    assert open_source(tmp_path / "file.pth", config=model.config).state.keys() == model.state_dict().keys()


def test_average_weights__are_taken_when_asked_for(
    classifier: VideoMAEForVideoClassification, tmp_path: Path
) -> None:
    live = {n.removeprefix("encoder."): t for n, t in classifier.state_dict().items()}
    average = {name: tensor * 0 + 1 for name, tensor in live.items()}
    torch.save({"model": live, "model_ema": average}, tmp_path / "file.pth")
    opened = open_source(tmp_path / "file.pth", config=classifier.config, entry="model_ema")
    assert all((tensor == 1).all() for tensor in opened.state.values())
    with pytest.raises(CheckpointError, match="absent"):
        open_source(tmp_path / "file.pth", config=classifier.config, entry="absent")


def test_classifier_of_other_clips__is_refused_where_its_command_line_tells(tmp_path: Path) -> None:
    """Positions are in no file, so the numbers would be wrong without a sign."""
    released = VideoMAEConfig(
        hidden_size=384, num_attention_heads=6, num_hidden_layers=1, decoder_hidden_size=192,
        decoder_num_attention_heads=3, decoder_num_hidden_layers=1,
    )  # fmt: skip
    classifier = VideoMAEForVideoClassification(released.with_labels(2)).state_dict()
    file = tmp_path / "file.pth"
    for args, clips in (
        (Namespace(num_frames=16, num_segments=2), "32 frames of 224x224"),
        ({"num_frames": 64}, "64 frames of 224x224"),
        (Namespace(num_frames=16, input_size=112), "16 frames of 112x112"),
    ):
        torch.save({"model": classifier, "args": args}, file)
        with pytest.raises(
            ConfigError, match=f"args: clips of {clips}; expected 16 frames of 224x224.*--config"
        ):
            open_source(file)
    longer = replace(released, num_frames=32).with_labels(2)
    longer.save_pretrained(tmp_path / "longer")
    convert(file, tmp_path / "hf", to=Layout.HF, config=read_config(tmp_path / "longer"))
    assert VideoMAEForVideoClassification.from_pretrained(tmp_path / "hf").config.grid.t == 16
    for args in (Namespace(num_frames=16, num_segments=1, input_size=224), Namespace(lr=1.0), {}, None):
        torch.save({"model": classifier, "args": args}, file)
        assert open_source(file).config.num_frames == 16
    torch.save(
        {"model": VideoMAEForPreTraining(released).state_dict(), "args": Namespace(num_frames=32)}, file
    )
    assert open_source(file).config.num_frames == 16


def test_half_precision_file__is_read_into_float32(
    classifier: VideoMAEForVideoClassification, tmp_path: Path
) -> None:
    state = {n.removeprefix("encoder."): t.half() for n, t in classifier.state_dict().items()}
    torch.save({"module": state}, tmp_path / "file.pth")
    convert(tmp_path / "file.pth", tmp_path / "hf", to=Layout.HF, config=classifier.config)
    loaded = VideoMAEForVideoClassification.from_pretrained(tmp_path / "hf")
    assert loaded.head.weight.dtype == torch.float32
    assert torch.equal(loaded.head.weight, classifier.head.weight.half().float())


def test_encoder_only_file__fills_a_bare_encoder(model: VideoMAEForPreTraining, tmp_path: Path) -> None:
    state = {n.removeprefix("encoder."): t for n, t in model.state_dict().items() if n.startswith("encoder.")}
    torch.save({"module": state}, tmp_path / "file.pth")
    report = convert(tmp_path / "file.pth", tmp_path / "hf", to=Layout.HF, config=model.config)
    assert len(report.names(Fate.PLACED)) == len(state)
    bare = VideoMAEModel.from_pretrained(tmp_path / "hf")
    assert torch.equal(bare(CLIP).last_hidden_state, model.encoder(model.encoder.patch_embed.cut(CLIP)))


@pytest.mark.parametrize(
    ("width", "heads", "decoder_width", "decoder_heads", "patch"),
    [(384, 6, 192, 3, 16), (768, 12, 384, 6, 16), (1280, 16, 640, 8, 16), (1408, 16, 512, 8, 14)],
)
def test_released_sizes__are_inferred_from_shapes(
    width: int, heads: int, decoder_width: int, decoder_heads: int, patch: int
) -> None:
    config = VideoMAEConfig(
        hidden_size=width,
        num_attention_heads=heads,
        decoder_hidden_size=decoder_width,
        decoder_num_attention_heads=decoder_heads,
        patch_size=patch,
        num_hidden_layers=2,
        decoder_num_hidden_layers=3,
        decoder_intermediate_size=2234,
    )
    with torch.device("meta"):
        pretraining = VideoMAEForPreTraining(config).state_dict()
        finetuned = VideoMAEForVideoClassification(config.with_labels(400)).state_dict()
    assert infer_config(pretraining, where="test") == config
    read = infer_config(finetuned, where="test")
    assert (read.num_labels, read.use_mean_pooling, read.num_attention_heads) == (
        400,
        True,
        config.num_attention_heads,
    )


def test_unknown_width__asks_for_the_head_count(model: VideoMAEForPreTraining, tmp_path: Path) -> None:
    torch.save({"model": model.state_dict()}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="head counts do not show"):
        convert(tmp_path / "file.pth", tmp_path / "hf", to=Layout.HF)


class Greedy:
    """Something that a pickle could bring along."""


def test_pickles__that_want_more_are_refused_until_trusted(
    model: VideoMAEForPreTraining, tmp_path: Path
) -> None:
    torch.save({"model": dict(model.state_dict()), "args": Greedy()}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="--trust-pickle"):
        open_source(tmp_path / "file.pth", config=model.config)
    opened = open_source(tmp_path / "file.pth", config=model.config, trust_pickle=True)
    assert opened.state.keys() == model.state_dict().keys()


def test_other_files__are_refused(tmp_path: Path) -> None:
    (tmp_path / "file.pth").write_text("no pickle")
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        open_source(tmp_path / "file.pth")
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="VideoMAE"):
        open_source(tmp_path / "other.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no tensors"):
        open_source(tmp_path / "list.pth")


def test_same_tensor_twice__is_refused(model: VideoMAEForPreTraining, tmp_path: Path) -> None:
    state = {**model.state_dict(), "module.mask_token": torch.zeros(1, 1, 24)}
    torch.save({"model": state}, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match="mask_token twice"):
        open_source(tmp_path / "file.pth", config=model.config)


def test_fault_in_an_official_file__is_refused_unless_allowed(
    model: VideoMAEForPreTraining, tmp_path: Path
) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "decoder.norm.bias"}
    torch.save({"model": state | {"extra": torch.zeros(1)}}, tmp_path / "file.pth")
    arguments = {"to": Layout.HF, "config": model.config}
    with pytest.raises(CheckpointError, match=r"decoder\.norm\.bias is missing; extra has no place"):
        convert(tmp_path / "file.pth", tmp_path / "hf", **arguments)
    assert not (tmp_path / "hf").exists()
    allowed = ["decoder.norm.bias", "extra"]
    report = convert(tmp_path / "file.pth", tmp_path / "hf", allow=allowed, **arguments)
    assert report.names(Fate.FRESH) == ("decoder.norm.bias",)
    assert report.names(Fate.DROPPED) == ("extra",)


def test_timm_names__fit_timms_vision_transformer_which_computes_the_same(
    classifier: VideoMAEForVideoClassification, tmp_path: Path
) -> None:
    classifier.save_pretrained(tmp_path / "w")
    convert(tmp_path / "w", tmp_path / "timm.safetensors", to=Layout.TIMM)
    state = load_file(tmp_path / "timm.safetensors")
    theirs = VisionTransformer(
        embed_dim=48, depth=3, num_heads=4, mlp_ratio=2, num_classes=5, class_token=False,
        global_pool="avg", fc_norm=True,
    )  # fmt: skip
    # timm has no video patches: all but the embedding and the positions is the same network.
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("patch_embed.")}
    missing, unexpected = theirs.load_state_dict(rest, strict=False)
    assert set(missing) == {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert unexpected == []
    tokens = classifier.encoder.embed(classifier.encoder.patch_embed.cut(CLIP), None)
    logits = theirs.eval().forward_head(theirs.norm(theirs.blocks(tokens)))
    assert (logits - classifier(CLIP).logits).abs().max() < 1e-5


def test_timm_layout__of_a_pretraining_model_reports_its_decoder_as_dropped(
    model: VideoMAEForPreTraining, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "w")
    report = convert(tmp_path / "w", tmp_path / "timm.safetensors", to=Layout.TIMM)
    assert "mask_token" in report.names(Fate.DROPPED)
    assert not any("decoder" in name for name in load_file(tmp_path / "timm.safetensors"))


def test_what_transformers_cannot_compute__is_refused_by_name(config: VideoMAEConfig, tmp_path: Path) -> None:
    cross = VideoMAEForPreTraining(replace(config, decoder_kind="cross"))
    cross.save_pretrained(tmp_path / "cross")
    with pytest.raises(ConfigError, match="cross-attention decoder"):
        convert(tmp_path / "cross", tmp_path / "out", to=Layout.HF)
    convert(tmp_path / "cross", tmp_path / "out", to=Layout.HF, encoder_only=True)
    theirs = transformers.VideoMAEModel.from_pretrained(tmp_path / "out").eval()
    expected = cross.encoder(cross.encoder.patch_embed.cut(CLIP))
    assert (theirs(CLIP).last_hidden_state - expected).abs().max() < 1e-5

    VideoMAEForPreTraining(replace(config, position_grid=(2, 2, 2))).save_pretrained(tmp_path / "resampled")
    with pytest.raises(ConfigError, match="resampled position table"):
        convert(tmp_path / "resampled", tmp_path / "again", to=Layout.OFFICIAL)


def test_destination_in_the_way__is_refused(
    classifier: VideoMAEForVideoClassification, tmp_path: Path
) -> None:
    classifier.save_pretrained(tmp_path / "w")
    (tmp_path / "out.pth").write_text("mine")
    with pytest.raises(ConfigError, match="already"):
        convert(tmp_path / "w", tmp_path / "out.pth", to=Layout.OFFICIAL)


def test_hub_id__is_fetched_and_a_dead_network_named(
    classifier: VideoMAEForVideoClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    classifier.save_pretrained(tmp_path / "cached")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **_: str(tmp_path / "cached"))
    convert("owner/name", tmp_path / "local", to=Layout.HF)
    assert VideoMAEForVideoClassification.from_pretrained(tmp_path / "local").config == classifier.config

    def offline(repo: str, **_: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match="no network"):
        convert("owner/name", tmp_path / "other", to=Layout.HF)


def test_push__uploads_a_readable_folder_only(
    classifier: VideoMAEForVideoClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    from videomae_train.model.convert import push_folder

    calls: list[tuple[str, object]] = []

    class Api:
        def create_repo(self, repo: str, *, exist_ok: bool) -> str:
            calls.append(("create", repo))
            return f"https://hub/{repo}"

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
            calls.append((repo_id, folder_path))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    classifier.save_pretrained(tmp_path / "w")
    assert push_folder(tmp_path / "w", "me/mine") == "https://hub/me/mine"
    assert calls == [("create", "me/mine"), ("me/mine", tmp_path / "w")]
    (tmp_path / "w" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        push_folder(tmp_path / "w", "me/mine")
    assert len(calls) == 2


@pytest.mark.slow
def test_onnx__gives_the_same_logits(classifier: VideoMAEForVideoClassification, tmp_path: Path) -> None:
    classifier.save_pretrained(tmp_path / "w")
    convert(tmp_path / "w", tmp_path / "model.onnx", to=Layout.ONNX)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 3):
        pixels = torch.randn(batch, 4, 3, 32, 48)
        (logits,) = session.run(None, {"pixel_values": pixels.numpy()})
        assert (torch.from_numpy(logits) - classifier(pixels).logits).abs().max() < 1e-4


def test_onnx__of_a_pretraining_model_is_refused(model: VideoMAEForPreTraining, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "w")
    with pytest.raises(ConfigError, match="Fine-tune it first"):
        convert(tmp_path / "w", tmp_path / "model.onnx", to=Layout.ONNX)


def test_onnx__without_its_packages_names_the_extra(
    classifier: VideoMAEForVideoClassification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videomae_train.model import onnx_export

    monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"'\.\[onnx\]'"):
        onnx_export.export_onnx(classifier, tmp_path / "model.onnx")

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import bool_mask, random_clips, shake, token_numbers
from torch import Tensor

from videomae_train.errors import ConfigError
from videomae_train.masking import TubeMask, running_cell_map, split_mask
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEModel, normalise_clips
from videomae_train.model.patches import gather_tokens, patchify
from videomae_train.model.targets import PixelTarget, normalise_patches


@pytest.fixture(params=["joint", "cross"])
def model(request: pytest.FixtureRequest, config: VideoMAEConfig) -> VideoMAEForPreTraining:
    made = VideoMAEForPreTraining(replace(config, decoder_kind=request.param))
    shake(made)
    return made


def repaint(config: VideoMAEConfig, clips: Tensor, idx: Tensor) -> Tensor:
    """The same clips with other pixels in some patches."""
    from videomae_train.model import unpatchify

    patches = patchify(clips, tubelet_size=config.tubelet_size, patch_size=config.patch_size)
    other = 255 - gather_tokens(patches, idx)
    painted = patches.scatter(1, idx.unsqueeze(-1).expand_as(other), other)
    return unpatchify(painted, config.grid, tubelet_size=config.tubelet_size, patch_size=config.patch_size)


def test_hidden_pixels__never_reach_the_encoder(model: VideoMAEForPreTraining) -> None:
    config, clips = model.config, random_clips(model.config)
    visible_idx, hidden_idx = token_numbers(config.grid)
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda _, inputs, output: seen.extend([inputs[0], output]))
    model.predict_hidden(clips, visible_idx, hidden_idx)
    model.predict_hidden(repaint(config, clips, hidden_idx), visible_idx, hidden_idx)
    model.predict_hidden(repaint(config, clips, visible_idx[:, :1]), visible_idx, hidden_idx)
    before, encoded, after, encoded_after, other, encoded_other = seen
    assert before.shape == (2, visible_idx.shape[1], config.patch_values)
    assert torch.equal(before, after)
    assert torch.equal(encoded, encoded_after)
    assert not torch.equal(before, other)
    assert not torch.equal(encoded, encoded_other)


def test_hidden_pixels__decide_the_loss(model: VideoMAEForPreTraining) -> None:
    config, clips = model.config, random_clips(model.config)
    visible_idx, hidden_idx = token_numbers(config.grid)
    loss = model.training_loss(clips, visible_idx, hidden_idx)
    # Inverting all pixels of a patch flips the sign of its normalised target; shifting them all would change
    # nothing.
    assert loss != model.training_loss(repaint(config, clips, hidden_idx), visible_idx, hidden_idx)


def test_training_path__equals_the_call_on_floats(model: VideoMAEForPreTraining) -> None:
    clips, (visible_idx, hidden_idx) = random_clips(model.config), token_numbers(model.config.grid)
    output = model(normalise_clips(clips), bool_mask(hidden_idx, model.config.grid.num_tokens))
    assert abs(output.loss - model.training_loss(clips, visible_idx, hidden_idx)) < 1e-5
    predicted = model.predict_hidden(clips, visible_idx, hidden_idx)
    assert predicted.shape == (2, hidden_idx.shape[1], model.config.patch_values)
    assert (output.logits - predicted).abs().max() < 1e-4


def test_loss__is_the_mean_squared_error_of_the_targets(model: VideoMAEForPreTraining) -> None:
    clips, (visible_idx, hidden_idx) = random_clips(model.config), token_numbers(model.config.grid)
    predicted = model.predict_hidden(clips, visible_idx, hidden_idx)
    cubes = gather_tokens(patchify(clips / 255.0, tubelet_size=2, patch_size=8), hidden_idx).unflatten(
        2, (-1, 3)
    )
    target = (cubes - cubes.mean(2, keepdim=True)) / (cubes.std(2, keepdim=True) + 1e-6)
    expected = (predicted - target.flatten(2)).square().mean()
    assert abs(model.training_loss(clips, visible_idx, hidden_idx) - expected) < 1e-5


def test_flat_patch__has_a_finite_target_of_zero() -> None:
    assert (normalise_patches(torch.full((1, 1, 12), 0.3), 3).abs() < 1e-6).all()


def test_raw_target__is_the_pixels() -> None:
    patches = torch.rand(1, 2, 12)
    assert torch.equal(PixelTarget(num_values=12, num_channels=3, normalise=False)(patches), patches)


def test_loss__stays_float32_under_autocast(model: VideoMAEForPreTraining) -> None:
    clips, (visible_idx, hidden_idx) = random_clips(model.config), token_numbers(model.config.grid)
    seen: list[Tensor] = []

    @dataclass(frozen=True)
    class Spy:
        inner: PixelTarget

        @property
        def num_values(self) -> int:
            return self.inner.num_values

        def __call__(self, patches: Tensor) -> Tensor:
            seen.append(self.inner(patches))
            return seen[-1]

    exact = model.training_loss(clips, visible_idx, hidden_idx)
    model.target = Spy(model.target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.training_loss(clips, visible_idx, hidden_idx)
        assert model.encoder_to_decoder(torch.randn(1, 48)).dtype == torch.bfloat16
    assert loss.dtype == seen[0].dtype == torch.float32
    assert abs(loss - exact) / exact < 0.05


def test_another_target__sets_the_width_of_the_head(config: VideoMAEConfig, tmp_path: Path) -> None:
    class Brightness:
        num_values = 1

        def __call__(self, patches: Tensor) -> Tensor:
            return patches.mean(-1, keepdim=True)

    model = VideoMAEForPreTraining(config, target=Brightness())
    visible_idx, hidden_idx = token_numbers(config.grid)
    assert model.predict_hidden(random_clips(config), visible_idx, hidden_idx).shape[-1] == 1
    model.training_loss(random_clips(config), visible_idx, hidden_idx).backward()
    model.save_pretrained(tmp_path / "w")
    again = VideoMAEForPreTraining.from_pretrained(tmp_path / "w", target=Brightness())
    assert torch.equal(again.decoder.head.weight, model.decoder.head.weight)


def test_every_parameter__has_a_gradient(model: VideoMAEForPreTraining) -> None:
    model.training_loss(random_clips(model.config), *token_numbers(model.config.grid)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_key_bias__is_no_parameter_and_not_in_the_state(config: VideoMAEConfig) -> None:
    model = VideoMAEForPreTraining(config)
    assert not any("k_bias" in name or "positions" in name for name in model.state_dict())
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


def test_last_block__computing_less_changes_nothing(config: VideoMAEConfig) -> None:
    model = VideoMAEForPreTraining(config).double()
    shake(model)
    clips, (visible_idx, hidden_idx) = random_clips(config), token_numbers(config.grid)
    predicted = model.predict_hidden(clips, visible_idx, hidden_idx)

    def forward_in_full(visible: Tensor, queries: Tensor) -> Tensor:
        x = torch.cat((visible, queries), dim=1)
        for block in model.decoder.blocks:
            x = block(x)
        return model.decoder.head(model.decoder.norm(x[:, -queries.shape[1] :]))

    model.decoder.forward = forward_in_full
    assert (model.predict_hidden(clips, visible_idx, hidden_idx) - predicted).abs().max() < 1e-12


def test_cross_decoder__predicts_each_position_by_itself(config: VideoMAEConfig) -> None:
    model = VideoMAEForPreTraining(replace(config, decoder_kind="cross")).double()
    shake(model)
    clips, (visible_idx, hidden_idx) = random_clips(config), token_numbers(config.grid)
    some = hidden_idx[:, ::3]
    whole = model.predict_hidden(clips, visible_idx, hidden_idx)
    assert (model.predict_hidden(clips, visible_idx, some) - whole[:, ::3]).abs().max() < 1e-12


def test_dual_masking__follows_the_published_definition(config: VideoMAEConfig) -> None:
    config = replace(config, num_frames=8)
    model = VideoMAEForPreTraining(config).double()
    shake(model)
    clips, (visible_idx, _) = random_clips(config), token_numbers(config.grid)
    maps = [running_cell_map(config.grid, 0.5, start=start) for start in (0, 2)]
    decoded_idx = torch.from_numpy(np.stack([np.flatnonzero(~left_out) for left_out in maps]))
    predicted = model.predict_hidden(clips, visible_idx, decoded_idx)
    truth = model.target(
        gather_tokens(patchify(clips.double() / 255, tubelet_size=2, patch_size=8), decoded_idx)
    )
    total, scored = 0.0, 0
    for clip in range(2):
        for place, token in enumerate(decoded_idx[clip].tolist()):
            if token not in visible_idx[clip].tolist():
                total += (predicted[clip, place] - truth[clip, place]).square().mean().item()
                scored += 1
    assert scored < decoded_idx.numel()
    assert abs(model.dual_masking_loss(clips, visible_idx, decoded_idx) - total / scored) < 1e-10


def test_dual_masking__of_all_hidden_tokens_is_the_plain_loss(model: VideoMAEForPreTraining) -> None:
    clips, (visible_idx, hidden_idx) = random_clips(model.config), token_numbers(model.config.grid)
    plain = model.training_loss(clips, visible_idx, hidden_idx)
    assert abs(model.dual_masking_loss(clips, visible_idx, hidden_idx) - plain) < 1e-5


def test_activation_checkpointing__gives_the_same_gradients(model: VideoMAEForPreTraining) -> None:
    clips, (visible_idx, hidden_idx) = random_clips(model.config), token_numbers(model.config.grid)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model.training_loss(clips, visible_idx, hidden_idx).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(left, right) for left, right in zip(*gradients, strict=True))


def test_activation_checkpointing__runs_each_block_again(config: VideoMAEConfig) -> None:
    model = VideoMAEForPreTraining(config)
    runs: list[int] = []
    model.encoder.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    for enable, expected in ((False, 1), (True, 2)):
        model.set_grad_checkpointing(enable)
        runs.clear()
        model.training_loss(random_clips(config), *token_numbers(config.grid)).backward()
        assert len(runs) == expected


@pytest.mark.parametrize(
    ("mask", "named"),
    [
        (torch.ones(2, 48, dtype=torch.int64), "int64"),
        (torch.zeros(2, 48, dtype=torch.bool), "0 of 48"),
        (torch.ones(2, 48, dtype=torch.bool), "48 of 48"),
        (torch.ones(2, 47, dtype=torch.bool), "47"),
        (torch.ones(1, 48, dtype=torch.bool), r"\(1, 48\)"),
        (torch.arange(96).view(2, 48) % 48 < torch.tensor([[10], [11]]), "between 10 and 11"),
        (None, "no mask"),
    ],
)
def test_wrong_masks__are_refused(config: VideoMAEConfig, mask: Tensor | None, named: str) -> None:
    model = VideoMAEForPreTraining(config)
    with pytest.raises(ConfigError, match=named):
        model(torch.zeros(2, 4, 3, 32, 48), mask)


def test_wrong_token_numbers_and_clips__are_refused(config: VideoMAEConfig) -> None:
    model, (visible_idx, hidden_idx) = VideoMAEForPreTraining(config), token_numbers(config.grid)
    clips = random_clips(config)
    for wrong in (visible_idx.int(), visible_idx[:1], visible_idx[0], torch.zeros(2, 49, dtype=torch.int64)):
        with pytest.raises(ConfigError, match="visible_idx"):
            model.training_loss(clips, wrong, hidden_idx)
    with pytest.raises(ConfigError, match="hidden_idx"):
        model.training_loss(clips, visible_idx, hidden_idx.float())
    with pytest.raises(ConfigError, match="uint8"):
        model.training_loss(clips.float(), visible_idx, hidden_idx)


@pytest.mark.parametrize(
    ("frames", "size", "channels", "tubelet", "patch"),
    [(6, (24, 40), 1, 3, 8), (5, (20, 30), 4, 1, 10), (16, (16, 16), 3, 8, 4), (2, (64, 32), 2, 2, 16)],
)
def test_any_clip_that_the_patch_divides__is_reconstructed(
    config: VideoMAEConfig, frames: int, size: tuple[int, int], channels: int, tubelet: int, patch: int
) -> None:
    odd = replace(
        config, num_frames=frames, image_size=size, num_channels=channels, tubelet_size=tubelet, patch_size=patch,
        image_mean=(0.5,) * channels, image_std=(0.25,) * channels,
    )  # fmt: skip
    assert odd.grid == (frames // tubelet, size[0] // patch, size[1] // patch)
    trained_elsewhere = replace(odd, position_grid=tuple(config.grid))
    for made in (odd, trained_elsewhere):
        model = VideoMAEForPreTraining(made)
        visible_idx, hidden_idx = token_numbers(odd.grid, ratio=0.5)
        model.training_loss(random_clips(odd), visible_idx, hidden_idx).backward()
        predicted = model.predict_hidden(random_clips(odd), visible_idx, hidden_idx)
        assert predicted.shape == (2, hidden_idx.shape[1], channels * tubelet * patch**2)


def test_bare_encoder__equals_the_pretraining_encoder(config: VideoMAEConfig) -> None:
    model, bare = VideoMAEForPreTraining(config), VideoMAEModel(config)
    bare.load_state_dict({n: t for n, t in model.state_dict().items() if n.startswith("encoder.")})
    pixels, (visible_idx, hidden_idx) = torch.randn(2, 4, 3, 32, 48), token_numbers(config.grid)
    output = bare(pixels, bool_mask(hidden_idx, config.grid.num_tokens), output_hidden_states=True)
    patches = gather_tokens(model.encoder.patch_embed.cut(pixels), visible_idx)
    assert torch.equal(output.last_hidden_state, model.encoder(patches, visible_idx))
    assert len(output.hidden_states) == config.num_hidden_layers + 1
    assert bare(pixels).last_hidden_state.shape == (2, config.grid.num_tokens, config.hidden_size)


def test_initialisation__is_the_published_one() -> None:
    """Bounds and deviations measured on the published ViT-B (a narrower one here, with the same formulas)."""
    model = VideoMAEForPreTraining(
        VideoMAEConfig(hidden_size=192, num_attention_heads=3, num_hidden_layers=1)
    )
    block = model.encoder.blocks[0]
    for weight, bound in (
        (block.attn.qkv.weight, (6 / (4 * 192)) ** 0.5),
        (block.attn.proj.weight, (6 / (2 * 192)) ** 0.5),
        (block.mlp.fc1.weight, (6 / (192 + 3072)) ** 0.5),
        (model.decoder.head.weight, (6 / (384 + 1536)) ** 0.5),
        (model.encoder_to_decoder.weight, 192**-0.5),
        (model.encoder.patch_embed.proj.weight, 1536**-0.5),
    ):
        assert 0.99 * bound < weight.abs().max() <= bound
        assert abs(weight.std() - bound / 3**0.5) < 0.02 * bound
    assert model.encoder.patch_embed.proj.bias.abs().max() > 0
    assert not any(p.any() for n, p in model.named_parameters() if n.endswith("bias") and "embed" not in n)
    token = model.mask_token
    assert token.abs().max() <= 0.02
    assert 0.009 < token.std() < 0.0125


def test_tube_masks__have_one_shape_for_every_clip(config: VideoMAEConfig) -> None:
    shapes = {split_mask(TubeMask(0.6)(config.grid, np.random.default_rng(s)))[0].shape for s in range(9)}
    assert len(shapes) == 1

"""`videomae reconstruct`: pictures of what a pretrained model puts back into one video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from videomae_train.config.masking import MaskingConfig
from videomae_train.config.schema import ReconstructConfig
from videomae_train.data.decoding import decode_frames, probe_video
from videomae_train.data.transforms import as_clip, crop_views
from videomae_train.errors import ConfigError
from videomae_train.evaluation.reconstruction import VIEW_NOTES, reconstruct_clip, view_rows
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, load_pretraining_model
from videomae_train.pictures import (
    FrameRow,
    StripPanel,
    labelled_clip,
    reconstruction_strip,
    write_gif,
    write_mp4,
)
from videomae_train.randomness import keyed_rng

_FPS = 4.0  # slow enough to look at, whatever the video's own rate


@dataclass(frozen=True)
class Pictures:
    """The files of one reconstruction.

    Attributes:
        strip: PNG, one panel per masking ratio.
        mp4: Looping views of the highest ratio, side by side.
        gif: The same.
        losses: Loss of each masking ratio, in the target's units.
    """

    strip: Path
    mp4: Path
    gif: Path
    losses: dict[float, float]


def reconstruct(config: ReconstructConfig) -> Pictures:
    """Mask one video at several ratios and picture what the model puts back.

    Raises:
        ConfigError: The video is missing or too short, or a ratio hides nothing or everything.
        CheckpointError: The weights are no pretraining model.
        DecodeError: The video cannot be read.
    """
    model = load_pretraining_model(config.weights).eval()
    clip = read_clip(config.video, model.config, stride=config.stride, start=config.start)
    return picture_clip(
        model, clip, folder=config.run, mask=config.mask, ratios=config.ratios, seed=config.seed,
        original_statistics=config.patch_statistics == "original", title=config.video.name,
    )  # fmt: skip


def picture_clip(
    model: VideoMAEForPreTraining,
    clip: Tensor,
    *,
    folder: Path,
    mask: str,
    ratios: tuple[float, ...],
    seed: int,
    original_statistics: bool,
    title: str,
) -> Pictures:
    """Picture one clip, uint8 (T, C, H, W), at several ratios of one kind of mask."""
    folder.mkdir(parents=True, exist_ok=True)
    panels: dict[float, tuple[FrameRow, ...]] = {}
    losses: dict[float, float] = {}
    for ratio in ratios:
        masking = {"name": mask, "ratio": ratio, "decode": {"name": "all"}}
        sampler = MaskingConfig.model_validate(masking).build()
        result = reconstruct_clip(model, clip, sampler(model.config.grid, keyed_rng(seed, "picture", mask)))
        panels[ratio] = view_rows(result, original_statistics=original_statistics)
        losses[ratio] = result.loss
    largest = panels[max(ratios)]
    pictures = Pictures(folder / "strip.png", folder / "clip.mp4", folder / "clip.gif", losses)
    reconstruction_strip(
        pictures.strip,
        [
            StripPanel(f"{ratio:.0%} hidden ({mask}), loss {losses[ratio]:.3f}", rows)
            for ratio, rows in panels.items()
        ],
        title=title,
        notes=[VIEW_NOTES[largest[-1].label]],
    )
    looping = labelled_clip(largest)
    write_mp4(pictures.mp4, np.concatenate([looping] * 4), _FPS)
    write_gif(pictures.gif, looping, _FPS)
    return pictures


def read_clip(video: Path, model: VideoMAEConfig, *, stride: int, start: int) -> Tensor:
    """Read a clip for a model out of a video's middle square, uint8 (T, C, H, W).

    Args:
        video: The file.
        model: Says how many frames and pixels.
        stride: Frames of the video from one frame of the clip to the next.
        start: The first of them.

    Raises:
        ConfigError: The video is missing or too short, or the model's frames are not square.
        DecodeError: The video cannot be read.
    """
    if not video.is_file():
        raise ConfigError(
            where="video", came=f"no file {video}", expected="a video file", todo="Check the path."
        )
    height, width = model.frame_size
    if height != width:
        raise ConfigError(
            where="weights",
            came=f"a model of {height} x {width} pixels",
            expected="a model of square frames",
            todo="Call videomae_train.evaluation.reconstruction.reconstruct_clip with your own crop.",
        )
    content = video.read_bytes()
    num_frames = probe_video(content, where=str(video)).num_frames
    wanted = start + stride * np.arange(model.num_frames)
    if wanted[-1] >= num_frames:
        raise ConfigError(
            where="start, stride",
            came=f"frames up to {wanted[-1]} of a video with {num_frames}",
            expected=f"{model.num_frames} frames inside the video",
            todo="Lower start or stride.",
        )
    frames = decode_frames(content, wanted, where=str(video), num_frames=num_frames)
    return crop_views(as_clip(frames), height, 1)[0]

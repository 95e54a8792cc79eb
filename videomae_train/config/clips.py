"""Clips of a training and of a score, and the words that make the second like the first."""

from __future__ import annotations

from videomae_train.data.options import FinetuneDataOptions, ViewOptions
from videomae_train.model.cards import TrainedClips


def clips_of_training(data: FinetuneDataOptions) -> TrainedClips:
    """Say how the clips of a fine-tuning lie."""
    return TrainedClips(
        data.windows.startswith("uniform"),
        data.stride,
        data.frame_interval_sec,
        data.crop_resampling == "uint8_antialias",
    )


def clips_of_views(data: ViewOptions) -> TrainedClips:
    """Say the same of a score's clips."""
    is_whole = data.windows in ("interleaved", "middle_uniform")
    return TrainedClips(is_whole, data.stride, data.frame_interval_sec, data.antialias)


def scoring_words(clips: TrainedClips) -> tuple[str, ...]:
    """Give the words of `videomae evaluate` for such clips; of whole videos two, as published."""
    antialias = f"data.antialias={str(clips.antialias).lower()}"
    if clips.is_whole:
        return ("data.windows=interleaved", "data.num_clips=2", "data.stride=null", antialias)
    stride = "null" if clips.stride is None else clips.stride
    interval = "null" if clips.frame_interval_sec is None else clips.frame_interval_sec
    return (f"data.stride={stride}", f"data.frame_interval_sec={interval}", antialias)

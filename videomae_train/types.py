"""What flows between the parts of the framework.

Shape letters, used everywhere: B clips of a batch, R views of a video, T frames, C channels, H W pixels,
N tokens (patches) of a clip, V visible, M hidden, U unscored tokens, D width, P values of a patch.

Tokens run time slowest, then row, then column. A mask is True where a token is hidden.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PatchGrid(NamedTuple):
    """How many patches a clip has along time, height and width.

    >>> PatchGrid(t=8, h=14, w=14).num_tokens
    1568
    """

    t: int
    h: int
    w: int

    @property
    def num_tokens(self) -> int:
        """Patches of the whole clip, N."""
        return self.t * self.h * self.w


class Fault(NamedTuple):
    """A video that could not be read, as it is counted and listed.

    Attributes:
        key: The sample's key in its data set.
        shard: File name of the shard that holds it.
        sample_id: Row of the data set's index.
        position: Position in the endless training order that met the fault; -1 outside training.
        cause: A `DecodeCause` value.
        detail: The decoder's own words.
    """

    key: str
    shard: str
    sample_id: int
    position: int
    cause: str
    detail: str


class Crops(NamedTuple):
    """What is still to be done to whole frames on the device.

    Attributes:
        boxes: int64 (B, 4): top, left, height and width of each clip's crop, in pixels of its frames.
        flips: bool (B,), clips to mirror.
    """

    boxes: Tensor
    flips: Tensor


class PretrainBatch(NamedTuple):
    """One micro-batch of masked clips.

    Attributes:
        clips: uint8 (B, T, C, H, W), RGB 0..255; a view of memory laid out (B, T, H, W, C), which is how frames come
            out of the decoder and what cutting into patches reads fastest. With `crops`, whole frames still: fewer rows
            than clips where several clips are cut from the same frames.
        visible_idx: int64 (B, V), ascending token numbers that the encoder sees.
        hidden_idx: int64 (B, M), ascending numbers of the hidden tokens to reconstruct: all, or a part of them.
        unscored_idx: int64 (B, U), ascending numbers of the visible tokens that the decoder predicts beside them,
            without a loss, as VideoMAE V2 does; U is 0 where only hidden tokens are decoded.
        sample_ids: int64 (B,), rows of the data set's index, as really used (after replacing faults).
        faults: The unreadable videos met on the way to this batch.
        crops: Set while the frames are whole, for cropping on the device; None once clips are clips.
    """

    clips: Tensor
    visible_idx: Tensor
    hidden_idx: Tensor
    unscored_idx: Tensor
    sample_ids: Tensor
    faults: tuple[Fault, ...]
    crops: Crops | None = None


class LabeledBatch(NamedTuple):
    """One micro-batch of labelled clips for training a classifier.

    Attributes:
        clips: uint8 (B, T, C, H, W), RGB 0..255, memory and whole frames as in `PretrainBatch`; float32 on the same
            scale where a crop is asked for that rounds nothing.
        labels: int64 (B,), class numbers.
        sample_ids: int64 (B,), rows of the data set's index.
        faults: The unreadable videos met on the way to this batch.
        erase_boxes: int64 (B, 4): top, left, height and width of what is erased after normalising, 0 high and wide for
            nothing; None without random erasing.
        crops: As in `PretrainBatch`.
    """

    clips: Tensor
    labels: Tensor
    sample_ids: Tensor
    faults: tuple[Fault, ...]
    erase_boxes: Tensor | None = None
    crops: Crops | None = None


class VideoFileBatch(NamedTuple):
    """Whole videos, straight from their files, with all their views.

    Attributes:
        clips: uint8 (B, R, T, C, H, W), RGB 0..255; R = clips x crops of each video.
        num_frames: int64 (B,), frames of each video.
        sample_ids: int64 (B,), places of the files in their list.
        faults: Files of this batch that could not be read; they have no row in the tensors.
    """

    clips: Tensor
    num_frames: Tensor
    sample_ids: Tensor
    faults: tuple[Fault, ...]


class EvaluationBatch(NamedTuple):
    """Whole videos with all their views, for a score.

    Attributes:
        clips: uint8 (B, R, T, C, H, W), RGB 0..255; R = clips x crops of each video.
        labels: int64 (B,), class numbers.
        sample_ids: int64 (B,), rows of the data set's index.
        faults: Videos of this batch that could not be read; they have no row in the tensors and are never replaced.
    """

    clips: Tensor
    labels: Tensor
    sample_ids: Tensor
    faults: tuple[Fault, ...]

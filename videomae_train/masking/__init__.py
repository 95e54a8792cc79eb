"""Masks: which tokens of a clip are hidden from the encoder, and which of those a decoder reconstructs."""

from videomae_train.masking.decoding import DecodeAll, DecodeRunningCells, DecodeSampler, DecodeShare
from videomae_train.masking.indices import keep_share, split_mask
from videomae_train.masking.patterns import sample_frame_mask, sample_random_mask, sample_tube_mask
from videomae_train.masking.running_cell import running_cell_map, sample_running_cell_mask
from videomae_train.masking.samplers import FrameMask, MaskSampler, RandomMask, TubeMask

__all__ = [
    "DecodeAll",
    "DecodeRunningCells",
    "DecodeSampler",
    "DecodeShare",
    "FrameMask",
    "MaskSampler",
    "RandomMask",
    "TubeMask",
    "keep_share",
    "running_cell_map",
    "sample_frame_mask",
    "sample_random_mask",
    "sample_running_cell_mask",
    "sample_tube_mask",
    "split_mask",
]

"""Architectures for benchmarks, where nothing composes YAML: the values of `configs/model/`, held equal by a test."""

from __future__ import annotations

from videomae_train.model import VideoMAEConfig

SIZES: dict[str, VideoMAEConfig] = {
    "tiny": VideoMAEConfig(
        image_size=64,
        patch_size=8,
        num_frames=8,
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        decoder_hidden_size=96,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=384,
    ),
    "small": VideoMAEConfig(
        hidden_size=384,
        num_attention_heads=6,
        intermediate_size=1536,
        decoder_hidden_size=192,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=768,
    ),
    "base": VideoMAEConfig(),
    "large": VideoMAEConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        decoder_hidden_size=512,
        decoder_num_hidden_layers=12,
        decoder_num_attention_heads=8,
        decoder_intermediate_size=2048,
    ),
}

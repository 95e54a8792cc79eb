from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stepping import CONFIG, Batches, fit, make_batch, make_module
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.model import VideoMAEForPreTraining, VideoMAEForVideoClassification
from videomae_train.training.speed import clip_flops, matmul_peak, peak_memory_gib
from videomae_train.types import LabeledBatch

CPU = torch.device("cpu")


def test_clip_flops__are_those_of_a_real_forward_and_backward_pass() -> None:
    model, batch = VideoMAEForPreTraining(CONFIG), make_batch(0, 3)
    with FlopCounterMode(display=False) as counter:
        model.training_loss(batch.clips, batch.visible_idx, batch.hidden_idx)
    forward = counter.get_total_flops() // 3
    # Backward, every product costs two more; but the pixels, which are the first layer's input, have no gradient.
    embedding = 2 * batch.visible_idx.shape[1] * CONFIG.patch_values * CONFIG.hidden_size
    assert clip_flops(model, batch) == 3 * forward - embedding


def test_clip_flops__do_not_count_what_is_computed_again() -> None:
    model, batch = VideoMAEForPreTraining(CONFIG), make_batch(0, 2)
    before = clip_flops(model, batch)
    model.set_grad_checkpointing()
    assert clip_flops(model, batch) == before


def test_clip_flops__of_a_classifier_count_every_token() -> None:
    model = VideoMAEForVideoClassification(replace(CONFIG, decoder_num_hidden_layers=1).with_labels(3))
    pixels = make_batch(0, 2).clips
    batch = LabeledBatch(pixels, torch.zeros(2, dtype=torch.int64), torch.arange(2), ())
    assert clip_flops(model, batch) > clip_flops(VideoMAEForPreTraining(CONFIG), make_batch(0, 2)) / 2


def test_measuring__draws_nothing_from_the_global_generator() -> None:
    model, batch = VideoMAEForPreTraining(CONFIG), make_batch(0, 1)
    matmul_peak.cache_clear()
    before = torch.get_rng_state()
    clip_flops(model, batch)
    matmul_peak(CPU, "fp32")
    assert torch.equal(torch.get_rng_state(), before)


def test_report__says_how_much_of_the_device_is_used(tmp_path: Path) -> None:
    module = make_module(2)
    fit(module, Batches(0, 2), tmp_path, until=4)
    latest = module.latest
    assert latest["train/peak_ratio"] == pytest.approx(
        latest["train/tflops_per_sec"] * 1e12 / matmul_peak(CPU, "fp32")
    )
    flops = clip_flops(module.model, make_batch(0, 1))  # type: ignore[arg-type]
    assert latest["train/tflops_per_sec"] == pytest.approx(latest["train/views_per_sec"] * flops / 1e12)
    assert latest["train/memory_gib"] == pytest.approx(peak_memory_gib(CPU), rel=0.5)
    assert 0.05 < latest["train/memory_gib"] < 100


def test_clip_flops__of_a_frozen_encoder_are_those_of_its_forward_pass() -> None:
    model, clips = VideoMAEForVideoClassification(replace(CONFIG, num_labels=2)), make_batch(0, 2)
    batch = LabeledBatch(clips.clips, torch.zeros(2, dtype=torch.int64), clips.sample_ids, ())
    with FlopCounterMode(display=False) as counter:
        model(batch.clips[:1].float())
    whole = clip_flops(model, batch)
    model.encoder.freeze("all")
    head = 2 * CONFIG.hidden_size * 2
    assert clip_flops(model, batch) == counter.get_total_flops() + 2 * head < whole / 2

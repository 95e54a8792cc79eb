"""What is counted without computing equals what computing shows; the sums are the sums."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.config.estimates import (
    PassCost,
    count_pass,
    disk_of_run,
    measure_device,
    memory_of_rank,
    state_values_per_weight,
)
from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining
from videomae_train.optim import OptimizerOptions
from videomae_train.training.speed import matmul_peak

SMALL = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=3, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip
ADAMW = OptimizerOptions("adamw", (0.9, 0.95), 1e-8, 0.05, 1.0)


def reconstruction(model: Any, batch: int = 4) -> Tensor:
    numbers = torch.arange(32).expand(batch, 32)
    clips = torch.zeros(batch, 4, 3, 32, 32, dtype=torch.uint8)
    return model.training_loss(clips, numbers[:, :8], numbers[:, 8:])


def really_kept_bytes(model: nn.Module, compute: torch.dtype) -> tuple[int, int]:
    """Run one pass on real tensors; return what autograd kept, and the operations."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter:
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", compute, enabled=compute != torch.float32),
        ):
            loss = reconstruction(model)
        loss.backward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), counter.get_total_flops()


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_count__equals_a_real_pass(compute: torch.dtype) -> None:
    counted = count_pass(lambda: VideoMAEForPreTraining(SMALL), reconstruction, compute=compute)
    model = VideoMAEForPreTraining(SMALL)
    kept, flops = really_kept_bytes(model, compute)
    assert counted.parameters == sum(weight.numel() for weight in model.parameters())
    assert counted.flops == flops
    assert counted.activation_bytes == pytest.approx(kept, rel=0.01)


def test_count__grows_with_the_batch() -> None:
    two, four = (
        count_pass(
            lambda: VideoMAEForPreTraining(SMALL),
            lambda model, batch=batch: reconstruction(model, batch),
            compute=torch.float32,
        )
        for batch in (2, 4)
    )
    assert four.flops == 2 * two.flops
    assert four.activation_bytes == pytest.approx(2 * two.activation_bytes, rel=0.02)


def test_count__recomputed_activations_cost_operations_and_spare_memory() -> None:
    deep = replace(SMALL, num_hidden_layers=8)

    def checkpointed() -> nn.Module:
        model = VideoMAEForPreTraining(deep)
        model.set_grad_checkpointing()
        return model

    plain = count_pass(lambda: VideoMAEForPreTraining(deep), reconstruction, compute=torch.float32)
    spared = count_pass(checkpointed, reconstruction, compute=torch.float32)
    assert spared.activation_bytes < 0.6 * plain.activation_bytes
    assert 1.1 * plain.flops < spared.flops < 1.4 * plain.flops


@pytest.mark.parametrize("half_format", [torch.bfloat16, torch.float16])
def test_count__mixed_precision_keeps_less_on_a_gpu(half_format: torch.dtype) -> None:
    full, half = (
        count_pass(
            lambda: VideoMAEForPreTraining(SMALL),
            lambda model: reconstruction(model, 32),
            compute=compute,
            on_gpu=True,
        )
        for compute in (torch.float32, half_format)
    )
    assert half.activation_bytes < 0.95 * full.activation_bytes
    assert half.flops == full.flops


def test_count__leaves_the_machine_as_it_was() -> None:
    state = torch.get_rng_state()
    count_pass(lambda: VideoMAEForPreTraining(SMALL), reconstruction, compute=torch.float32)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("name", "values"), [("adamw", 2), ("sgd", 1), ("lion", 1)])
def test_optimizer_state__is_measured(name: str, values: int) -> None:
    assert state_values_per_weight(replace(ADAMW, name=name, betas=None, eps=None)) == values


def test_optimizer_state__layer_decay_does_not_matter(caplog: pytest.LogCaptureFixture) -> None:
    assert state_values_per_weight(replace(ADAMW, layer_decay=0.75)) == 2
    assert not caplog.records, "timm has nothing to remark"


@pytest.mark.parametrize(("averaged", "best"), [(False, False), (True, False), (True, True)])
def test_sums__weights_gradients_moments_average_clips_activations(averaged: bool, best: bool) -> None:
    cost = PassCost(1000, 600, 0, 500)
    memory = memory_of_rank(cost, state_per_weight=2.0, averaged=averaged, clip_bytes=30)
    assert memory.total == 4 * 1000 * (1 + averaged) + 4 * 600 * (1 + 2) + 500 + 30
    disk = disk_of_run(cost, state_per_weight=2.0, averaged=averaged, keep=2, best=best)
    assert disk.checkpoint == 4_000 + 2 * 2_400 + 4_000 * averaged + 4_000 * best
    assert disk.total == 3 * disk.checkpoint + 4_000 * (1 + best)


def test_device__has_the_rate_that_training_is_measured_against() -> None:
    device = measure_device("cpu", precision="fp32", memory_bytes=1)
    assert device.matmul_flops_per_sec == matmul_peak(torch.device("cpu"), "fp32") > 1e8


@pytest.mark.slow
def test_count_pass__leaves_a_process_able_to_fork_children_that_train() -> None:
    program = """
import os, torch
from videomae_train.config.estimates import count_pass
layer = lambda: torch.nn.Linear(4, 4)
count_pass(layer, lambda layer: layer(torch.ones(2, 4)).sum(), compute=torch.float32)
child = os.fork()
if child:
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
torch.ones(2, requires_grad=True).sum().backward()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

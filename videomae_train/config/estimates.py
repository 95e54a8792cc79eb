"""What a run will cost on this machine: operations, memory, time and disk. Estimates, made without any data.

Operations and activations are counted on the true model: one forward and backward pass over fake tensors, which have
shapes but no values, takes a second or two for the largest model and no memory.

    memory of a rank = weights + their average + gradients + optimiser state + clips
                       + what autograd keeps for one micro-batch
    time of a step   = operations of its views / (ranks' matrix-product rate x UTILISATION)

Left out: decoding and every other wait for data, the allocator's slack, kernels' workspaces, CUDA's own context, the
Python process with its workers, and communication between ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from videomae_train.evaluation.number_format import PrecisionName
from videomae_train.model.blocks import fused_attention
from videomae_train.optim import OptimizerOptions, build_optimizer
from videomae_train.training.speed import matmul_peak

UTILISATION = 0.4
"""Share of the measured matrix-product rate that a training step is assumed to reach."""

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class PassCost:
    """One forward and backward pass over one micro-batch.

    Attributes:
        parameters: Of the model.
        trained: Those of them that are not frozen.
        flops: Floating point operations of the matrix products, twice the multiplications.
        activation_bytes: What autograd keeps from the forward to the backward pass, beside the parameters.
    """

    parameters: int
    trained: int
    flops: int
    activation_bytes: int


def count_pass(
    make_model: Callable[[], nn.Module],
    loss: Callable[[nn.Module], Tensor],
    *,
    compute: torch.dtype,
    on_gpu: bool = False,
) -> PassCost:
    """Count one pass without computing anything.

    Args:
        make_model: Called once, on the meta device.
        loss: The micro-batch's loss, from inputs that it makes itself; called where every tensor is fake.
        compute: float32, or the format that mixed precision's autocast takes.
        on_gpu: The run will be there; a processor attends to short sequences in bf16 in another way.
    """
    with torch.device("meta"):
        model = make_model()
    kept = _KeptTensors(model)
    # Autograd counts the devices at its first backward pass. Fake mode pretends a GPU: counted then, it would start a
    # thread for it, and this process could never again fork a child that trains.
    torch.zeros((), requires_grad=True).backward()
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        model.to_empty(device="cpu")
        kept.ignore_parameters()
        with (
            fused_attention() if on_gpu else nullcontext(),
            saved_tensors_hooks(kept.pack, lambda tensor: tensor),
        ):
            with torch.autocast("cpu", compute, enabled=compute != torch.float32):
                value = loss(model)
            value.backward()
    trained = [weight.numel() for weight in model.parameters() if weight.requires_grad]
    parameters = sum(weight.numel() for weight in model.parameters())
    return PassCost(parameters, sum(trained), counter.get_total_flops(), kept.num_bytes)


class _KeptTensors:
    """Adds up the memory that autograd holds on to, each storage once."""

    def __init__(self, model: nn.Module) -> None:
        self.num_bytes = 0
        self._model = model
        # Storages are held, since the id of a freed one could come again.
        self._seen: dict[int, torch.UntypedStorage] = {}

    def ignore_parameters(self) -> None:
        for weight in self._model.parameters():
            self._note(weight.untyped_storage())

    def pack(self, tensor: Tensor) -> Tensor:
        if self._note(tensor.untyped_storage()):
            self.num_bytes += tensor.untyped_storage().nbytes()
        return tensor

    def _note(self, storage: torch.UntypedStorage) -> bool:
        new = id(storage) not in self._seen
        self._seen[id(storage)] = storage
        return new


def state_values_per_weight(options: OptimizerOptions) -> float:
    """Measure how many values an optimiser keeps per weight, on a small matrix; 2 for AdamW."""
    layer = nn.Linear(64, 64, bias=False)
    # One layer has no layers to decay over, and the rate does not change how much is kept.
    optimizer = build_optimizer(layer, (), replace(options, layer_decay=1.0), peak_lr=1.0)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values()]
    values = sum(value.numel() for value in states if isinstance(value, Tensor) and value.numel() > 1)
    return values / layer.weight.numel()


@dataclass(frozen=True)
class Device:
    """What one rank computes on, as measured here.

    Attributes:
        name: For people.
        memory_bytes: In all.
        matmul_flops_per_sec: Largest rate of square matrix products in the run's precision.
    """

    name: str
    memory_bytes: int
    matmul_flops_per_sec: float


def measure_device(kind: str, *, precision: PrecisionName, memory_bytes: int) -> Device:
    """Measure how fast a device multiplies matrices.

    Args:
        kind: cpu or cuda.
        precision: The matrices' format.
        memory_bytes: Of the device.
    """
    name = torch.cuda.get_device_name() if kind == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    return Device(name, memory_bytes, matmul_peak(torch.device(kind), precision))


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank needs at the peak of a step."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    clips: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum((self.weights, self.gradients, self.optimizer, self.average, self.clips, self.activations))


def memory_of_rank(cost: PassCost, *, state_per_weight: float, averaged: bool, clip_bytes: int) -> Memory:
    """Add up a rank's memory; weights, their average, gradients and optimiser state are float32 in every precision.

    Frozen weights have neither gradients nor optimiser state.
    """
    weights, trained = cost.parameters * _FLOAT_BYTES, cost.trained * _FLOAT_BYTES
    average = weights if averaged else 0
    return Memory(
        weights, trained, int(trained * state_per_weight), average, clip_bytes, cost.activation_bytes
    )


@dataclass(frozen=True)
class Disk:
    """Bytes that a run leaves.

    Attributes:
        checkpoint: One checkpoint: weights, optimiser state and, where they are kept, the weights' average and the
            best weights.
        checkpoints: All that are kept, and the one being written beside them.
        weights: The weights folder at the end, and that of the best weights.
    """

    checkpoint: int
    checkpoints: int
    weights: int

    @property
    def total(self) -> int:
        """All of it, without logs: those stay under some MB."""
        return self.checkpoints + self.weights


def disk_of_run(cost: PassCost, *, state_per_weight: float, averaged: bool, keep: int, best: bool) -> Disk:
    """Add up a run's files; `best` says whether it validates and keeps the best weights."""
    weights, trained = cost.parameters * _FLOAT_BYTES, cost.trained * _FLOAT_BYTES
    checkpoint = int(weights * (1 + averaged + best) + trained * state_per_weight)
    return Disk(checkpoint, checkpoint * (keep + 1), weights * (1 + best))

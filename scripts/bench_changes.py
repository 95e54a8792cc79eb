"""Take back, one at a time, what makes the exact training step fast, and time each step beside the whole one.

python scripts/bench_changes.py --size small --batch 4 --rounds 5

Rows take turns. "times" is the step as it is over the step without the change, round by round: what the change brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from timm.layers.mlp import Mlp
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from videomae_train.benchmarks.alternating import in_turn
from videomae_train.benchmarks.contenders import Contender, synthetic_batch, training_step
from videomae_train.benchmarks.measuring import timed
from videomae_train.benchmarks.sizes import SIZES
from videomae_train.benchmarks.step import chosen_device, spread_text
from videomae_train.model import blocks, pretraining
from videomae_train.model.blocks import Block, RecomputingMlp
from videomae_train.model.pretraining import VideoMAEForPreTraining

Without = Callable[[], AbstractContextManager[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--only", choices=list(CHANGES)[1:], help="one change instead of all")
    given = parser.parse_args()
    device, config = torch.device(chosen_device("auto")), SIZES[given.size]
    batch = synthetic_batch(config, "joint", given.batch, device)
    steps: dict[str, Callable[[], None]] = {}
    for name, without in CHANGES.items():
        if given.only not in (None, name) and name != WHOLE:
            continue
        own = training_step(Contender("joint", given.precision, compile=False), config, batch)
        steps[name] = _inside(without, own)
        steps[name]()
    rounds = in_turn({name: timed(step, device) for name, step in steps.items()}, given.rounds)
    print(
        f"{given.size}, batch {given.batch}, {given.precision}, {device.type}, {torch.get_num_threads()} threads"
    )
    for name in steps:
        times = rounds.ratio(WHOLE, name)
        print(f"{name:36} {rounds.spread(name).median * 1000:9.1f} ms   {spread_text(times)} times")


def _inside(without: Without, step: Callable[[], None]) -> Callable[[], None]:
    def changed() -> None:
        with without():
            step()

    return changed


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Generator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _normalise_and_embed_everything(
    self: VideoMAEForPreTraining, patches: Tensor, visible_idx: Tensor, hidden_idx: Tensor
) -> Tensor:
    embed = self.encoder.patch_embed
    x = pretraining.gather_tokens(embed(embed.normalise(patches)), visible_idx)
    positions = self.encoder.positions[visible_idx]
    x = x + positions.to(x.dtype)
    for block in self.encoder.blocks:
        x = block(x)
    return self.decode(self.encoder.norm(x), visible_idx, hidden_idx)


def _gather_values(tokens: Tensor, idx: Tensor) -> Tensor:
    return tokens.gather(1, idx.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))


def _all_queries(own: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: Block, x: Tensor, num_queries: int | None = None) -> Tensor:
        x = own(self, x)
        return x if num_queries is None else x[:, -num_queries:]

    return forward


@contextmanager
def _one_by_one() -> Generator[None]:
    """Let the optimiser take its parameters one after another."""
    own = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["fused"], group["foreach"] = False, False
        for state in self.state.values():
            state["step"] = state["step"].cpu()
        return own(self, closure)

    with _replaced(torch.optim.AdamW, "step", step):
        yield


WHOLE = "as it is"
CHANGES: dict[str, Without] = {
    WHOLE: nullcontext,
    "every patch embedded": lambda: _replaced(
        VideoMAEForPreTraining, "_predict", _normalise_and_embed_everything
    ),
    "values gathered one by one": lambda: _replaced(pretraining, "gather_tokens", _gather_values),
    "last block on visible tokens too": lambda: _replaced(Block, "forward", _all_queries(Block.forward)),
    "attention without a fused kernel": lambda: sdpa_kernel(SDPBackend.MATH),
    "short sequences in bf16 as long ones": blocks.fused_attention,
    "optimiser without a fused kernel": _one_by_one,
    "hidden layers of MLPs kept twice": lambda: _replaced(RecomputingMlp, "forward", Mlp.forward),
}


if __name__ == "__main__":
    main()

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from videomae_train.model.heads import BatchStandardise
from videomae_train.training.gradient_sync import order_buckets


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_order_buckets__leaves_running_figures_as_they_were(one_rank: None) -> None:
    model = DistributedDataParallel(nn.Sequential(BatchStandardise(4), nn.Linear(4, 4)))
    model(torch.randn(8, 4))
    before = [buffer.clone() for buffer in model.buffers()]
    order_buckets(model, lambda: model(torch.randn(8, 4)).sum().backward())
    assert all(torch.equal(*each) for each in zip(model.buffers(), before, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())

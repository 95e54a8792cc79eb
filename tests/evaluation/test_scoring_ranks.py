import pytest
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from videomae_train.errors import TrainingError
from videomae_train.evaluation import ranks


class FabricStandIn:
    def __init__(self, **settings: object) -> None:
        self.settings = settings


@pytest.mark.parametrize(("kind", "index"), [("cuda", 0), ("cpu", None)])
def test_one_device__is_one_that_torch_can_make_the_current_one(
    kind: str, index: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU without a number is none: torch.cuda.set_device refuses it."""
    monkeypatch.setattr(ranks, "Fabric", FabricStandIn)
    environment = LightningEnvironment()
    made = ranks.Ranks(torch.device(kind), devices=1, num_nodes=1, environment=environment)
    settings = made._fabric.settings  # type: ignore[attr-defined]
    assert settings["strategy"].root_device == torch.device(kind, index)
    assert settings["plugins"] == [environment]


def test_several_devices__talk_by_gloo_which_notices_a_dead_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "Fabric", FabricStandIn)
    made = ranks.Ranks(torch.device("cuda"), devices=2, num_nodes=1, environment=LightningEnvironment())
    settings = made._fabric.settings  # type: ignore[attr-defined]
    assert settings["strategy"].process_group_backend == "gloo"


def test_full_memory__is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(rank: int, world: int, device: torch.device) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    made = ranks.Ranks(torch.device("cpu"), devices=1, num_nodes=1, environment=LightningEnvironment())
    with pytest.raises(TrainingError, match=r"2\.00 GiB.*batch_videos"):
        made.gather(too_much)

import pytest
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

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

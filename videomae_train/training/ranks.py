"""Lightning's name for who started this process, and so knows its rank."""

from __future__ import annotations

import os

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from videomae_train.errors import ConfigError
from videomae_train.training.starters import started_by_srun, started_by_torchrun


def rank_environment(*, devices: int, num_nodes: int, keys: str = "trainer.") -> ClusterEnvironment:
    """Choose by who started the process: torchrun, srun, or a person, for whom Lightning starts one node's ranks.

    Lightning's own choice also takes srun for granted wherever Slurm's variables are set (a batch script without srun
    then waits for ranks that nobody starts), and installs signal handlers that save inside the handler.

    Args:
        devices: Ranks of each node.
        num_nodes: Nodes.
        keys: What stands before `devices` and `num_nodes` in the configuration, for errors.

    Raises:
        ConfigError: The starter made another number of ranks, or several nodes have no starter.
    """
    if started_by_torchrun():
        _check_ranks("torchrun", int(os.environ["WORLD_SIZE"]), devices, num_nodes, keys)
        return TorchElasticEnvironment()
    if started_by_srun():
        _check_ranks("srun", int(os.environ["SLURM_NTASKS"]), devices, num_nodes, keys)
        return SLURMEnvironment(auto_requeue=False)
    if num_nodes > 1:
        raise ConfigError(
            where=f"{keys}num_nodes",
            came=f"{num_nodes}, and this process was started by neither srun nor torchrun",
            expected="a starter that reaches every node",
            todo="Start the command with srun or torchrun"
            + (", or add launcher=slurm" if keys else "")
            + "; see docs/pretraining.md.",
        )
    return LightningEnvironment()


def _check_ranks(starter: str, found: int, devices: int, num_nodes: int, keys: str) -> None:
    if found != devices * num_nodes:
        raise ConfigError(
            where=f"{keys}devices, {keys}num_nodes",
            came=f"{devices} x {num_nodes} = {devices * num_nodes} ranks, while {starter} started {found}",
            expected="as many ranks as processes",
            todo=f"Change them, or the number of {'tasks' if starter == 'srun' else 'processes'} of {starter}.",
        )

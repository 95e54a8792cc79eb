import pytest

from videomae_train.errors import ConfigError
from videomae_train.training.ranks import rank_environment

SRUN = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "pretrain"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4"}


@pytest.fixture(autouse=True)
def no_starter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SRUN, *TORCHRUN):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_rank_environment__of_srun_leaves_signals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, SRUN)
    environment = rank_environment(devices=2, num_nodes=2)
    assert type(environment).__name__ == "SLURMEnvironment"
    assert environment.auto_requeue is False  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("missing", "value"), [("SLURM_STEP_ID", None), ("SLURM_JOB_NAME", "bash")], ids=["batch script", "shell"]
)
def test_rank_environment__slurm_without_srun_starts_its_own_ranks(
    missing: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lightning's own choice here would wait for ranks that nobody starts.
    set_all(monkeypatch, SRUN)
    monkeypatch.delenv(missing) if value is None else monkeypatch.setenv(missing, value)
    assert type(rank_environment(devices=4, num_nodes=1)).__name__ == "LightningEnvironment"


def test_rank_environment__of_torchrun_inside_slurm_is_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**SRUN, **TORCHRUN})
    assert type(rank_environment(devices=2, num_nodes=2)).__name__ == "TorchElasticEnvironment"


@pytest.mark.parametrize(("starter", "variables"), [("srun", SRUN), ("torchrun", TORCHRUN)])
def test_rank_environment__another_number_of_ranks_is_an_error(
    starter: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(ConfigError, match=f"1 x 2 = 2 ranks, while {starter} started 4"):
        rank_environment(devices=1, num_nodes=2)


def test_rank_environment__several_nodes_want_a_starter() -> None:
    with pytest.raises(ConfigError, match="neither srun nor torchrun"):
        rank_environment(devices=1, num_nodes=2)


def test_rank_environment__names_the_keys_of_what_is_scored() -> None:
    with pytest.raises(ConfigError, match=r"^num_nodes: 2"):
        rank_environment(devices=1, num_nodes=2, keys="")

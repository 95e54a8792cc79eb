import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from videomae_train.config.loader import compose_config, run_composed, run_folder
from videomae_train.config.paths import configs_folder
from videomae_train.errors import ConfigError

JOB = """
import sys
from videomae_train.config.submitted import run_submitted
from videomae_train.errors import ShardError

def action():
    if {error!r} == "ours":
        raise ShardError(where="set", came="damage", expected="none", todo="Repair it.")
    if {error!r} == "foreign":
        raise ZeroDivisionError("a bug")

try:
    run_submitted(action)
except Exception as error:  # Hydra does the same, and hands the error to whoever submitted the job
    print("handed back:", error)
"""


@pytest.mark.parametrize(
    ("error", "code", "logged"),
    [
        (None, 0, ""),
        ("ours", 1, "Error: set: damage; expected none. Repair it."),
        ("foreign", 1, "ZeroDivisionError: a bug"),
    ],
)
def test_run_submitted__log_and_exit_code_tell_a_failure(error: str | None, code: int, logged: str) -> None:
    job = subprocess.run(
        [sys.executable, "-c", JOB.format(error=error)], capture_output=True, text=True, check=False
    )
    assert job.returncode == code
    assert logged in job.stderr
    assert ("handed back:" in job.stdout) == (error is not None)


def hydra_of(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(configs_folder()), version_base="1.3"):
        given = ["data.path=x", "run=somewhere", *overrides]
        return compose("pretrain", given, return_hydra_config=True).hydra


def test_launcher__is_a_slurm_job_of_the_trainers_size() -> None:
    given = ["launcher=slurm", "trainer=ddp", "trainer.num_nodes=4", "hydra.launcher.partition=gpu"]
    hydra = hydra_of(*given)
    assert hydra.mode.name == "MULTIRUN", "in any other mode the job would run here"
    launcher = hydra.launcher
    assert launcher["_target_"].endswith("SlurmLauncher")
    assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (4, 8, 8)
    assert launcher.partition == "gpu"
    assert compose_config("pretrain", ["data.path=x", *given]).resume == "auto"


def test_launcher__without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    compose_config("pretrain", ["data.path=x", "launcher=slurm"])  # which brings in Hydra's plugins
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "submitit_slurm.yaml")
    with pytest.raises(ConfigError, match=r"'\.\[slurm\]'"):
        compose_config("pretrain", ["data.path=x", "launcher=slurm"])


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_sweep__each_run_has_a_folder_named_by_what_differs(
    verb: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = tmp_path_factory.mktemp("sweep") / "runs"
    folders: list[str] = []
    arguments = ["data.path=x", f"run={run}", "optim.base_lr=0.001,0.002", "loader.num_workers=0"]
    run_composed(verb, ["-m", *arguments], lambda mapping: folders.append(str(run_folder())))
    assert folders == [f"{run}/optim.base_lr-0.001", f"{run}/optim.base_lr-0.002"]
    # The names need no quotes where they are given again.
    for folder in folders:
        assert compose_config("pretrain", [f"data.path={folder}"]).data.path == folder


def test_info__at_the_end_of_a_command_takes_no_word_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    run_composed("pretrain", ["data.path=x", "--info"], lambda mapping: None)
    assert "invalid choice" not in capsys.readouterr().err


def test_sweep__one_run_is_the_folder_itself(tmp_path_factory: pytest.TempPathFactory) -> None:
    run = tmp_path_factory.mktemp("sweep") / "runs"
    folders: list[str] = []
    run_composed(
        "pretrain", ["-m", "data.path=x", f"run={run}"], lambda mapping: folders.append(str(run_folder()))
    )
    assert folders == [str(run)]

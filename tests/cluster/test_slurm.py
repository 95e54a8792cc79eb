"""Pretraining on a real Slurm of two nodes; `make test-cluster` starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from command_line import QUICK, SMALL

from videomae_train.model import load_pretraining_model
from videomae_train.training.records import read_metric

pytestmark = pytest.mark.slow

VIDEOMAE = Path(sys.executable).parent / "videomae"
SCRIPTS = Path(__file__).parents[2] / "scripts" / "slurm"
STEPS = 400
TINY = ["model=tiny", *SMALL, *QUICK, "trainer.micro_batch=1", "trainer.threads=1", f"optim.steps={STEPS}"]
SUBMIT = ["launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=5"]


@dataclass(frozen=True)
class Cluster:
    """The cluster and what runs on it.

    Attributes:
        environment: In which Slurm's commands reach the cluster.
        data: The packed set.
        runs: Folder of the runs' folders.
    """

    environment: dict[str, str]
    data: Path
    runs: Path

    def run(self, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = list(map(str, command))
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=check)

    def submit(self, run: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Submit through the launcher, which waits for the job."""
        words = [*flags, *TINY, *SUBMIT, f"data.path={self.data}", f"run={self.runs / run}", *arguments]
        return subprocess.Popen(
            [VIDEOMAE, "pretrain", *words], env=self.environment, cwd=self.runs,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def state(self, job: str) -> str:
        found = re.search(r"JobState=(\w+)", self.run("scontrol", "show", "job", job).stdout)
        assert found is not None
        return found.group(1)

    def logs(self, run: str) -> dict[str, str]:
        return {file.name: file.read_text() for file in (self.runs / run).glob("slurm/*/*_log.out")}


def wait_for(what: str, there: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"no {what} within {seconds:.0f} s"
        time.sleep(0.05)


def output_of(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def cluster(slurm: dict[str, str], packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(slurm, packed_motions, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def uninterrupted(cluster: Cluster) -> subprocess.Popen[str]:
    return cluster.submit("uninterrupted", "trainer.num_nodes=2")


@pytest.fixture(scope="module")
def requeued(cluster: Cluster) -> subprocess.Popen[str]:
    """A job that is requeued from outside, in the middle of its steps."""
    process = cluster.submit("requeued", "trainer.num_nodes=2")
    run = cluster.runs / "requeued"
    wait_for(
        "steps", lambda: any(len(file.read_text().splitlines()) > 3 for file in run.glob("logs/*/*.csv"))
    )
    (job,) = [file.name for file in (run / "slurm").iterdir() if file.is_dir()]
    cluster.run("scontrol", "requeue", job)
    return process


@pytest.fixture(scope="module")
def sweep(cluster: Cluster) -> subprocess.Popen[str]:
    return cluster.submit("sweep", "masking.ratio=0.5,0.75,0.9", "optim.steps=6", flags=("-m",))


@pytest.fixture(scope="module", autouse=True)
def limited(cluster: Cluster) -> str:
    """A job that its time limit cuts in two, submitted before anything else since it takes longest.

    Slurm looks every 30 s: the warning comes 70 to 100 s after the start, and the second attempt ends before its own.
    """
    program = f"{sys.executable} {Path(__file__).with_name('held_pretraining.py')}"
    environment = f"--export=ALL,VIDEOMAE={program},RUN={cluster.runs / 'limited'}"
    size = ["--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=1"]
    limit = ["--time=2", "--signal=USR2@20", f"--output={cluster.runs}/limited.out", environment]
    # The warning reaches the loader's workers too.
    script = [SCRIPTS / "pretrain.sbatch", *TINY, f"data.path={cluster.data}", "loader.num_workers=1"]
    submitted = cluster.run("sbatch", "--parsable", *size, *limit, *script)
    return submitted.stdout.strip()


def assert_same_weights(run: Path, other: Path) -> None:
    ours, theirs = (load_pretraining_model(folder / "weights").state_dict() for folder in (run, other))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def steps_of_checkpoints(run: Path) -> list[int]:
    return sorted(int(file.stem.removeprefix("step-")) for file in (run / "checkpoints").glob("*.ckpt"))


def test_launcher__pretrains_on_two_nodes(cluster: Cluster, uninterrupted: subprocess.Popen[str]) -> None:
    output_of(uninterrupted)
    run = cluster.runs / "uninterrupted"
    assert read_metric(run, "train/loss")[0] == list(range(1, STEPS + 1)), "one record, of rank 0"
    assert load_pretraining_model(run / "weights").config.hidden_size == 24
    logs = cluster.logs("uninterrupted")
    assert len(logs) == 2, "a log for each rank"
    of_rank = {name.split("_")[1]: text for name, text in logs.items()}
    assert f"{STEPS} steps in" in of_rank["0"]
    assert "steps" not in of_rank["1"], "progress comes from rank 0 only"
    assert "node=1(2)" in of_rank["1"], "the second rank ran on the second node"
    assert not list((run / "ranks").iterdir()), "no rank left a sign of trouble"


def test_launcher__a_sweep_is_an_array_with_a_folder_for_each_point(
    cluster: Cluster, sweep: subprocess.Popen[str]
) -> None:
    output_of(sweep)
    for ratio, hidden in ((0.5, 16), (0.75, 24), (0.9, 28)):
        run = cluster.runs / "sweep" / f"masking.ratio-{ratio}" / "pretrain"
        assert read_metric(run, "train/loss")[0] == [1, 2, 3, 4, 5, 6]
        assert f"{hidden} of 32 tokens hidden" in run.with_name("pretrain.log").read_text()
    assert len({name.split("_")[1] for name in cluster.logs("sweep")}) == 3, "tasks of one array"


def test_sweep__runs_the_shared_pretraining_first_then_the_points_as_an_array(cluster: Cluster) -> None:
    """Each job on both nodes; one point cannot be trained, which is known only there."""
    later = [word for word in QUICK if not word.startswith(("logger", "trainer.accelerator"))]
    chain = [
        *("sweep.then=[finetune,evaluate]", "finetune.optim.base_lr=1e-3,1e30", "trainer.num_nodes=2"),
        *(f"finetune.{word}" for word in [*later, "trainer.micro_batch=2", "trainer.max_nonfinite_steps=1"]),
        *(
            "data.selection=split/train",
            "finetune.data.selection=split/train",
            "evaluate.data.selection=split/test",
        ),
        *("evaluate.data.num_clips=1", "evaluate.data.num_crops=1", "evaluate.loader.num_workers=0"),
    ]
    process = cluster.submit("chain", *chain, "optim.steps=6", flags=("-m",))
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1, output
    assert "1 of 2 points that are not finished: finetune.optim.base_lr-1e+30" in output
    points = json.loads((cluster.runs / "chain" / "sweep.json").read_text())["points"]
    assert sorted(point["state"] for point in points.values()) == ["failed", "finished"]
    assert all(point["score"] is not None for point in points.values() if point["state"] == "finished")
    (shared,) = (cluster.runs / "chain" / "_shared").glob("pretrain-*/run.json")
    assert json.loads(shared.read_text())["steps"] == 6
    arrays = {name.split("_")[0] for name in cluster.logs("chain")}
    assert len(arrays) == 2, "one array for what is shared, one for the points"
    before = cluster.logs("chain").keys()
    again = cluster.submit("chain", *[word for word in chain if "1e30" not in word], "optim.steps=6",
                           "finetune.optim.base_lr=1e-3", flags=("-m",))  # fmt: skip
    output_of(again)
    assert cluster.logs("chain").keys() == before, "finished points are not even submitted"


def test_scontrol_requeue__in_mid_epoch_ends_in_the_same_weights(
    cluster: Cluster, requeued: subprocess.Popen[str], uninterrupted: subprocess.Popen[str]
) -> None:
    output_of(uninterrupted)
    output = output_of(requeued)  # the launcher waits over the requeueing
    first, *_, last = steps_of_checkpoints(cluster.runs / "requeued")
    assert 0 < first < last == STEPS, output
    assert f"Stopped by SIGTERM at step {first}," in "".join(cluster.logs("requeued").values())
    assert_same_weights(cluster.runs / "requeued", cluster.runs / "uninterrupted")


def test_sweep__a_requeued_task_goes_on_where_it_was(
    cluster: Cluster, uninterrupted: subprocess.Popen[str]
) -> None:
    """On both nodes; the point that was cut in two ends as the run that was left alone."""
    process = cluster.submit("requeued_sweep", "seed=0,1", "trainer.num_nodes=2", flags=("-m",))
    sweep = cluster.runs / "requeued_sweep"
    cut = sweep / "seed-0" / "pretrain"
    wait_for(
        "steps", lambda: any(len(file.read_text().splitlines()) > 3 for file in cut.glob("logs/*/*.csv"))
    )
    tasks = {name.rsplit("_", 2)[0] for name in cluster.logs("requeued_sweep")}
    (task,) = [task for task in tasks if task.endswith("_0")]
    cluster.run("scontrol", "requeue", task)
    output_of(process)
    points = json.loads((sweep / "sweep.json").read_text())["points"]
    assert {name: point["state"] for name, point in points.items()} == {
        "seed-0": "finished", "seed-1": "finished",
    }  # fmt: skip
    first, *_, last = steps_of_checkpoints(cut)
    assert 0 < first < last == STEPS
    assert f"Stopped by SIGTERM at step {first}," in cut.with_name("pretrain.log").read_text()
    output_of(uninterrupted)
    assert_same_weights(cut, cluster.runs / "uninterrupted")


def test_sweep__a_score_that_the_time_limit_meets_is_begun_again(cluster: Cluster) -> None:
    """What trains saves by itself; a score has nothing to save, and its task is given back to Slurm."""
    later = [word for word in QUICK if not word.startswith(("logger", "trainer.accelerator"))]
    chain = [
        *("sweep.then=[finetune,evaluate]", "seed=0", "optim.steps=4", "data.selection=split/train"),
        *(f"finetune.{word}" for word in [*later, "trainer.micro_batch=2"]),
        *(
            "finetune.data.selection=split/train",
            "evaluate.data.selection=split/test",
            "evaluate.loader.num_workers=0",
        ),
    ]
    process = cluster.submit("warned", *chain, flags=("-m",))
    log = cluster.runs / "warned" / "point" / "evaluate.log"
    wait_for("score that has begun", log.exists)
    (task,) = {name.rsplit("_", 2)[0] for name in cluster.logs("warned")}
    cluster.run("scancel", "--signal=USR2", "--full", task)
    output_of(process)
    assert "Slurm starts task" in "".join(cluster.logs("warned").values())
    (point,) = json.loads((cluster.runs / "warned" / "sweep.json").read_text())["points"].values()
    assert (point["state"], point["stage"]) == ("finished", "evaluate")


def test_launcher__a_failure_reaches_the_log_slurm_and_who_waits(cluster: Cluster) -> None:
    process = cluster.submit("failing", "init=/nowhere")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "Error: /nowhere: no such file or folder" in output
    (log,) = cluster.logs("failing").values()
    assert "Error: /nowhere: no such file or folder" in log
    (job,) = [file.name for file in (cluster.runs / "failing" / "slurm").iterdir() if file.is_dir()]
    wait_for("end of the job", lambda: cluster.state(job) == "FAILED", 30)


def test_launcher__submits_nothing_that_could_not_run(cluster: Cluster) -> None:
    process = cluster.submit("refused", "data.path=/nowhere")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "Error: /nowhere: no such folder" in output
    assert not cluster.logs("refused")


def test_launcher__learns_from_the_queue_of_a_job_that_was_cancelled(cluster: Cluster) -> None:
    """Which leaves no result; this cluster keeps no accounts that could be asked."""
    process = cluster.submit("cancelled", "optim.steps=1000000")
    run = cluster.runs / "cancelled"
    wait_for("steps", lambda: list(run.glob("logs/*/*.csv")))
    (job,) = [file.name for file in (run / "slurm").iterdir() if file.is_dir()]
    cluster.run("scancel", "--signal=KILL", "--full", job)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output
    assert f"Error: Slurm's job {job}: no result, and it is no longer in Slurm's queue" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("with_signal", ["KILL", "STOP"])
def test_a_rank_that_dies_or_hangs__ends_the_job_with_its_name(cluster: Cluster, with_signal: str) -> None:
    run = cluster.runs / with_signal
    settings = ["trainer.num_nodes=2", "trainer.rank_timeout_sec=15", "optim.steps=1000000"]
    words = [*TINY, *settings, f"data.path={cluster.data}", f"run={run}"]
    srun = ["srun", "--nodes=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--job-name=train"]
    with subprocess.Popen(
        [*srun, VIDEOMAE, "pretrain", *words], env=cluster.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        file = run / "ranks" / "rank-0001.json"
        wait_for("steps", lambda: file.exists() and json.loads(file.read_text())["step"] >= 3)
        victim = json.loads(file.read_text())["process"]
        os.kill(victim, getattr(signal, f"SIG{with_signal}"))
        output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"rank 1 (n2, process {victim})" in output, output


def test_time_limit__saves_requeues_and_ends_in_the_same_weights(
    cluster: Cluster, limited: str, uninterrupted: subprocess.Popen[str]
) -> None:
    output_of(uninterrupted)
    run = cluster.runs / "limited"
    wait_for("end of the job", lambda: cluster.state(limited) not in ("RUNNING", "PENDING", "COMPLETING"))
    logs = "".join(cluster.logs("limited").values())
    assert cluster.state(limited) == "COMPLETED", logs
    assert "Stopped by SIGUSR2 at step 3," in logs
    assert f"Slurm starts job {limited} again." in logs
    # On a busy machine the second attempt may meet the limit too, whose warning comes up to a minute early.
    assert "Restarts=0" not in cluster.run("scontrol", "show", "job", limited).stdout
    assert steps_of_checkpoints(run)[-1] == STEPS
    assert_same_weights(run, cluster.runs / "uninterrupted")

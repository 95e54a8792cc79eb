"""A Slurm cluster of two nodes on this machine's loopback: started in a folder, stopped by process id.

    python tests/cluster/slurm_daemons.py            says what is missing, or nothing
    python tests/cluster/slurm_daemons.py --install  installs it with apt-get (as root, on Debian or Ubuntu)

Nothing outside the folder is written: the daemons have a key, a configuration and sockets of their own.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

NODES = ("n1", "n2")
PROGRAMS = {"munged": "munge", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm"}
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def missing_programs() -> list[str]:
    """Name what the cluster needs and this machine has not."""
    return [program for program in PROGRAMS if _find(program) is None]


def install_programs() -> None:
    """Install what is missing with apt-get; Debian's packages are told not to start services of their own."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    packages = sorted({PROGRAMS[program] for program in missing_programs()})
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(install, check=True, env=environment, stdout=subprocess.DEVNULL)


def _find(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *_SYSTEM_FOLDERS]))


def _program(name: str) -> str:
    found = _find(name)
    assert found is not None, f"{name} is missing: install {PROGRAMS.get(name, 'slurm-wlm')}"
    return found


@contextlib.contextmanager
def running_cluster(folder: Path) -> Generator[dict[str, str]]:
    """Run the daemons below `folder`; give the environment in which Slurm's commands reach them."""
    environment = {
        **os.environ,
        "SLURM_CONF": str(folder / "slurm.conf"),
        # Both nodes are this machine: n1 and n2 stand in no hosts file.
        "MASTER_ADDR": "127.0.0.1",
    }
    _write_configuration(folder)
    with contextlib.ExitStack() as daemons:
        key = f"--key-file={folder / 'munge.key'}"
        files = [f"--{name}-file={folder / f'munge.{name}'}" for name in ("log", "pid", "seed")]
        munged = [_program("munged"), "--foreground", "--force", f"--socket={folder / 'munge.socket'}", key]
        daemons.enter_context(_daemon("munged", [*munged, *files], folder, environment))
        _wait_for("munge's socket", (folder / "munge.socket").exists)
        daemons.enter_context(_daemon("slurmctld", [_program("slurmctld"), "-D"], folder, environment))
        for node in NODES:
            daemons.enter_context(_daemon(node, [_program("slurmd"), "-D", "-N", node], folder, environment))
        try:
            _wait_for("two idle nodes", lambda: _idle_nodes(environment) == len(NODES))
        except TimeoutError as error:
            error.add_note((folder / "slurmctld.out").read_text()[-3000:])
            raise
        yield environment
        subprocess.run(["scancel", "--full", "--user", str(os.getuid())], env=environment, check=False)
        _wait_for("an empty queue", lambda: not _queue(environment))


@contextlib.contextmanager
def _daemon(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> Generator[None]:
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()


def _write_configuration(folder: Path) -> None:
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    host, user = socket.gethostname(), _user()
    control, *ports = _free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 Gres=gpu:8 State=UNKNOWN"
        for node, port in zip(NODES, ports, strict=True)
    )
    for number in range(8):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-7]\n")
    (folder / "slurm.conf").write_text(
        f"""ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# cred_expire: a requeued job starts again after 21 s instead of 121 s.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# The nodes claim more cores than the machine has, so that jobs of several tests run beside each other.
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0
KillWait=20
# Ended jobs can be asked about until the tests' end, however long that takes here.
MinJobAge=3600
ReturnToService=2
# Files instead of devices: the jobs ask for GPUs as real ones do, and compute on the CPU.
GresTypes=gpu
{nodes}
PartitionName=test Nodes=ALL Default=YES MaxTime=30 State=UP
"""
    )


def _user() -> str:
    return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]


def _idle_nodes(environment: dict[str, str]) -> int:
    asked = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--states=idle"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return len(asked.stdout.splitlines())


def _queue(environment: dict[str, str]) -> str:
    asked = subprocess.run(
        ["squeue", "--noheader"], env=environment, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def _wait_for(what: str, there: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:.0f} s")
        time.sleep(0.2)


def main() -> int:
    if "--install" in sys.argv[1:] and missing_programs():
        install_programs()
    missing = missing_programs()
    if missing:
        packages = " ".join(sorted({PROGRAMS[program] for program in missing}))
        print(
            f"The cluster's tests need {', '.join(missing)}: apt-get install {packages}, or let"
            " VIDEOMAE_CLUSTER_INSTALL=1 make test-cluster do so as root.",
            file=sys.stderr,
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

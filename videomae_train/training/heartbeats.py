"""Signs of life: one small file a rank in the run's folder, which every node sees."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heartbeat:
    """What a rank says of itself.

    Attributes:
        rank: Its number in the whole run.
        node: The node's name, as Slurm has it where there is Slurm.
        host: The machine and its numbering of processes, by which others know whether they can look at the process.
        process: The process id.
        beat: Counts the beats, so that no two are alike.
        progress: Counts what the training loop did in this attempt; the same events in the same order on every rank.
        step: Optimizer steps taken.
        doing: What the training loop is at, in words.
        failure: Why the rank ends; None while it goes on.
    """

    rank: int
    node: str
    host: str
    process: int
    beat: int
    progress: int
    step: int
    doing: str
    failure: str | None

    @property
    def name(self) -> str:
        """The rank as a person looks for it."""
        return f"rank {self.rank} ({self.node}, process {self.process})"

    @property
    def place(self) -> str:
        """Where the rank is in the run."""
        return f"at step {self.step}, {self.doing}"

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == host_name()

    @property
    def is_running(self) -> bool:
        """Whether its process exists; only for one that is here."""
        return process_is_running(self.process)


def process_is_running(process: int) -> bool:
    """Say whether a process of this machine exists and has not ended."""
    try:
        os.kill(process, 0)
        status = Path(f"/proc/{process}/stat").read_text()
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's process, or a system without /proc
    # A killed child that its parent has not looked after yet exists as a zombie.
    return status.rpartition(")")[2].split()[0] != "Z"


def host_name() -> str:
    """Return a name of this machine, since it was started, and of its numbering of processes.

    Nodes may all be called localhost, and containers as their host while their processes have numbers of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # a system without /proc
        return socket.gethostname()


def node_name() -> str:
    """Return this node's name: Slurm's, or the machine's own."""
    return os.environ.get("SLURMD_NODENAME", socket.gethostname())


def write_heartbeat(folder: Path, heartbeat: Heartbeat) -> None:
    """Replace the rank's file, whole."""
    path = _path(folder, heartbeat.rank)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(heartbeat)))
    unfinished.replace(path)


def read_heartbeat(folder: Path, rank: int) -> Heartbeat | None:
    """Read a rank's file; None when there is none.

    Raises:
        OSError: The file system does not give it.
    """
    try:
        return Heartbeat(**json.loads(_path(folder, rank).read_text()))
    except FileNotFoundError:
        return None


def remove_heartbeat(folder: Path, rank: int) -> None:
    """Take the rank's file away: it has ended as it should."""
    _path(folder, rank).unlink(missing_ok=True)


def _path(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:04d}.json"

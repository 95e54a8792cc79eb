"""Kill `videomae pack` at random moments, start it again, and compare the result with a straight run.

python scripts/soak_pack.py --kills 20
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from videomae_train.data.synthetic import generate_motion_videos

_OPTIONS = ["--shard-videos", "8", "--processes", "2", "--short-side", "32", "--keyframe-interval", "8"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--videos", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        soak(Path(name), arguments.kills, arguments.videos, random.Random(arguments.seed))


def soak(folder: Path, kills: int, num_videos: int, rng: random.Random) -> None:
    generate_motion_videos(folder / "videos", num_videos=num_videos, seed=0, size=64, num_frames=32)
    started = time.monotonic()
    start(folder, "straight").wait()
    duration_sec = time.monotonic() - started
    num_killed = num_restarted = 0
    while num_killed < kills:
        num_restarted += 1
        num_killed += fill_with_kills(
            folder, f"killed-{num_restarted}", kills - num_killed, duration_sec, rng
        )
        compare(folder / "straight", folder / f"killed-{num_restarted}")
        print(f"{num_killed} kills, {num_restarted} sets equal to the straight one", flush=True)


def fill_with_kills(folder: Path, name: str, kills: int, duration_sec: float, rng: random.Random) -> int:
    """Kill and start until the set is finished, or killed often enough; say how often it was."""
    for num_killed in range(kills):
        process = start(folder, name)
        try:
            process.wait(timeout=rng.uniform(0, duration_sec))
            return num_killed
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if start(folder, name).wait() != 0 and not (folder / name / "dataset.json").exists():
        sys.exit(f"packing {name} failed")
    return kills


def start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "videomae_train.cli", "pack", str(folder / "videos"), str(folder / name)]
    return subprocess.Popen([*command, *_OPTIONS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compare(first: Path, second: Path) -> None:
    contents = [
        {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        for folder in (first, second)
    ]
    if contents[0] != contents[1]:
        sys.exit(f"{second} differs from {first}")


if __name__ == "__main__":
    main()

"""Decode many random clips in one process and watch its memory: the curve must stay flat.

python scripts/soak_decode.py --decodes 10000 --videos $DATA/videos --out decode-memory

Without --videos generated ones are decoded. Files that cannot be decoded are decoded too: errors must not keep
memory either. Writes the curve as decode-memory.csv and decode-memory.png, and fails if it rises.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from videomae_train.data.decoding import decode_frames, probe_video
from videomae_train.data.sampling import sample_window
from videomae_train.data.synthetic import generate_motion_videos
from videomae_train.errors import DecodeError

_POINTS = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--decodes", type=int, default=10_000)
    parser.add_argument("--videos", type=Path, nargs="+", help="folders of video files")
    parser.add_argument("--out", type=Path, default=Path("decode-memory"))
    parser.add_argument(
        "--limit-mib", type=float, default=16.0, help="growth past the first tenth that fails"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.videos is None:
            generate_motion_videos(Path(folder), num_videos=24, seed=0, size=64, num_frames=32)
        folders = options.videos or [Path(folder)]
        files = sorted(path for root in folders for path in root.rglob("*") if path.is_file())
        curve = list(memory_curve(files, options.decodes))
    save(curve, options.out)
    growth = growth_mib(curve)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.decodes} decodes of {len(files)} files: peak {peak:.0f} MiB")
    print(f"growth from the second tenth to the last: {growth:.1f} MiB")
    if growth > options.limit_mib:
        sys.exit(f"memory grew by {growth:.1f} MiB, more than {options.limit_mib}")


def memory_curve(files: Sequence[Path], decodes: int) -> Iterator[tuple[int, float]]:
    """Yield (decodes so far, resident MiB) at even intervals."""
    contents = [file.read_bytes() for file in files]
    counts = [num_frames(content) for content in contents]
    rng = np.random.default_rng(0)
    every = max(decodes // _POINTS, 1)
    for number in range(1, decodes + 1):
        place = int(rng.integers(len(contents)))
        window = sample_window(counts[place] or 1, 16, 4, rng)
        with contextlib.suppress(DecodeError):  # broken files belong to the test
            decode_frames(contents[place], window, where=str(files[place]), num_frames=counts[place])
        if number % every == 0:
            yield number, resident_mib()


def num_frames(content: bytes) -> int | None:
    try:
        return probe_video(content, where="probe").num_frames
    except DecodeError:
        return None


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def growth_mib(curve: Sequence[tuple[int, float]]) -> float:
    """Compare the last tenth's median with the second tenth's: the first one fills caches."""
    values = np.array([mib for _, mib in curve])
    tenth = max(len(values) // 10, 1)
    return float(np.median(values[-tenth:]) - np.median(values[tenth : 2 * tenth]))


def save(curve: Sequence[tuple[int, float]], out: Path) -> None:
    with out.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([("decodes", "resident_mib"), *curve])
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel="clips decoded", ylabel="resident memory, MiB")
    axes.plot(*zip(*curve, strict=True))
    axes.set_ylim(bottom=0)
    figure.savefig(out.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()

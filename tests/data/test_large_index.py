"""A million samples: opening and selecting takes seconds and little memory; measured in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from videomae_train.data.description import index_facts
from videomae_train.data.layout import index_schema, shard_name, write_json

ROWS, PER_SHARD = 1_000_000, 1000

# Imports first: what they cost is not the index's. Peak memory is counted from there on.
MEASURE = """
import json, sys, time
from videomae_train.data.index import PackedDataset
from videomae_train.data.order import EpochOrder

def peak_mib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

open("/proc/self/clear_refs", "w").write("5")
before, started = peak_mib(), time.perf_counter()
dataset = PackedDataset.open(sys.argv[1])
opened = time.perf_counter()
selection = dataset.select("split/train")
order = EpochOrder(selection.sample_ids, selection.shard_numbers, fingerprint=selection.fingerprint, seed=0,
                   window_videos=16384)
sample = order.sample_at(len(order))[1]
done = time.perf_counter()
print(json.dumps({"open_sec": opened - started, "all_sec": done - started, "mib": peak_mib() - before,
                  "num": len(selection), "key": dataset.key(sample), "shard": dataset.shard(sample)}))
"""


def write_large_set(folder: Path) -> None:
    rows = np.arange(ROWS)
    checksums = np.random.default_rng(0).bytes(16 * ROWS)
    columns = {
        "key": [f"class_{row % 400:03d}__video_{row:09d}" for row in range(ROWS)],
        "shard": rows // PER_SHARD,
        "offset": rows % PER_SHARD * 5000 + 512,
        "size": np.full(ROWS, 4000),
        "extension": ["mp4"] * ROWS,
        "label": rows % 400,
        "num_frames": np.full(ROWS, 250),
        "fps": np.full(ROWS, 25.0),
        "height": np.full(ROWS, 256),
        "width": np.full(ROWS, 340),
        "checksum": [checksums[16 * row : 16 * row + 16] for row in range(ROWS)],
        "split.split": np.where(rows % 10 == 0, "val", "train"),
    }
    schema = index_schema(("split",))
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in schema]
    with (
        pa.OSFile(str(folder / "index.arrow"), "wb") as stream,
        pa.ipc.new_file(stream, schema) as writer,
    ):
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    names = [shard_name(number) for number in range(ROWS // PER_SHARD)]
    for name in names:
        (folder / name).touch()
        os.truncate(folder / name, 10240)
    facts = {"num_videos": PER_SHARD, "num_bytes": 10240, "sha256": "0" * 64}
    content = {
        "format": 1,
        "num_videos": ROWS,
        "classes": [str(label) for label in range(400)],
        "splits": {"split": ["train", "val"]},
        "index": index_facts(folder / "index.arrow"),
        "shards": [{"name": name, **facts} for name in names],
    }
    write_json(folder / "dataset.json", content)


@pytest.mark.slow
def test_a_million_samples(tmp_path: Path) -> None:
    write_large_set(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    measured = json.loads(child.stdout)
    print(measured)
    assert measured["num"] == ROWS * 9 // 10
    number = int(measured["key"][-9:])
    assert measured["shard"] == shard_name(number // PER_SHARD)
    assert measured["open_sec"] < 5
    assert measured["mib"] < 200

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_daemons import missing_programs, running_cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a running cluster, only where somebody asks for one: its daemons are no test's business."""
    if os.environ.get("VIDEOMAE_TEST_CLUSTER") != "1":
        pytest.skip("starts Slurm's daemons: make test-cluster")
    assert not missing_programs(), "python tests/cluster/slurm_daemons.py says what is missing"
    # Not below pytest's own folder: munge wants its socket where every user may look.
    folder = Path(tempfile.mkdtemp(prefix="videomae-slurm-"))
    try:
        with running_cluster(folder) as environment:
            yield {**environment, "OMP_NUM_THREADS": "1"}
    finally:
        shutil.rmtree(folder)

"""The commands of a page's blocks, as a shell would call them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def calls_of(
    block: str, folder: Path, commands: Sequence[str], variables: Mapping[str, str]
) -> list[list[str]]:
    """Run a block in a shell whose commands are stand-ins, which only note their names and arguments."""
    stand_ins, noted = folder / "bin", folder / "noted"
    stand_ins.mkdir()
    for name in commands:
        (stand_ins / name).write_text(
            '#!/bin/sh\nprintf "%s\\0" "${0##*/}" "$@" >> "$NOTED"; echo >> "$NOTED"\n'
        )
        (stand_ins / name).chmod(0o755)
    given = {**os.environ, **variables, "NOTED": str(noted), "PATH": f"{stand_ins}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", block], check=True, env=given)
    return [line.split("\0")[:-1] for line in noted.read_text().splitlines()]

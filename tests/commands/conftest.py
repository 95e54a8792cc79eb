from pathlib import Path

import pytest
from command_line import QUICK, SMALL
from sweep_stand_ins import StandIns

from videomae_train.commands import sweep_jobs


@pytest.fixture
def words(packed_motions: Path) -> list[str]:
    return ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", "data.selection=split/train"]


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    stand_ins = StandIns(tmp_path)
    monkeypatch.setattr(sweep_jobs, "command", stand_ins.command)
    return stand_ins

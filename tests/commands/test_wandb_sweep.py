"""scripts/wandb: what the agent of Weights & Biases makes of the file is a command of ours, seen without a network."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from command_line import QUICK, SMALL, videomae
from wandb import wandb_agent

FILE = Path(__file__).parents[2] / "scripts" / "wandb" / "mask_ratio.yaml"
DRAWN = {"masking": {"value": "frame"}, "masking.ratio": {"value": 0.7312345}, "seed": {"value": 2}}


class Process:
    """Stands where the agent's process would."""

    def __init__(self, command: list[str], **_: Any) -> None:
        self.command = command


@pytest.fixture
def trial(packed_motions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the agent's own code start a trial, as far as the process, and give that one's command line."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATA": packed_motions, "LABELLED": packed_motions, "WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": ""
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)
    agent._sweep_command = yaml.safe_load(FILE.read_text())["command"]
    agent._run_processes, agent._function, agent._in_jupyter, agent._forward_signals = {}, None, False, False
    with mock.patch.dict(
        os.environ
    ):  # the agent sets variables of its own, which later tests' runs would read
        agent._command_run({"run_id": "trial7", "program": "videomae", "args": DRAWN})
        yield agent._run_processes["trial7"].command


def test_file__draws_what_pretraining_takes_and_watches_what_it_logs() -> None:
    file = yaml.safe_load(FILE.read_text())
    assert set(file["parameters"]) == set(DRAWN)
    assert (file["method"], file["early_terminate"]["type"]) == ("bayes", "hyperband")
    assert file["metric"]["name"] == "probe/knn_top1"


def test_agent_with_the_files_variables__goes_on_after_what_hyperband_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(FILE.parent))

    def agent_after_ended_trials() -> wandb_agent.Agent:
        agent = wandb_agent.Agent(None, None)
        agent._start_time = time.time()
        agent._failed = agent._finished = 40
        return agent

    names = re.findall(r"(WANDB_AGENT_\w+)=(\S+)", FILE.read_text())
    for name, _ in names:
        monkeypatch.delenv(name, raising=False)
    agent = agent_after_ended_trials()
    assert agent.is_failing()
    assert agent.is_flapping()
    for name, value in names:
        monkeypatch.setenv(name, value)
    agent = agent_after_ended_trials()
    assert not agent.is_failing()
    assert not agent.is_flapping()
    assert agent._kill_delay == 300


def test_trial__is_a_pretraining_with_what_was_drawn(
    trial: list[str], packed_motions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial[:2] == ["videomae", "pretrain"]
    parts = [
        "watch.probe.selection=split/train",
        "watch.probe.val_selection=split/test",
        "watch.probe_every_steps=2",
    ]
    quick = [*SMALL, *QUICK, "trainer.threads=1"]
    assert videomae(*trial[1:], *quick, *parts, "logger=disabled") == 0
    printed = capsys.readouterr().out
    run = Path("runs/wandb/trial7")
    assert "frame mask, ratio 0.7312345" in printed
    assert "probe/knn_top1" in next(run.glob("logs/*/metrics.csv")).read_text(), (
        "what the sweep's file watches"
    )

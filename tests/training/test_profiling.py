import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stepping import Batches, fit, machine, make_module

from videomae_train.errors import ConfigError
from videomae_train.training.profiling import StepProfile
from videomae_train.training.tasks import ReconstructionTask

LABELS = ("load", "transfer", "normalise", "encoder", "decoder", "loss", "backward", "optimiser")


def labels_of(file: Path) -> Counter[str]:
    events: list[dict[str, Any]] = json.loads(file.read_text())["traceEvents"]
    return Counter(event["name"] for event in events if event.get("cat") == "user_annotation")


def test_profile__is_of_so_many_steps_with_every_label(tmp_path: Path) -> None:
    module = make_module(2, total=8, log_every_steps=100)
    profile = StepProfile(tmp_path / "profile", 2, is_compiled=False)
    fit(module, Batches(0, 2), tmp_path, until=8, also=[profile])
    (file,) = (tmp_path / "profile").iterdir()
    assert file.name == "steps-00000004-00000005.json"
    labels = labels_of(file)
    # Two micro-batches a step; transfer and load once each.
    assert {name: labels[name] for name in LABELS} == {**dict.fromkeys(LABELS, 4), "optimiser": 2}


def test_profile__of_a_compiled_step_leaves_the_graph_alone(tmp_path: Path) -> None:
    module = make_module(4, total=8)
    profile = StepProfile(tmp_path / "profile", 1, is_compiled=True)
    fit(module, Batches(0, 4), tmp_path, until=8, also=[profile])
    labels = labels_of(next((tmp_path / "profile").iterdir()))
    assert set(LABELS) - set(labels) == {"normalise", "encoder", "decoder"}


def test_profile__leaves_nothing_behind(tmp_path: Path) -> None:
    module = make_module(4, total=8)
    fit(
        module,
        Batches(0, 4),
        tmp_path,
        until=8,
        also=[StepProfile(tmp_path / "profile", 1, is_compiled=False)],
    )
    assert "manual_backward" not in vars(module)
    assert "forward" not in vars(module.model.encoder)
    task, _ = module.stages()["loss"]
    assert isinstance(task, ReconstructionTask)
    assert "loss" not in vars(task)


def test_profile__of_a_run_that_ends_first_is_what_there_was(tmp_path: Path) -> None:
    module = make_module(4, total=5)
    profile = StepProfile(tmp_path / "profile", 50, is_compiled=False)
    fit(module, Batches(0, 4), tmp_path, until=5, also=[profile])
    (file,) = (tmp_path / "profile").iterdir()
    assert file.name == "steps-00000004-00000005.json"


def test_profile__of_no_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="profile_steps"):
        replace(machine(1), profile_steps=0)

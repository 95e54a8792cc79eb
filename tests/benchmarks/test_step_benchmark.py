import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from omegaconf import OmegaConf

from videomae_train.benchmarks import contenders, measuring
from videomae_train.benchmarks.contenders import flops_per_clip, loss_of, synthetic_batch
from videomae_train.benchmarks.measuring import StepOptions, compare_steps
from videomae_train.benchmarks.memory import MemoryGrowth, can_measure
from videomae_train.benchmarks.sizes import SIZES
from videomae_train.benchmarks.step import KINDS, as_text, step_options
from videomae_train.cli import videomae
from videomae_train.config.loader import compose_config
from videomae_train.errors import ConfigError, TrainingError
from videomae_train.model import VideoMAEConfig

CPU = torch.device("cpu")
ALL = StepOptions("tiny", 1, 1, KINDS, ("fp32",), compile=False, device="cpu", memory=False)


@pytest.mark.parametrize("size", SIZES)
def test_sizes__are_those_of_the_configuration(size: str) -> None:
    chosen = OmegaConf.to_container(compose_config("pretrain", [f"model={size}"]).model)
    assert SIZES[size] == VideoMAEConfig(**chosen)  # type: ignore[arg-type]


def test_synthetic_batch__is_the_same_but_for_what_is_decoded() -> None:
    config = SIZES["tiny"]
    kinds = ("joint", "dual", "cross", "cross50")
    joint, dual, cross, half = (synthetic_batch(config, kind, 3, CPU) for kind in kinds)
    for other in (dual, cross, half):
        assert torch.equal(joint.clips, other.clips)
        assert torch.equal(joint.visible_idx, other.visible_idx)
    tokens = config.grid.num_tokens
    assert joint.visible_idx.shape[1] + joint.hidden_idx.shape[1] == tokens
    assert dual.hidden_idx.shape[1] + dual.unscored_idx.shape[1] == tokens // 2
    assert cross.hidden_idx.shape[1] == joint.hidden_idx.shape[1] // 4
    assert half.hidden_idx.shape[1] == joint.hidden_idx.shape[1] // 2


def test_flops__fall_from_joint_to_dual_to_cross() -> None:
    kinds = ("joint", "dual", "cross50", "cross")
    joint, dual, half, cross = (flops_per_clip(kind, SIZES["tiny"]) for kind in kinds)
    assert joint > dual > cross > 0
    assert joint > half > cross


def test_flops__of_transformers_are_ours_and_what_we_leave_out() -> None:
    """It embeds hidden patches, and its last decoder block works on visible tokens that nothing reads."""
    config = SIZES["tiny"]
    batch = synthetic_batch(config, "joint", 1, CPU)
    embedding = 2 * batch.hidden_idx.numel() * config.patch_values * config.hidden_size
    width, tokens = config.decoder_hidden_size, config.grid.num_tokens
    linear = 2 * width * (2 * width + 2 * config.decoder_intermediate_size)  # query, projection, MLP
    attention = 2 * 2 * tokens * width
    visible = batch.visible_idx.numel() * (linear + attention)
    more = flops_per_clip("transformers", config) - flops_per_clip("joint", config)
    # Backward is twice forward, but for the embedding, whose input needs no gradient.
    assert more == 2 * embedding + 3 * visible


def test_losses__of_the_same_weights_agree_before_timing() -> None:
    batch = synthetic_batch(SIZES["tiny"], "joint", 2, CPU)
    assert contenders.loss_difference(SIZES["tiny"], batch) < measuring.AGREEMENT


def test_compare__refuses_models_that_compute_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = replace(SIZES["tiny"], norm_pix_loss=False)
    honest = contenders.reference_model
    monkeypatch.setattr(contenders, "reference_model", lambda config: honest(raw))
    with pytest.raises(TrainingError, match="apart"):
        compare_steps(ALL)


def test_loss__reaches_every_parameter() -> None:
    batch = synthetic_batch(SIZES["tiny"], "cross", 1, CPU)
    model, loss = loss_of("cross", SIZES["tiny"], batch)
    loss().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_command__prints_every_row_and_writes_all_of_it(tmp_path: Path) -> None:
    figures = tmp_path / "step.json"
    arguments = ["bench", "step", "--size", "tiny", "--batch", "1", "--rounds", "2", "--device", "cpu"]
    arguments += ["--precision", "fp32,bf16", "--no-memory", "--json", str(figures)]
    result = CliRunner().invoke(videomae, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())
    assert written["options"]["rounds"] == 2
    assert written["loss_difference"] < measuring.AGREEMENT
    assert set(written["matmul_peak"]) == {"fp32", "bf16"}
    rows = {row["name"]: row for row in written["rows"]}
    assert list(rows) == [f"{kind} {precision}" for precision in ("fp32", "bf16") for kind in KINDS]
    for row in rows.values():
        assert row["step_ms"]["low"] <= row["step_ms"]["median"] <= row["step_ms"]["high"]
        speed = row["flops_per_clip"] * 1000 / row["step_ms"]["median"]
        assert row["flops_per_sec"] == pytest.approx(speed)
        assert row["share_of_peak"] == pytest.approx(speed / written["matmul_peak"][row["precision"]])
        assert row["kind"] in result.output
    assert rows["transformers bf16"]["times_transformers"]["median"] == 1.0
    assert "apart in fp32" in result.output


def test_compare__says_where_transformers_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "transformers_missing", lambda: "transformers is not installed")
    comparison = compare_steps(replace(ALL, kinds=("transformers", "cross")))
    absent, ours = comparison.rows
    assert (absent.name, absent.step_ms) == ("transformers fp32", None)
    assert ours.step_ms is not None
    assert ours.times_transformers is None
    assert "transformers fp32  transformers is not installed" in as_text(comparison)


@pytest.mark.slow
def test_module__needs_torch_and_timm_alone() -> None:
    """On a machine without the rest it measures ours and says that transformers is not there."""
    blocked = [
        "hydra",
        "omegaconf",
        "pydantic",
        "pytorch_lightning",
        "lightning",
        "webdataset",
        "wandb",
        "av",
        "click",
    ]
    blocked += ["rich", "pyarrow", "fsspec", "matplotlib", "jinja2", "transformers"]
    code = f"""
import importlib.machinery, runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r} and path is None:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {blocked!r} else found(name, package)
sys.argv = "step --size tiny --batch 1 --rounds 1 --device cpu --only cross,transformers --no-memory".split()
runpy.run_module("videomae_train.benchmarks.step", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cross fp32" in done.stdout
    assert "transformers is not installed" in done.stdout


@pytest.mark.parametrize(("option", "value"), [("only", "joint,dense"), ("precision", "fp8"), ("only", "")])
def test_options__unknown_names_are_refused(option: str, value: str) -> None:
    given = {"precision": None, "only": None} | {option: value}
    if not value:
        given["only"] = ","
    with pytest.raises(ConfigError, match=f"--{option}"):
        step_options(size="tiny", batch=1, rounds=1, compile=False, device="cpu", memory=False, **given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_options__a_gpu_that_is_not_there_is_refused_not_replaced() -> None:
    given = {"size": "tiny", "batch": 1, "rounds": 1, "precision": None, "compile": False, "only": None}
    with pytest.raises(ConfigError, match="--device"):
        step_options(device="cuda", memory=False, **given)
    assert step_options(device="auto", memory=False, **given).precisions == ("fp32",)


@pytest.mark.skipif(not can_measure(CPU), reason="the kernel does not show a process's peak")
def test_memory_growth__is_what_was_touched_since_and_freed_again() -> None:
    for _ in range(2):  # the second time the peak before was as high
        growth = MemoryGrowth(CPU)
        torch.ones(2**26)  # 256 MiB
        assert 0.24 < growth.gib() < 0.3


@pytest.mark.slow
def test_memory__of_a_row_is_measured_in_a_process_of_its_own() -> None:
    joint, cross = compare_steps(replace(ALL, batch=8, kinds=("joint", "cross"), memory=True)).rows
    assert joint.peak_memory_gib is not None
    assert cross.peak_memory_gib is not None
    assert 1 > joint.peak_memory_gib > cross.peak_memory_gib > 0.02


@pytest.mark.slow
def test_compiled_rows__stand_beside_the_eager_ones() -> None:
    rows = compare_steps(replace(ALL, kinds=("cross", "transformers"), compile=True)).rows
    assert [row.name for row in rows] == [
        "cross fp32", "transformers fp32", "cross fp32 compiled", "transformers fp32 compiled",
    ]  # fmt: skip
    assert all(row.step_ms is not None for row in rows)

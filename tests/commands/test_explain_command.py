import json
import sys
from pathlib import Path

import pytest

from videomae_train import cli
from videomae_train.commands.explain import explanation_record, run_explain, split_verb
from videomae_train.config import run_cost
from videomae_train.config.estimates import Device
from videomae_train.config.explain import explain

WORDS = ["experiment=pretrain_tiny", "trainer=cpu", "trainer.micro_batch=4"]


@pytest.fixture(autouse=True)
def known_terminal_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    device = Device("CPU, as these tests have it", 8 * 2**30, 1e11)
    monkeypatch.setattr(run_cost, "measure_device", lambda *_, **__: device)


def test_tables__fit_100_columns_and_name_every_value(capsys: pytest.CaptureFixture[str]) -> None:
    run_explain(WORDS, num_videos=1000, as_json=False)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    for value in explain("pretrain", WORDS, 1000).values:
        assert value.key.rpartition(".")[2] in said
    for words in (
        "recipe pretrain_tiny",
        "command line",
        "chosen by recipe",
        "derived",
        "accumulation 4",
        "0.001",
    ):
        assert words in said, words
    assert "Still to give: data.path=..." in said


def test_tables__say_that_the_micro_batch_is_searched_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=pretrain_tiny", "trainer=gpu", "trainer.micro_batch=auto", "optim.ema_decay=0.999"]
    run_explain(words, num_videos=1000, as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    for wanted in ("searches for the micro", "average 8.1 MiB, 2 clips"):
        assert wanted in said, wanted


def test_json__is_one_object_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    run_explain(WORDS, num_videos=1000, as_json=True)
    record = json.loads(capsys.readouterr().out)
    origins = {value["key"]: value["from"]["kind"] for value in record["values"]}
    assert set(origins.values()) == {"default", "group", "recipe", "command line", "derived"}
    assert record["derived"]["total_steps"] == 2500
    estimates = record["estimates"]
    assert estimates["memory_bytes"] == sum(estimates["memory"].values())
    assert estimates["run_sec"] == pytest.approx(2500 * estimates["step_sec"])


def test_record__of_an_unknown_model_has_no_estimates() -> None:
    assert explanation_record(explain("finetune", []))["estimates"] is None


def test_words__may_begin_with_the_verb() -> None:
    assert split_verb(["pretrain", "model=base"]) == ("pretrain", ["model=base"])
    assert split_verb(["experiment=finetune_tiny"]) == ("finetune", ["experiment=finetune_tiny"])


def run_cli(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["videomae", "explain", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_command__explains_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(monkeypatch, *WORDS, "--videos", "50", "--json") == 0
    assert json.loads(capsys.readouterr().out)["derived"]["num_videos"] == 50
    assert list(tmp_path.iterdir()) == []


def test_command__mistakes_end_in_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(monkeypatch, "model=base") == 2
    assert run_cli(monkeypatch, "pretrain", "optim.global_batch=7") == 2
    said = capsys.readouterr().err
    assert said.count("Error: ") == 2
    assert "Traceback" not in said

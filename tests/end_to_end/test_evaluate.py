"""`videomae evaluate` through the command line: what a score stands on."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import QUICK, SMALL, videomae
from huggingface_hub import metadata_load

from videomae_train.commands import evaluate as evaluate_command
from videomae_train.data.index import PackedDataset
from videomae_train.data.pack_plan import PackOptions
from videomae_train.data.packing import pack
from videomae_train.data.sources import open_source
from videomae_train.data.views import Video
from videomae_train.model import VideoMAEConfig, VideoMAEForVideoClassification, save_weights_folder

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, head_init_scale=20.0,
)  # fmt: skip
NAMES = ("a.1.mp4", "a.2.mp4", "b.mp4")  # in both classes: equal stems, and dots


@pytest.fixture(scope="module")
def packed(motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with files of the same names, three splits, and a class that no test has a video of."""
    folder = tmp_path_factory.mktemp("awkward")
    rows = []
    for label in ("move_left", "move_right"):
        videos = sorted((motion_videos.parent / "videos" / label).glob("*.mp4"))
        for number, name in enumerate(NAMES):
            (folder / label).mkdir(exist_ok=True)
            shutil.copy(videos[number], folder / label / name)
            splits = ["test" if split == number else "train" for split in range(3)]
            rows.append([f"{label}/{name}", label, *splits, "test"])
    shutil.copy(videos[4], folder / "rest.mp4")
    rows.append(["rest.mp4", "never_tested", "train", "train", "train", "train"])
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split1", "split2", "split3", "whole"], *rows])
    pack(open_source(folder / "list.csv"), folder / "set", PackOptions(seed=0), lambda _: None)
    return folder / "set"


def save_classifier(folder: Path, classes: tuple[str, ...], card: str = "# test") -> Path:
    torch.manual_seed(0)
    model = VideoMAEForVideoClassification(CONFIG.with_labels(dict(enumerate(classes))))
    save_weights_folder(model, folder, card=card)
    return folder


@pytest.fixture
def weights(packed: Path, tmp_path: Path) -> Path:
    return save_classifier(tmp_path / "weights", PackedDataset.open(packed).classes)


def evaluate(packed: Path, weights: Path, run: Path, *changes: str) -> int:
    data = [f"data.path={packed}", "data.selection=whole/test", "data.stride=2", "loader.num_workers=0"]
    return videomae("evaluate", f"weights={weights}", *data, f"run={run}", *changes)


def metrics_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each video was decoded."""
    counted: Counter[str] = Counter()
    decode = Video.decode

    def count(self: Video, indices: np.ndarray) -> np.ndarray:
        counted[self.where] += 1
        return decode(self, indices)

    monkeypatch.setattr(Video, "decode", count)
    return counted


def test_views__come_of_one_decode_of_each_video(
    packed: Path, weights: Path, tmp_path: Path, decodes: Counter[str]
) -> None:
    assert evaluate(packed, weights, tmp_path / "run", "data.num_clips=5", "data.num_crops=3") == 0
    assert list(decodes.values()) == [1] * 6


def test_equal_names__are_videos_of_their_own(packed: Path, weights: Path, tmp_path: Path) -> None:
    assert evaluate(packed, weights, tmp_path / "run") == 0
    saved = np.load(tmp_path / "run" / "scores.npz")
    keys = [str(key) for key in saved["keys"]]
    assert len(set(keys)) == 6
    assert metrics_of(tmp_path / "run")["num_scored"] == 6
    # Each key has the label of its own folder.
    classes = saved["classes"]
    assert all(str(classes[label]) in key for key, label in zip(keys, saved["labels"], strict=True))


def test_empty_class__has_no_score_and_does_not_weigh(packed: Path, weights: Path, tmp_path: Path) -> None:
    assert evaluate(packed, weights, tmp_path / "run") == 0
    metrics = metrics_of(tmp_path / "run")
    empty = next(row for row in metrics["classes"] if row["name"] == "never_tested")
    assert (empty["num_videos"], empty["recall"]) == (0, None)
    recalls = [row["recall"] for row in metrics["classes"] if row["num_videos"]]
    assert metrics["mean_class"] == pytest.approx(sum(recalls) / 2)


@pytest.mark.parametrize("views", [(1, 1), (1, 3), (5, 1)])
def test_one_crop_or_one_segment(packed: Path, weights: Path, tmp_path: Path, views: tuple[int, int]) -> None:
    clips, crops = views
    changes = [f"data.num_clips={clips}", f"data.num_crops={crops}"]
    assert evaluate(packed, weights, tmp_path / "run", *changes) == 0
    assert metrics_of(tmp_path / "run")["views"] == f"{clips} x {crops}"


def test_unreadable_video__is_told_and_counted(
    packed: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = PackedDataset.open(packed)
    row = int(dataset.select("whole/test").sample_ids[2])
    read = PackedDataset.read_bytes
    monkeypatch.setattr(
        PackedDataset, "read_bytes", lambda self, number: b"rubbish" if number == row else read(self, number)
    )
    assert evaluate(packed, weights, tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "on 5 of 6 videos" in said
    assert "Unreadable: 1, listed in" in said
    metrics = metrics_of(tmp_path / "run")
    assert (metrics["num_scored"], metrics["num_videos"]) == (5, 6)
    assert [fault["key"] for fault in metrics["faults"]] == [dataset.key(row)]


def test_permuted_classes__are_an_error(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = PackedDataset.open(packed).classes
    permuted = save_classifier(tmp_path / "weights", classes[::-1])
    assert evaluate(packed, permuted, tmp_path / "run") == 2
    assert "The names are the same in another order" in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_weights_of_others__keep_their_card(
    packed: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(packed, weights, tmp_path / "run") == 0
    assert (weights / "README.md").read_text() == "# test"
    assert "Weights: " + str(weights) + "; not known" in capsys.readouterr().out
    assert metrics_of(tmp_path / "run")["weights_kind"] is None


@pytest.fixture(scope="module")
def trained(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier for each split, in split1/, split2/ and split3/."""
    folder = tmp_path_factory.mktemp("trained runs")
    few = [value for value in QUICK if not value.startswith(("optim.steps", "optim.warmup_steps"))]
    for split in (1, 2, 3):
        data = [
            f"data.path={packed}",
            f"data.selection=split{split}/train",
            f"data.val_selection=split{split}/test",
        ]
        steps = ["optim.steps=2", "optim.warmup_steps=1", f"run={folder / f'split{split}'}"]
        assert videomae("finetune", "model=tiny", *SMALL, *few, *data, *steps) == 0
    return folder


def test_score__says_which_weights_and_what_they_know(
    packed: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained / "split1"
    said = {}
    for name, selection in (
        ("weights", "split1/test"),
        ("weights-best", "split1/test"),
        ("weights", "whole/test"),
    ):
        out = tmp_path / name / selection.replace("/", "-")
        assert evaluate(packed, run / name, out, f"data.selection={selection}", "card=false") == 0
        said[name, selection] = (metrics_of(out), capsys.readouterr().out)
    last, text = said["weights", "split1/test"]
    assert (last["weights_kind"], last["weights_step"], last["remarks"]) == ("last", 2, "")
    assert "the last step's, 2 of 2" in text
    assert "Beware" not in text
    best, text = said["weights-best", "split1/test"]
    assert (best["weights_kind"], best["chosen_on"], best["trained_on"]) == ("best", 2, 0)
    assert "Beware: weights chosen on these very videos." in text
    assert "in validation on split1/test (2 videos" in text
    # The other splits' test videos are among those that this one was trained on.
    whole, text = said["weights", "whole/test"]
    assert (whole["trained_on"], whole["num_videos"]) == (4, 6)
    assert "Beware: weights trained on 4 of them." in text


def test_score_on_other_clips_than_those_of_the_training__says_so(
    packed: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier of every second frame says little about every fourth, and nothing else would show it."""
    words = ["data.selection=split1/test", "card=false", "data.stride=3", "data.antialias=false"]
    assert evaluate(packed, trained / "split1" / "weights", tmp_path / "run", *words) == 0
    said = r"Beware: weights trained on other clips \(stride \d, with antialias\)\."
    assert re.search(said, capsys.readouterr().out)


@pytest.mark.parametrize("words", [["data.stride=3"], ["data.windows=uniform", "data.stride=null"]])
def test_end_of_a_fine_tuning__is_the_command_that_scores_it(
    words: list[str], packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"data.path={packed}", "data.selection=split1/train", "data.val_selection=split1/test"]
    assert videomae("finetune", "model=tiny", *SMALL, *QUICK, *data, *words, f"run={tmp_path / 'run'}") == 0
    (command,) = re.findall(r"^Score: videomae (.*)$", capsys.readouterr().out, re.M)
    assert videomae(*shlex.split(command), "loader.num_workers=0", f"run={tmp_path / 'score'}") == 0
    assert metrics_of(tmp_path / "score")["remarks"] == ""


def test_mixed_precision__is_near_and_said_to_be(
    packed: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities: list[np.ndarray] = []
    for precision in ("fp32", "bf16"):
        assert evaluate(packed, weights, tmp_path / precision, f"precision={precision}") == 0
        assert metrics_of(tmp_path / precision)["precision"] == precision
        assert (", bf16\n" in capsys.readouterr().out) == (precision == "bf16")
        probabilities.append(np.load(tmp_path / precision / "scores.npz")["probabilities"])
    assert not np.array_equal(*probabilities)
    np.testing.assert_allclose(*probabilities, atol=0.01)


def test_card__gets_the_score_once(packed: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "split2" / "weights-best", tmp_path / "weights")
    card = tmp_path / "weights" / "README.md"
    untouched = card.read_text()
    for run in ("first", "second"):
        changes = ["data.selection=split2/test"]
        assert evaluate(packed, tmp_path / "weights", tmp_path / run, *changes) == 0
    (result,) = metadata_load(card)["model-index"][0]["results"]  # type: ignore[index]
    accuracy = metrics_of(tmp_path / "second")
    assert result["metrics"][0]["value"] == pytest.approx(accuracy["top1"], abs=1e-6)
    assert result["metrics"][0]["args"]["videos"] == "2 of 2"
    assert card.read_text().count("| set split2/test |") == 1
    assert "chosen on these very videos |" in card.read_text()
    # And nothing else has changed below the metadata.
    below = [text.split("\n---\n")[1].partition("## Scores")[0] for text in (untouched, card.read_text())]
    assert below[0] == below[1]


def test_card__that_cannot_be_written_loses_no_score(
    packed: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("videomae_train.model.cards.replace_file", refuse)
    assert evaluate(packed, trained / "split3" / "weights", tmp_path / "run") == 2
    assert "card=false leaves the card as it is" in capsys.readouterr().err
    assert metrics_of(tmp_path / "run")["num_scored"] == 6


def test_splits__give_each_score_and_their_mean(
    packed: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = trained / "split{split}" / "weights"
    run = tmp_path / "run"
    assert evaluate(packed, weights, run, "splits=[1,2,3]", "data.selection=split1/test", "card=false") == 0
    whole = metrics_of(run)
    each = [metrics_of(run / f"split{split}") for split in (1, 2, 3)]
    assert [metrics["selection"] for metrics in each] == ["split1/test", "split2/test", "split3/test"]
    assert [metrics["weights"] for metrics in each] == [
        f"{trained}/split{split}/weights" for split in (1, 2, 3)
    ]
    for name in ("top1", "mean_class"):
        values = [metrics[name] for metrics in each]
        assert whole[name] == pytest.approx(np.mean(values))
        assert whole[f"{name}_std"] == pytest.approx(np.std(values, ddof=1))
    assert [row["top1"] for row in whole["splits"].values()] == [metrics["top1"] for metrics in each]
    assert [row["weights_are"] for row in whole["splits"].values()] == ["the last step's, 2 of 2"] * 3
    lines = capsys.readouterr().out.splitlines()
    assert f"{whole['top1']:.4f}" in next(line for line in lines if line.startswith(" mean"))


@pytest.mark.slow
def test_splits__as_people_type_them_in_a_shell(packed: Path, trained: Path, tmp_path: Path) -> None:
    command = shlex.quote(str(Path(sys.executable).parent / "videomae"))
    typed = (
        f"{command} evaluate splits=[1,2,3] weights=split{{split}}/weights data.path={shlex.quote(str(packed))}"
        f" data.stride=2 loader.num_workers=0 card=false devices=2 accelerator=cpu threads=1"
        f" run={shlex.quote(str(tmp_path / 'run'))}"
    )
    done = subprocess.run(
        ["bash", "-c", typed], cwd=trained, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = metrics_of(tmp_path / "run")["splits"]
    assert [(row["weights"], row["num_scored"]) for row in rows.values()] == [
        (f"split{split}/weights", 2) for split in (1, 2, 3)
    ]
    assert done.stdout.count("Split 1") == 1, "the first rank alone speaks"
    assert "srun" not in done.stderr


def test_splits__that_are_missing_are_named_before_anything_is_scored(
    packed: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decodes: Counter[str]
) -> None:
    weights = trained / "split{split}" / "weights"
    assert evaluate(packed, weights, tmp_path / "run", "splits=[1,7,9]", "data.selection=split1/test") == 2
    said = capsys.readouterr().err
    assert f"split 7: {trained}/split7/weights" in said
    assert f"split 9: {trained}/split9/weights" in said
    assert not decodes


def test_splits__with_a_selection_that_one_lacks_are_refused_first(
    packed: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decodes: Counter[str]
) -> None:
    shutil.copytree(trained / "split1", tmp_path / "split1")
    shutil.copytree(trained / "split2", tmp_path / "split4")
    weights = tmp_path / "split{split}" / "weights"
    assert evaluate(packed, weights, tmp_path / "run", "splits=[1,4]", "data.selection=split1/test") == 2
    assert "split4/test" in capsys.readouterr().err
    assert not decodes


def test_workers__are_shared_out_among_the_ranks_of_a_score(
    packed: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    settled: list[Any] = []
    monkeypatch.setattr(evaluate_command, "evaluate", lambda config, **_: settled.append(config))
    for devices in (1, 4):
        auto = ["loader.num_workers=auto", f"devices={devices}"]
        assert evaluate(packed, weights, tmp_path / f"run{devices}", *auto) == 0
    assert [config.loader.num_workers for config in settled] == [8, 3]

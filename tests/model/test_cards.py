"""Model cards: metadata that the Hub's own library reads, facts, and a table that holds each score once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import ModelCardData, model_index_to_eval_results

from videomae_train.errors import CheckpointError
from videomae_train.model.cards import (
    CardScore,
    TrainedClips,
    Videos,
    WeightsFacts,
    add_score,
    new_card,
    read_facts,
)

TRAINED = Videos("split1/train", "abc", 290, per_class=5, per_class_seed=3)
CHOSEN = Videos("split1/val", "def", 40)
CLIPS = TrainedClips(is_whole=False, stride=2, frame_interval_sec=None, antialias=False)
FACTS = WeightsFacts(110, 300, 0.999, TRAINED, CHOSEN, "1 x 1 views", 0.875, CLIPS)
SCORE = CardScore(
    "my set",
    Videos("split1/test", "fed", 104),
    "5 x 3 views",
    0.9,
    (0.85, 0.95),
    "21 recordings",
    None,
    0.89,
    103,
    "2026-01-02",
    "",
)


def write(folder: Path, facts: WeightsFacts | None = FACTS, started_from: str | None = None) -> Path:
    text = new_card(
        "A title",
        rows={"seed": "0"},
        settings="seed: 0\n",
        name="a run",
        started_from=started_from,
        facts=facts,
    )
    (folder / "README.md").write_text(text)
    return folder


def data_of(folder: Path) -> ModelCardData:
    data = ModelCard.load(folder / "README.md").data
    assert isinstance(data, ModelCardData)
    return data


@pytest.mark.parametrize("facts", [FACTS, replace(FACTS, chosen_on=None, chosen_by=None, chosen_top1=None)])
def test_facts__come_back_as_they_were_written(tmp_path: Path, facts: WeightsFacts) -> None:
    assert read_facts(write(tmp_path, facts)) == facts
    add_score(tmp_path, SCORE)
    assert read_facts(tmp_path) == facts
    assert facts.kind == ("last" if facts.chosen_on is None else "best")


def test_facts__of_a_card_that_says_nothing_of_clips(tmp_path: Path) -> None:
    file = write(tmp_path) / "README.md"
    before, _, after = file.read_text().partition("  clips:\n")
    file.write_text(before + after.partition("antialias: false\n")[2])
    assert read_facts(tmp_path) == replace(FACTS, clips=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"stride": 4}, "stride 2"),
        ({"stride": None, "frame_interval_sec": 0.16}, "stride 2"),
        ({"is_whole": True, "stride": None, "antialias": True}, "stride 2, without antialias"),
    ],
)
def test_clips__are_told_apart(changes: dict[str, Any], words: str) -> None:
    assert CLIPS.unlike(replace(CLIPS, **changes)) == words
    assert bool(replace(CLIPS, **changes).unlike(CLIPS)) == bool(words)


def test_facts__of_others_are_not_known(tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    for text in ("# No metadata\n", "---\nlicense: mit\n---\n# Somebody's\n"):
        (tmp_path / "README.md").write_text(text)
        assert read_facts(tmp_path) is None
    assert read_facts(write(tmp_path, None)) is None


def test_facts__that_are_damaged_are_named(tmp_path: Path) -> None:
    file = write(tmp_path) / "README.md"
    file.write_text(file.read_text().replace("  step: 110\n", "  stop: 110\n"))
    with pytest.raises(CheckpointError, match=r"README\.md"):
        read_facts(tmp_path)


def test_words__say_which_weights() -> None:
    assert "the best, of step 110 of 300, moving average with decay 0.999: top-1 0.8750" in FACTS.words
    assert "split1/val (40 videos, 1 x 1 views)" in FACTS.words
    last = WeightsFacts(300, 300, None, TRAINED)
    assert last.words == "the last step's, 300 of 300"


def test_metadata__is_what_the_hub_reads(tmp_path: Path) -> None:
    write(tmp_path)
    before = metadata_load(tmp_path / "README.md")
    assert before is not None
    assert (before["library_name"], before["pipeline_tag"]) == ("transformers", "video-classification")
    assert "model-index" not in before, "nothing is claimed that was not measured"
    add_score(tmp_path, replace(SCORE, top5=0.99))
    name, results = model_index_to_eval_results(metadata_load(tmp_path / "README.md")["model-index"])  # type: ignore[index]
    assert name == "a run"
    assert {result.metric_name: result.metric_value for result in results} == {
        "top-1": 0.9, "top-5": 0.99, "mean class accuracy": 0.89,
    }  # fmt: skip
    assert {result.dataset_type for result in results} == {"my-set"}, "the Hub wants an id"
    assert {(result.dataset_split, result.dataset_revision) for result in results} == {("split1/test", "fed")}


@pytest.mark.parametrize(
    ("source", "named"), [("MCG-NJU/videomae-base", True), ("runs/first/weights", False), (None, False)]
)
def test_base_model__is_a_hub_id_or_nothing(tmp_path: Path, source: str | None, named: bool) -> None:
    assert data_of(write(tmp_path, started_from=source)).base_model == (source if named else None)


def test_base_model__is_no_folder_that_looks_like_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    assert data_of(write(tmp_path, started_from="runs/first")).base_model is None


def rows(folder: Path) -> list[str]:
    text = (folder / "README.md").read_text()
    table = text.partition("<!-- scores")[2].partition("<!-- end of scores -->")[0]
    return [line for line in table.splitlines() if line.startswith("| ")][1:]


def test_scores__by_the_same_conditions_replace_each_other(tmp_path: Path) -> None:
    write(tmp_path)
    add_score(tmp_path, SCORE)
    once = (tmp_path / "README.md").read_text()
    add_score(tmp_path, SCORE)
    assert (tmp_path / "README.md").read_text() == once
    add_score(tmp_path, replace(SCORE, top1=0.5, date="2026-02-03"))
    (row,) = rows(tmp_path)
    assert "0.5000" in row
    assert "2026-02-03" in row
    others = (
        replace(SCORE, views="1 x 1 views"),
        replace(SCORE, videos=replace(SCORE.videos, selection="split2/test")),
        replace(SCORE, videos=replace(SCORE.videos, fingerprint="other")),
    )
    for number, other in enumerate(others, start=2):
        add_score(tmp_path, other)
        assert len(rows(tmp_path)) == number
    assert len(data_of(tmp_path).eval_results or []) == 8, "two figures each"


def test_scores__stand_with_their_conditions(tmp_path: Path) -> None:
    add_score(write(tmp_path), replace(SCORE, remarks="chosen on these very videos"))
    (row,) = rows(tmp_path)
    for words in (
        "my set split1/test",
        "5 x 3 views",
        "0.8500 to 0.9500 over 21 recordings",
        "103 of 104",
        "chosen on these very",
    ):
        assert words in row


def test_words_of_a_user__stay(tmp_path: Path) -> None:
    file = write(tmp_path) / "README.md"
    file.write_text(file.read_text().replace("# A title\n", "# Mine\n\nMy own words: é.\n") + "\nAnd more.\n")
    file.write_text(file.read_text().replace("library_name", "license: mit\nlibrary_name"))
    add_score(tmp_path, SCORE)
    text = file.read_text()
    assert "# Mine\n\nMy own words: é.\n" in text
    assert text.endswith("\nAnd more.\n")
    assert data_of(tmp_path).license == "mit"


def test_marks__that_are_gone_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    file = write(tmp_path) / "README.md"
    file.write_text(file.read_text().replace("<!-- end of scores -->", ""))
    before = file.read_text()
    with pytest.raises(CheckpointError, match="end of scores"):
        add_score(tmp_path, SCORE)
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]

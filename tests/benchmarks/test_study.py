"""What a study may say: nothing below a fair budget, or of another or an unfinished study; else what intervals say."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from studies import CLEAR, CLOSE, GUESSING, NUM_VIDEOS, OF_RECORDINGS, WORSE, Masks, write_scores, write_study

from videomae_train.benchmarks import study_reading
from videomae_train.benchmarks.study import (
    ASKED,
    BUDGETS,
    FLOOR,
    SCRATCH,
    StudyResult,
    changes_of,
    top1,
)
from videomae_train.benchmarks.study_reading import read_result
from videomae_train.benchmarks.study_words import write_summary, write_verdict
from videomae_train.config.loader import compose_config
from videomae_train.errors import ConfigError
from videomae_train.reporting.finding import find_points


def result_of(out: Path, budget: str, masks: Masks, changes: tuple[str, ...] = ()) -> StudyResult:
    return read_result(write_study(out, budget, {"null": masks}, changes=changes))


def test_scores__are_sorted_by_labels_masks_and_seeds(tmp_path: Path) -> None:
    result = read_result(write_study(tmp_path, "fair", {"null": CLEAR, "2": CLOSE}))
    assert list(result.scores) == ["null", "2"]
    scores = {seed: top1(hits) for seed, hits in result.scores["null"][SCRATCH].items()}
    assert scores == {"0": 0.50, "1": 0.52, "2": 0.51}
    assert set(result.scores["2"]) == {ASKED, SCRATCH}
    assert (result.floor, result.unfinished, result.hours) == (0.5, (), None)


def test_points__need_not_name_what_all_have_in_common(tmp_path: Path) -> None:
    sweep = write_study(tmp_path, "smoke", {"null": {SCRATCH: (0.5,)}})
    record = json.loads((sweep / "sweep.json").read_text())
    for point in record["points"].values():
        point["overrides"] = ["pretrain=null"]
    (sweep / "sweep.json").write_text(json.dumps(record))
    ((labels, masks),) = read_result(sweep).scores.items()
    assert (labels, *masks, *masks[SCRATCH]) == ("null", SCRATCH, "0")


def test_masks_that_all_points_have_in_common__are_theirs_and_not_from_scratch(tmp_path: Path) -> None:
    sweep = write_study(tmp_path, "small", {"null": {"tube 0.5": (0.6,), ASKED: (0.7,), SCRATCH: (0.5,)}})
    record = json.loads((sweep / "sweep.json").read_text())
    for point in record["points"].values():
        point["overrides"].remove("seed=0")
        point["overrides"] = [word for word in point["overrides"] if word != "masking=tube"]
    record["shared"] = ["masking=tube", "seed=4"]
    (sweep / "sweep.json").write_text(json.dumps(record))
    scores = read_result(sweep).scores["null"]
    assert [(mask, *seeds) for mask, seeds in scores.items()] == [
        ("tube 0.5", "4"),
        (ASKED, "4"),
        (SCRATCH, "4"),
    ]


@pytest.mark.parametrize("budget", BUDGETS)
def test_only_a_fair_budget__decides_whatever_the_numbers_are(tmp_path: Path, budget: str) -> None:
    is_fair = BUDGETS[budget].pretrain_steps >= BUDGETS["fair"].pretrain_steps
    for number, (masks, answer) in enumerate([(CLEAR, "better"), (WORSE, "worse"), (CLOSE, "inconclusive")]):
        result = result_of(tmp_path / str(number), budget, masks)
        assert result.answer("null") == (answer if is_fair else "inconclusive")
        assert ("inconclusive" in result.verdict) == (not is_fair or answer == "inconclusive")
        if not is_fair:
            decided = {result.decide(each) for each in result.differences("null")}
            assert decided == {"inconclusive"}, "of no comparison"


def test_an_altered_study__decides_nothing(tmp_path: Path) -> None:
    result = result_of(tmp_path, "fair", CLEAR, changes=("optim.steps=10",))
    assert result.verdict == "inconclusive"
    assert "optim.steps=10" in result.obstacles[0]


@pytest.mark.parametrize(
    "word",
    ["sweep.at_once=2", "sweep.reuse=[x]", "trainer.compile=true",
     "launcher=slurm", "hydra.launcher.partition=gpu", "trainer.precision=bf16", "trainer=gpu",
     "finetune.loader.num_workers=4", "evaluate.accelerator=gpu"],
)  # fmt: skip
def test_the_machine__is_no_change_of_the_study(word: str) -> None:
    assert changes_of([word]) == ()


@pytest.mark.parametrize(
    "word",
    ["optim.steps=3", "seed=0", "finetune.optim.base_lr=1", "sweep.grids=[]", "evaluate.data.num_clips=9",
     "evaluate.data.selection=split2/test", "finetune.model=base", "loaders=1", "model=base"],
)  # fmt: skip
def test_all_else__is_a_change_of_the_study(word: str) -> None:
    assert changes_of([word]) == (word,)


def test_a_point_without_a_score__leaves_all_open(tmp_path: Path) -> None:
    result = result_of(tmp_path, "fair", {**CLEAR, "random 0.9": (0.1, None, 0.1)})
    assert result.verdict == "inconclusive"
    assert "1 points have no score, such as random-0.9+null+1" in result.obstacles[0]


def test_better_than_scratch__counts_only_above_the_floor(tmp_path: Path) -> None:
    result = result_of(tmp_path, "fair", GUESSING)
    decisions = {each.other: each.decision for each in result.differences("null")}
    assert decisions == {SCRATCH: "better", FLOOR: "inconclusive"}
    assert result.answer("null") == "inconclusive"


def test_one_seed__decides_nothing(tmp_path: Path) -> None:
    result = result_of(tmp_path, "fair", {ASKED: (0.9,), SCRATCH: (0.1,)})
    assert result.differences("null")[0].over_seeds is None
    assert result.verdict == "inconclusive"


def test_the_same_difference_for_every_seed__is_no_interval(tmp_path: Path) -> None:
    sweep = write_study(tmp_path, "fair", {"null": {ASKED: (0.6, 0.7, 0.6), SCRATCH: (0.575, 0.675, 0.575)}})
    result = read_result(sweep)
    assert result.verdict == "inconclusive"
    write_verdict(sweep, result)
    text = (sweep / "study.md").read_text()
    assert "against from scratch: +0.025 (each seed the same, no interval over 3 seeds, +0.0" in text


def test_differences__are_paired_over_seeds(tmp_path: Path) -> None:
    """Seeds differ by far more than the two do in each of them."""
    result = result_of(tmp_path, "fair", {ASKED: (0.90, 0.60, 0.75), SCRATCH: (0.85, 0.56, 0.70)})
    (to_scratch, _) = result.differences("null")
    assert to_scratch.mean == pytest.approx(0.14 / 3)
    assert to_scratch.decision == "better"


def test_a_difference_in_few_recordings__is_none(tmp_path: Path) -> None:
    """In each seed the same ten clips make it, of two recordings, which might as well not be in the test."""
    masks: Masks = {ASKED: (0.65, 0.66, 0.65), SCRATCH: (0.60, 0.60, 0.60)}
    alone = read_result(write_study(tmp_path / "alone", "fair", {"null": masks}))
    (to_scratch, _) = alone.differences("null")
    assert (to_scratch.decision, alone.videos and alone.videos.words) == ("better", "200 videos")
    cut = read_result(write_study(tmp_path / "cut", "fair", {"null": masks}, keys=OF_RECORDINGS))
    (to_scratch, _) = cut.differences("null")
    assert (to_scratch.decision, cut.videos and cut.videos.words) == ("inconclusive", "40 recordings")
    assert to_scratch.over_seeds is not None
    assert to_scratch.over_seeds.low > 0 >= to_scratch.over_videos.low
    assert cut.answer("null") == "inconclusive"


def test_recordings__are_told_apart_as_in_the_evaluation_of_the_published_set() -> None:
    config = compose_config("evaluate", ["data=evaluate_ucf101", "weights=w", "data.path=d"])
    assert config.data.recordings == study_reading._OF_UCF101


def test_scores_on_different_videos__are_no_study(tmp_path: Path) -> None:
    sweep = write_study(tmp_path, "fair", {"null": CLEAR})
    (folder, *_) = sorted(sweep.glob("*/evaluate"))
    write_scores(folder, 0.5, [f"other-{number}" for number in range(NUM_VIDEOS)])
    with pytest.raises(ConfigError, match="other videos in"):
        read_result(sweep)


def test_few_and_all_labels__are_answered_apart(tmp_path: Path) -> None:
    result = read_result(write_study(tmp_path, "fair", {"null": CLOSE, "2": CLEAR}))
    assert result.verdict == "inconclusive with all labels, better with 2 labels of each class"


@pytest.mark.parametrize(
    ("budget", "verdict"), [("small", "inconclusive"), ("fair", "better with all labels")]
)
def test_the_page__and_the_words_have_the_verdict(tmp_path: Path, budget: str, verdict: str) -> None:
    sweep = write_study(tmp_path, budget, {"null": CLEAR})
    sentence = write_verdict(sweep, read_result(sweep))
    assert sentence.endswith(f"on motions, budget {budget}: {verdict}.")
    (found,) = find_points([sweep], datetime.now(UTC)).verdicts
    assert found.words == sentence
    text = (sweep / "study.md").read_text()
    assert text.splitlines()[0] == f"# Study on motions, budget {budget}: {verdict}"
    assert "| tube 0.9 | all labels | 0.810 | 0.785 to 0.835 | 3 |" in text
    assert "Always naming the commonest class scores 0.500. All are on the same 200 videos." in text
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    decided = "better" if budget == "fair" else "inconclusive"
    start = "- With all labels, tube 0.9 against from scratch: +0.300 (+0.275 to +0.325 over 3 seeds, "
    assert lines[0].startswith(start)
    assert lines[0].endswith(f" over 200 videos), {decided}")
    assert lines[1].endswith("inconclusive"), "a mask as good as this one"
    assert (budget == "small") == ("Budget small is less than a fair one (fair, long)." in text)
    assert (budget == "small") == any("less than a fair one" in reason for reason in found.reasons)


def test_summary__finds_the_smallest_budget_that_decides(tmp_path: Path) -> None:
    write_study(tmp_path, "small", {"null": CLEAR, "2": CLEAR})
    write_study(tmp_path, "fair", {"null": CLOSE, "2": CLEAR})
    write_study(tmp_path, "long", {"null": WORSE, "2": CLEAR})
    write_study(tmp_path, "fair", {"null": CLEAR}, name="clips")
    text = write_summary(tmp_path).read_text()
    clips, motions = text.index("## clips"), text.index("## motions")
    beats = "pretraining beats from scratch beyond both intervals"
    small = (
        "At small both intervals lie above zero too, but budget small is less than a fair one (fair, long)."
    )
    never = f"With all labels {beats} at no budget tried (small, fair, long). {small}"
    first = f"With 2 labels of each class the smallest budget tried at which {beats} is fair (the whole"
    assert text.count(small) == 2, "on motions"
    assert clips < motions < text.index(never) < text.index(first)
    assert "| small | – | all labels | 0.810 (0.785 to 0.835) |" in text
    assert "inconclusive: budget small is less than a fair one" in text
    assert "- With all labels, tube 0.9 against from scratch: -0.300" in text[motions:], "what did not work"
    assert (tmp_path / "summary.png").stat().st_size > 10_000


def test_summary__of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no study with a score"):
        write_summary(tmp_path)


def test_a_broken_record__is_named(tmp_path: Path) -> None:
    sweep = write_study(tmp_path, "fair", {"null": CLEAR})
    (sweep / "sweep.json").write_text("{")
    with pytest.raises(ConfigError, match="no study"):
        read_result(sweep)

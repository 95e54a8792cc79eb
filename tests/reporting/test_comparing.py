"""In what points differ, and what is averaged over."""

from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import NOW, pretrain_config, write_evaluation, write_knn, write_point, write_training

from videomae_train.evaluation.seeds import seed_interval
from videomae_train.reporting.comparing import (
    Values,
    differing_keys,
    families_from_scratch,
    families_of,
    from_scratch,
    labels_of,
    scores_of_seeds,
    settings_of,
)
from videomae_train.reporting.facts import EvaluationFacts, Point
from videomae_train.reporting.finding import find_points
from videomae_train.reporting.reading import read_evaluation, read_training


def point(
    folder: Path, name: str, *, wrong: int | None = None, score_says: Values | None = None, **config: object
) -> Point:
    facts = read_training(write_training(folder / name, config=pretrain_config(**config)), NOW)  # type: ignore[arg-type]
    if wrong is None:
        return Point(name, pretraining=facts)
    score = read_evaluation(write_evaluation(folder / name, wrong=wrong, **(score_says or {})))
    assert isinstance(score, EvaluationFacts)
    return Point(name, pretraining=facts, evaluation=score)


def test_only_keys_that_differ__are_listed(tmp_path: Path) -> None:
    points = [point(tmp_path, f"{ratio}", ratio=ratio, seed=seed) for ratio, seed in ((0.5, 0), (0.9, 1))]
    assert differing_keys(points) == ("seed", "masking.ratio"), (
        "folders of runs differ always, and are left out"
    )
    assert differing_keys(points[:1]) == ()


def test_a_key_that_only_some_have__differs(tmp_path: Path) -> None:
    points = [point(tmp_path, "a"), point(tmp_path, "b", init="weights")]
    assert differing_keys(points) == ("init",)


def test_a_stage_that_is_missing__differs_in_nothing(tmp_path: Path) -> None:
    points = [point(tmp_path, "a", wrong=2), point(tmp_path, "b"), Point("c")]
    assert differing_keys(points) == ()


def test_keys_of_later_stages__are_named_by_them(tmp_path: Path) -> None:
    write_point(tmp_path / "p", "tube", 0.9, 0)
    (found,) = find_points([tmp_path / "p"], NOW).points
    values = settings_of(found)
    assert values["seed"] == values["finetune: seed"] == 0
    assert values["evaluate: selection"] == "split1/test"
    assert "finetune: weights" not in values, "they follow from the pretraining"


def test_scores__are_averaged_over_seeds_only(tmp_path: Path) -> None:
    wrong = {(0.5, 0): 4, (0.5, 1): 5, (0.75, 0): 4, (0.75, 1): 9, (0.9, 0): 1}
    points = [
        point(tmp_path, f"{ratio}-{seed}", wrong=count, ratio=ratio, seed=seed, trainer={"threads": seed})
        for (ratio, seed), count in wrong.items()
    ]
    (family,) = families_of([*points, point(tmp_path, "unscored", ratio=0.75)])
    assert family.name == "tube"
    low, wide, high = family.by_ratio()
    assert (low.place, low.num_seeds, low.score) == (0.5, 2, pytest.approx(0.55))
    expected = seed_interval([0.6, 0.5])
    assert expected is not None
    assert low.interval == (max(0.0, expected.low), min(1.0, expected.high))
    assert wide.interval == (0.0, 1.0), "no accuracy lies beyond"
    assert (high.place, high.num_seeds) == (0.9, 1)
    assert high.interval == pytest.approx((0.7, 1.0)), "a single run has its interval over videos"


def test_equal_videos_in_two_places__are_no_difference(tmp_path: Path) -> None:
    points = [
        point(tmp_path, f"{seed}", wrong=4 + seed, seed=seed, data={"path": path, "views": 2})
        for seed, path in ((0, "/here"), (1, "/there"))
    ]
    assert "data.path" in differing_keys(points), "of older runs only the place is known"
    known = [
        replace(each, pretraining=replace(each.pretraining, videos="fingerprint"))  # type: ignore[type-var]
        for each in points
    ]
    assert differing_keys(known) == ("seed",)
    (family,) = families_of(known)
    assert family.by_ratio()[0].num_seeds == 2


def test_a_seed_that_was_run_twice__counts_once(tmp_path: Path) -> None:
    points = [
        point(tmp_path, f"{seed}-{threads}", wrong=4 + seed, seed=seed, trainer={"threads": threads})
        for seed in (0, 1)
        for threads in (1, 2)
    ]
    (family,) = families_of(points)
    (found,) = family.by_ratio()
    assert (found.num_seeds, found.score) == (2, pytest.approx(0.55))
    expected = seed_interval([0.6, 0.5])
    assert expected is not None
    assert found.interval == (max(0.0, expected.low), min(1.0, expected.high))


def test_fine_tunings_of_one_pretraining__are_no_further_pretrainings(tmp_path: Path) -> None:
    def chain(seed: int, tuned: int, wrong: int) -> Point:
        run = tmp_path / f"{seed}-{tuned}"
        pretraining = read_training(write_training(run / "p", config=pretrain_config(seed=seed)), NOW)
        classifier = read_training(
            write_training(run / "f", "finetune", {"seed": tuned, "weights": "x"}), NOW
        )
        score = read_evaluation(write_evaluation(run / "e", wrong=wrong))
        assert isinstance(score, EvaluationFacts)
        return Point(run.name, pretraining, classifier, score)

    points = [chain(seed, tuned, 3 + seed + tuned) for seed in (0, 1) for tuned in (0, 1, 2)]
    assert scores_of_seeds(points) == pytest.approx([0.6, 0.5])
    assert scores_of_seeds(points[:3]) == pytest.approx([0.7, 0.6, 0.5]), "all there is to average over"


def test_kinds_of_masks_and_other_settings__are_families_of_their_own(tmp_path: Path) -> None:
    points = [
        point(tmp_path, "a", wrong=1),
        point(tmp_path, "b", wrong=2, kind="random"),
        point(tmp_path, "c", wrong=3, optim={"global_batch": 8, "base_lr": 0.4}),
    ]
    assert [family.name for family in families_of(points)] == [
        "random, optim.base_lr=0.1", "tube, optim.base_lr=0.1", "tube, optim.base_lr=0.4",
    ]  # fmt: skip
    assert [family.name for family in families_of(points[:2])] == ["random", "tube"]


def test_frame_masks__stand_where_they_hide(tmp_path: Path) -> None:
    """Of four time slots 0.75, 0.9 and 0.975 all hide three."""
    model = {"num_frames": 8, "tubelet_size": 2}
    ratios = {"frame": (0.5, 0.75, 0.9, 0.975), "tube": (0.5, 0.9, 0.975)}
    points = [
        point(tmp_path, f"{kind}-{ratio}", wrong=1, kind=kind, ratio=ratio, seed=seed, model=model)
        for kind in ratios for seed, ratio in enumerate(ratios[kind])
    ]  # fmt: skip
    frame, tube = families_of(points)
    assert [(score.place, score.num_seeds) for score in frame.by_ratio()] == [(0.5, 1), (0.75, 1)], "no seeds"
    assert [score.place for score in tube.by_ratio()] == [0.5, 0.9, 0.975]


def test_scores_on_other_videos__are_not_averaged(tmp_path: Path) -> None:
    one, two = point(tmp_path, "a", wrong=1, seed=0), point(tmp_path, "b", wrong=2, seed=1)
    assert two.evaluation is not None
    other = replace(two, evaluation=replace(two.evaluation, selection="split2/test"))
    assert len(families_of([one, two])) == 1
    assert len(families_of([one, other])) == 2


VIEWS = {
    "windows": "spread",
    "stride": 4,
    "frame_interval_sec": None,
    "size": 64,
    "num_clips": 5,
    "antialias": True,
}
PROTOCOL: Values = {
    "data": "/sets/a", "fingerprint": "01", "view_options": VIEWS, "weights_kind": "last"
}  # fmt: skip


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"fingerprint": "23"}, "evaluate: videos"),
        ({"view_options": {**VIEWS, "stride": 2}}, "evaluate: stride"),
        ({"view_options": {**VIEWS, "frame_interval_sec": 0.1}}, "evaluate: frame_interval_sec"),
        ({"view_options": {**VIEWS, "antialias": False}}, "evaluate: antialias"),
        ({"weights_kind": "best"}, "evaluate: weights_kind"),
        ({"views": "2 x 3", "view_options": {**VIEWS, "num_clips": 2}}, "evaluate: views"),
    ],
)  # fmt: skip
def test_scores_by_another_protocol__are_not_averaged(tmp_path: Path, other: Values, key: str) -> None:
    one = point(tmp_path, "a", wrong=1, seed=0, score_says=PROTOCOL)
    two = point(tmp_path, "b", wrong=2, seed=1, score_says={**PROTOCOL, **other})
    assert differing_keys([one, two]) == ("seed", key)
    assert len(families_of([one, two])) == 2


def test_scores_by_one_protocol__are_averaged_wherever_their_set_lies_and_however_old_one_is(
    tmp_path: Path,
) -> None:
    elsewhere = {**PROTOCOL, "data": "/sets/moved"}
    says = (PROTOCOL, elsewhere, {}, {"weights_kind": None})
    points = [
        point(tmp_path, f"{seed}", wrong=1, seed=seed, score_says=each) for seed, each in enumerate(says)
    ]
    assert differing_keys(points) == ("seed",), "what a record does not say is no difference"
    (family,) = families_of(points)
    assert family.by_ratio()[0].num_seeds == 4


def test_from_scratch__is_a_classifier_without_weights(tmp_path: Path) -> None:
    for name, weights in (("scratch", None), ("fine-tuned", "/gone")):
        write_training(tmp_path / name, "finetune", {"weights": weights, "seed": 0})
        write_evaluation(tmp_path / name / "evaluate")
    points = find_points([tmp_path], NOW).points
    assert [each.name for each in from_scratch(points)] == ["scratch"]
    assert families_of(points) == ()


def test_probes_of_other_settings__are_not_averaged(tmp_path: Path) -> None:
    for name, settings in {"a": {}, "b": {"neighbours": 5}, "c": {"per_class": 2}, "d": {"seed": 1}}.items():
        write_training(tmp_path / name / "pretrain")
        write_knn(tmp_path / name / "probe", **settings)
    write_point(tmp_path / "e", "tube", 0.9, 0)
    families = families_of(find_points([tmp_path], NOW).points)
    together = sorted(sorted(point.name for point in family.points) for family in families)
    assert together == [["a", "d"], ["b"], ["c"], ["e"]], "but for the seed that chose the labels"


def test_from_scratch__is_averaged_over_seeds_and_not_over_labels(tmp_path: Path) -> None:
    for per_class in (None, 2):
        for seed in (0, 1):
            folder = tmp_path / f"scratch-{per_class}-{seed}"
            data = {"per_class": per_class, "per_class_seed": seed}
            config = {"seed": seed, "weights": None, "model": {"hidden_size": 24}, "data": data}
            write_training(folder / "finetune", "finetune", config)
            write_evaluation(folder / "evaluate")
    write_point(tmp_path / "masked", "tube", 0.9, 0)
    points = find_points([tmp_path], NOW).points
    found = {family.name: len(family.points) for family in families_from_scratch(points)}
    assert found == {
        "from scratch, finetune: data.per_class=2": 2,
        "from scratch, finetune: data.per_class=null": 2,
    }
    (masked,) = families_of(points)
    assert masked.name == "tube", "what only those from scratch have is no part of its name"


def test_labels__name_the_mask_and_what_else_differs_but_no_seed(tmp_path: Path) -> None:
    masks = [point(tmp_path, "a", seed=0), point(tmp_path, "b", seed=1), point(tmp_path, "c", ratio=0.5)]
    assert labels_of(masks) == ("tube 0.9", "tube 0.9", "tube 0.5")
    rates = [point(tmp_path, f"{rate}", optim={"global_batch": 8, "base_lr": rate}) for rate in (0.1, 0.4)]
    assert labels_of([*rates, Point("lost")]) == (
        "tube 0.9, optim.base_lr=0.1", "tube 0.9, optim.base_lr=0.4", "lost",
    )  # fmt: skip

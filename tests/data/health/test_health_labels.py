from __future__ import annotations

from dataclasses import replace

from inspected_sets import findings_of, good_videos, set_of, severities, video

from videomae_train.data.health import Severity

ERROR, WARNING, NOTE = Severity


def test_no_label__is_fine_for_pretraining() -> None:
    videos = [replace(one, label=-1, splits={}) for one in good_videos()]
    assert severities(set_of(*videos, classes=())) == {"unlabelled": NOTE}


def test_some_without_a_label__are_a_warning() -> None:
    assert severities(set_of(*good_videos(), video("loose", -1))) == {"partly-labelled": WARNING}


def test_a_class_without_a_training_video__cannot_be_learnt() -> None:
    videos = [*good_videos(), video("new", 2, "test")]
    found = findings_of(set_of(*videos, classes=("run", "walk", "swim")))
    assert found["no-train-video"].severity == ERROR
    assert "swim" in found["no-train-video"].text
    spared = [*videos, video("train", 2, "train")]
    assert "no-train-video" not in findings_of(set_of(*spared, classes=("run", "walk", "swim")))


def test_a_class_whose_training_videos_are_all_broken__cannot_be_learnt_either() -> None:
    videos = [*good_videos(), video("new", 2, "test"), video("broken", 2, "train", cause="empty")]
    assert severities(set_of(*videos, classes=("run", "walk", "swim")))["no-train-video"] == ERROR


def test_a_class_that_is_never_tested__is_a_warning() -> None:
    videos = [*good_videos(), *(video(f"new{n}", 2, "train") for n in range(8))]
    assert severities(set_of(*videos, classes=("run", "walk", "swim"))) == {"no-test-video": WARNING}


def test_a_class_without_any_video__is_a_warning() -> None:
    assert severities(set_of(*good_videos(), classes=("run", "walk", "swim"))) == {"empty-classes": WARNING}


def test_no_split__is_noted() -> None:
    assert severities(set_of(*(replace(one, splits={}) for one in good_videos()))) == {"no-split": NOTE}


def test_uneven_classes__state_the_score_of_always_guessing_the_largest() -> None:
    videos = [
        *(video(f"a{n}", 0, "train") for n in range(90)),
        *(video(f"b{n}", 1, "train") for n in range(9)),
    ]
    found = findings_of(set_of(*videos))
    assert list(found) == ["uneven-classes"]
    assert "90.9 %" in found["uneven-classes"].text
    assert severities(set_of(*videos[:89], *videos[90:])) == {}

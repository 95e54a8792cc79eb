"""The right alarm for each thing that goes wrong, and none in a clean run."""

import math

import pytest

from videomae_train.errors import ConfigError
from videomae_train.training.alarms import (
    Alarm,
    AlarmOptions,
    Baseline,
    Expected,
    Report,
    check_visible,
    find_alarms,
)

OPTIONS = AlarmOptions(reports=3, data_bound_share=0.5)
EXPECTED = Expected(OPTIONS, "bf16", 8, 0.01, Baseline(0.98, after_steps=100, margin=0.02))
CLEAN = [Report(step, 1 - step / 1000, 0.05, 0, 0) for step in range(10, 400, 10)]


def names(reports: list[Report], expected: Expected = EXPECTED) -> list[str]:
    return [alarm.name for alarm in find_alarms(reports, expected)]


def test_clean_run__has_no_alarm_at_any_report() -> None:
    assert not any(names(CLEAN[:number]) for number in range(len(CLEAN)))


def test_loss_at_the_baseline__is_alarming_only_after_the_given_steps() -> None:
    stuck = [report._replace(loss=0.979) for report in CLEAN]
    alarmed = [report.step for number, report in enumerate(stuck, 1) if names(stuck[:number])]
    assert alarmed == list(range(100, 400, 10))
    assert names(stuck) == ["at_baseline"]
    assert "0.9790" in find_alarms(stuck, EXPECTED)[0].words


def test_loss_at_the_baseline__one_report_below_it_is_enough_and_nan_is_not_below() -> None:
    dip = [report._replace(loss=0.95 if report.step == 380 else 0.98) for report in CLEAN]
    assert names(dip) == []
    assert names([report._replace(loss=math.nan) for report in CLEAN]) == ["at_baseline"]


def test_slow_loader__is_alarming_when_all_of_the_last_reports_agree() -> None:
    slow = [report._replace(data_wait_ratio=0.8) for report in CLEAN]
    assert names(slow[:2]) == []
    assert names(slow[:3]) == ["data_bound"]
    assert "80%" in find_alarms(slow, EXPECTED)[0].words
    hiccup = [*CLEAN[:-1], CLEAN[-1]._replace(data_wait_ratio=0.9)]
    assert names(hiccup) == []


def test_steps_that_were_held_back__are_alarming_at_once_but_for_the_search_of_float16() -> None:
    held_back = [CLEAN[0]._replace(num_skipped=1)]
    fp16 = Expected(OPTIONS, "fp16", 8, 0.01)
    assert names(held_back) == ["not_finite"]
    assert names(held_back, fp16) == []
    assert names([CLEAN[0]._replace(num_skipped=17)], fp16) == ["not_finite"]


def test_faults__are_alarming_halfway_to_where_the_run_stops() -> None:
    assert names([Report(100, 0.5, 0, 0, 4)]) == []
    assert names([Report(100, 0.5, 0, 0, 5)]) == ["faults"]


def test_masks__are_alarming_unless_exactly_what_the_recipe_promises() -> None:
    assert check_visible(0, 160, 160, 1568) is None
    inverted = check_visible(7, 1408, 160, 1568)
    assert isinstance(inverted, Alarm)
    assert inverted[:2] == ("inverted_mask", 7)
    assert "inverted" in inverted.words
    other = check_visible(0, 161, 160, 1568)
    assert other is not None
    assert "inverted" not in other.words


@pytest.mark.parametrize("values", [(0, 0.5), (3, 0.0), (3, 1.5)])
def test_options__out_of_range_are_refused(values: tuple[int, float]) -> None:
    with pytest.raises(ConfigError):
        AlarmOptions(*values)

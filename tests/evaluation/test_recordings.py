import pytest

from videomae_train.config.loader import compose_config
from videomae_train.errors import ConfigError
from videomae_train.evaluation.recordings import recordings_of


def test_recordings__without_a_pattern_each_video_is_its_own() -> None:
    assert recordings_of(["a", "b"], None) is None


@pytest.mark.parametrize(
    ("data", "keys", "recordings"),
    [
        (
            "evaluate_ucf101",
            ["Punch__v_Punch_g02_c04", "Punch__v_Punch_g02_c05", "Punch__v_Punch_g12_c05"],
            ["v_Punch_g02", "v_Punch_g02", "v_Punch_g12"],
        ),
        (
            "evaluate_hmdb51",
            [
                "brush_hair__April_09_brush_hair_u_nm_np1_ba_goo_0",
                "brush_hair__April_09_brush_hair_f_cm_np10_le_bad_12",
                "brush_hair__Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np1_ba_goo_4",
            ],
            [
                "brush_hair__April_09_brush_hair",
                "brush_hair__April_09_brush_hair",
                "brush_hair__Aussie_Brunette_Brushing_Hair_II_brush_hair",
            ],
        ),
    ],
)
def test_published_sets__have_theirs(data: str, keys: list[str], recordings: list[str]) -> None:
    config = compose_config("evaluate", [f"data={data}", "weights=w", "data.path=d"])
    assert recordings_of(keys, config.data.recordings) == recordings


def test_recordings__a_key_without_one_is_named() -> None:
    with pytest.raises(ConfigError, match=r"finds nothing in 1 of 2 keys, such as Punch__clip7"):
        recordings_of(["Punch__v_Punch_g02_c04", "Punch__clip7"], r"v_.+_g\d+")


@pytest.mark.parametrize(("pattern", "said"), [("v_(", "at character 2"), ("x*", "finds nothing in 1 of 1")])
def test_recordings__a_pattern_that_is_none_or_finds_only_emptiness_is_refused(
    pattern: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        recordings_of(["v_Punch_g02_c04"], pattern)

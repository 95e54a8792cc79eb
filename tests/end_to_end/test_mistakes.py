"""What a user can get wrong ends in one message with four parts and an exit code, never in a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICK, SMALL, videomae

from videomae_train.model import VideoMAEConfig, VideoMAEForPreTraining, save_weights_folder

SMALL_MODEL = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    save_weights_folder(VideoMAEForPreTraining(SMALL_MODEL), folder, card="# test")
    return folder


@pytest.fixture
def message(capsys: pytest.CaptureFixture[str]):
    def read() -> str:
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.count("Error: ") == 1
        return said

    return read


def test_pack__a_missing_folder(tmp_path: Path, message) -> None:
    assert videomae("pack", tmp_path / "nowhere", tmp_path / "out") == 2
    assert "nowhere" in message()


def test_pack__an_empty_folder(tmp_path: Path, message) -> None:
    (tmp_path / "empty").mkdir()
    assert videomae("pack", tmp_path / "empty", tmp_path / "out") == 2
    assert "empty" in message()


def test_pack__only_unreadable_videos(tmp_path: Path, message) -> None:
    (tmp_path / "videos" / "jump").mkdir(parents=True)
    (tmp_path / "videos" / "jump" / "broken.mp4").write_bytes(b"no video at all")
    assert videomae("pack", tmp_path / "videos", tmp_path / "out") == 2
    assert "undecodable" in message()


def test_pack__an_unknown_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert videomae("pack", tmp_path, tmp_path / "out", "--shards", "3") == 2
    assert "--shards" in capsys.readouterr().err


def test_pretrain__a_missing_set(tmp_path: Path, message) -> None:
    assert videomae("pretrain", f"data.path={tmp_path / 'nowhere'}", f"run={tmp_path / 'run'}") == 2
    assert "videomae pack SOURCE" in message()


def test_pretrain__a_misspelt_key(message) -> None:
    assert videomae("pretrain", "data.path=x", "masking.ration=0.9") == 2
    assert "Did you mean masking.ratio?" in message()


def test_pretrain__a_sweep_that_is_only_to_be_shown(message) -> None:
    assert videomae("pretrain", "-m", "data.path=x", "masking.ratio=0.75,0.9", "--cfg", "job") == 2
    assert "-m --cfg: 2 flags" in message()


def test_pretrain__a_ratio_of_one_and_a_half(tmp_path: Path, message) -> None:
    assert videomae("pretrain", "data.path=x", "masking.ratio=1.5", f"run={tmp_path}") == 2
    assert "masking.ratio: 1.5" in message()


def test_pretrain__a_batch_that_does_not_split(packed_motions: Path, tmp_path: Path, message) -> None:
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    assert videomae("pretrain", *arguments, "optim.global_batch=7") == 2
    assert "6 or 8" in message()


def test_pretrain__more_gpus_than_there_are(packed_motions: Path, tmp_path: Path, message) -> None:
    arguments = ["model=tiny", *SMALL, *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    assert (
        videomae(
            "pretrain",
            *arguments,
            "trainer.accelerator=gpu",
            "trainer.micro_batch=1",
            "trainer.devices=99",
            "optim.global_batch=99",
        )
        == 2
    )
    assert "99 GPU(s) asked for" in message()


def test_finetune__a_checkpoint_of_another_size(
    weights: Path, packed_motions: Path, tmp_path: Path, message
) -> None:
    (weights.parent / "other").mkdir()
    for file in weights.iterdir():
        text = file.read_bytes()
        if file.name == "config.json":
            text = text.replace(b'"hidden_size": 24', b'"hidden_size": 48')
        (weights.parent / "other" / file.name).write_bytes(text)
    selection = ["data.selection=split/train", "data.val_selection=split/test"]
    arguments = [*QUICK, *selection, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    assert videomae("finetune", f"weights={weights.parent / 'other'}", *arguments) == 1
    assert "48" in message()


@pytest.mark.parametrize("is_all_there_is", [False, True])
def test_finetune__videos_of_one_class(
    is_all_there_is: bool, motion_videos: Path, tmp_path: Path, message
) -> None:
    rows = [
        f"{file},{file.parent.name},{'train' if file.parent.name == 'move_left' else 'test'}"
        for file in motion_videos.parent.rglob("*.mp4")
        if file.parent.name == "move_left" or not is_all_there_is
    ]
    (tmp_path / "videos.csv").write_text("\n".join(["path,label,split", *rows]))
    assert videomae("pack", tmp_path / "videos.csv", tmp_path / "set") == 0
    data = [f"data.path={tmp_path / 'set'}", "data.selection=split/train", "data.val_selection=null"]
    assert videomae("finetune", "model=tiny", *QUICK, *data, f"run={tmp_path / 'run'}") == 2
    said = message()
    assert f"data.selection: 'split/train' of {tmp_path / 'set'}: 8 videos, all of class 'move_left'" in said
    assert ("Pack a set of more classes" if is_all_there_is else "Choose a selection with more") in said


def test_index__a_missing_folder(tmp_path: Path, message) -> None:
    assert videomae("index", tmp_path / "nowhere") == 2
    assert f"{tmp_path / 'nowhere'}: no such folder" in message()


def test_finetune__weights_that_are_not_there(packed_motions: Path, tmp_path: Path, message) -> None:
    arguments = [*QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    assert videomae("finetune", f"weights={tmp_path / 'nowhere'}", *arguments) == 1
    assert f"{tmp_path / 'nowhere'}: no such file or folder" in message()


def test_finetune__a_selection_that_does_not_exist(
    weights: Path, packed_motions: Path, tmp_path: Path, message
) -> None:
    arguments = [
        *QUICK,
        f"data.path={packed_motions}",
        "data.selection=split9/train",
        f"run={tmp_path / 'run'}",
    ]
    assert videomae("finetune", f"weights={weights}", *arguments) == 2
    assert "split/train" in message()


@pytest.fixture
def finetune(packed_motions: Path, tmp_path: Path) -> Callable[..., int]:
    """`videomae finetune` on good data, with what the test gives instead."""
    selection = ["data.selection=split/train", "data.val_selection=split/test"]
    good = [*QUICK, *selection, f"data.path={packed_motions}", f"run={tmp_path / 'run'}"]
    return lambda *given: videomae("finetune", *good, *given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("experiment=pretrain_tiny", "`videomae pretrain experiment=pretrain_tiny ...` runs it"),
        ("data.per_class=99", "Set data.per_class=6 or less"),
        ("mix.mixup_alpha=-1", "mix.mixup_alpha: -1.0; expected 0, which switches it off"),
        ("mix.label_smoothing=1", "mix.label_smoothing: 1.0; expected a share from 0 to less than 1"),
        ("optim.base_lr=null", "optim.base_lr: null"),
        ("optim.base_lr=inf", "optim.base_lr: inf; expected a finite number"),
        ("data.val_selection=split/nowhere", "expected one of all, split/test, split/train"),
        ("data.randaugment=rand-m7-q4", "null switches RandAugment off"),
    ],
)
def test_finetune__what_cannot_be_is_said_with_what_to_do(
    given: str, said: str, weights: Path, finetune: Callable[..., int], message
) -> None:
    assert finetune(f"weights={weights}", given) == 2
    assert said in message()


def test_finetune__an_odd_number_of_clips_to_mix(
    weights: Path, finetune: Callable[..., int], message
) -> None:
    assert finetune(f"weights={weights}", "trainer.micro_batch=1", "data.views=1") == 2
    assert "Give an even trainer.micro_batch, or set mix.mixup_alpha=0" in message()


def test_finetune__a_packed_set_for_weights(
    packed_motions: Path, finetune: Callable[..., int], message
) -> None:
    assert finetune(f"weights={packed_motions}") == 1
    assert "no config.json in it; expected a weights folder" in message()


@pytest.mark.parametrize(
    "mistake",
    ["data.selection=split9/train", "trainer.accelerator=gpu trainer.devices=99 optim.global_batch=198"],
)
def test_finetune__a_refused_request_does_not_keep_the_folder(
    mistake: str, weights: Path, finetune: Callable[..., int], message
) -> None:
    one_step = [f"weights={weights}", "optim.steps=1", "optim.warmup_steps=0"]
    assert finetune(*one_step, *mistake.split()) == 2
    message()
    assert finetune(*one_step) == 0, "the same command again, corrected"
    assert finetune(*one_step) == 2
    assert "holds a run already" in message()


def test_reconstruct__an_unreadable_video(weights: Path, tmp_path: Path, message) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    video = f"video={tmp_path / 'broken.mp4'}"
    assert videomae("reconstruct", f"weights={weights}", video, f"run={tmp_path / 'run'}") == 1
    assert "undecodable" in message()


def test_reconstruct__a_video_too_short(weights: Path, motion_videos: Path, tmp_path: Path, message) -> None:
    video = f"video={next(motion_videos.parent.glob('videos/*/*.mp4'))}"
    assert videomae("reconstruct", f"weights={weights}", video, "stride=99", f"run={tmp_path / 'run'}") == 2
    assert "Lower start or stride" in message()


def test_demo__a_folder_in_use(tmp_path: Path, message) -> None:
    (tmp_path / "something").touch()
    assert videomae("demo", "--out", tmp_path) == 2
    assert "rm -r" in message()

"""`videomae convert` through the command line: every source, every layout, the account, the refusals."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from command_line import QUICK, SMALL, videomae
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file, save_file

from videomae_train.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    VideoMAEModel,
    read_config,
)
from videomae_train.training.checkpoint_files import newest_checkpoint

SMALL_MODEL = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A pretraining folder with biases that are not zero, as a trained model has them."""
    model = VideoMAEForPreTraining(SMALL_MODEL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "weights", card="# Licence: mine")
    return tmp_path / "weights"


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    VideoMAEForVideoClassification(SMALL_MODEL.with_labels(3)).save_pretrained(tmp_path / "classifier")
    return tmp_path / "classifier"


@pytest.fixture(scope="module")
def run(packed_motions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of one step."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = [f"data.path={packed_motions}", f"run={folder}"]
    assert (
        videomae("pretrain", "model=tiny", *SMALL, *QUICK, "optim.steps=1", "optim.warmup_steps=0", *data)
        == 0
    )
    return folder


def test_report__is_a_table_and_says_what_was_written(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("convert", weights, tmp_path / "bare", "--encoder-only") == 0
    said = capsys.readouterr().out
    for words in ("placed", "encoder.blocks.*", "dropped", "belongs to pretraining", "Written (hf)", "bare"):
        assert words in said
    assert "Suspicious" not in said
    assert "Fresh" not in said
    assert transformers.VideoMAEModel.from_pretrained(tmp_path / "bare").config.hidden_size == 24
    assert (tmp_path / "bare" / "README.md").read_text() == "# Licence: mine"


@pytest.mark.parametrize("layout", ["official", "timm", "onnx"])
def test_layouts__are_written_as_one_file(classifier: Path, tmp_path: Path, layout: str) -> None:
    assert videomae("convert", classifier, tmp_path / "out", "--to", layout) == 0
    assert (tmp_path / "out").stat().st_size > 1000
    assert videomae("convert", classifier, tmp_path / "out", "--to", layout) == 2


def test_suspicious_weights__are_said_to_be_so(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videomae("convert", classifier, tmp_path / "out") == 0
    assert "Suspicious: all query and value biases are zero" in capsys.readouterr().out


def test_tensors_that_do_not_fit__are_refused_unless_allowed_by_name(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_file(weights / "model.safetensors")
    del state["mask_token"]
    save_file(state | {"cls_token": torch.zeros(3)}, weights / "model.safetensors")
    assert videomae("convert", weights, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "mask_token is missing; cls_token has no place" in said
    assert "--allow NAME" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert (
        videomae("convert", weights, tmp_path / "out", "--allow", "mask_token", "--allow", "cls_token") == 0
    )
    said = capsys.readouterr().out
    assert "Fresh, not from the source: mask_token" in said
    assert "allowed by name" in said


def test_official_file__of_another_width_wants_a_configuration(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = VideoMAEForPreTraining.from_pretrained(weights).state_dict()
    average = {name: tensor + 1 for name, tensor in state.items()}
    torch.save({"model": state, "model_ema": average}, tmp_path / "official.pth")
    assert videomae("convert", tmp_path / "official.pth", tmp_path / "out") == 1
    assert "--config FOLDER" in capsys.readouterr().err
    SMALL_MODEL.save_pretrained(tmp_path / "architecture")
    options = ["--config", tmp_path / "architecture", "--entry", "model_ema"]
    assert videomae("convert", tmp_path / "official.pth", tmp_path / "out", *options) == 0
    loaded = VideoMAEForPreTraining.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in average.items())


class Greedy:
    """Something that a pickle could bring along."""


def test_pickle__that_can_run_code_wants_the_flag(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = VideoMAEForPreTraining.from_pretrained(weights).state_dict()
    torch.save({"model": state, "args": Greedy()}, tmp_path / "official.pth")
    arguments = ["convert", tmp_path / "official.pth", tmp_path / "out", "--config", weights]
    assert videomae(*arguments) == 1
    assert "--trust-pickle" in capsys.readouterr().err
    assert videomae(*arguments, "--trust-pickle") == 0


def test_wrong_requests__end_with_two(classifier: Path, weights: Path, tmp_path: Path) -> None:
    assert videomae("convert", classifier, tmp_path / "out", "--to", "keras") == 2
    assert videomae("convert", classifier, tmp_path / "out.pth", "--to", "official", "--push", "me/mine") == 2
    assert videomae("convert", weights, tmp_path / "out.onnx", "--to", "onnx") == 2
    assert videomae("convert", tmp_path / "nowhere", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()


def test_hub_id__is_fetched_with_its_card_and_processor(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    VideoMAEImageProcessor(size={"shortest_edge": 40}).save_pretrained(classifier)
    (classifier / "README.md").write_text("# Licence: theirs")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **_: str(classifier))
    assert videomae("convert", "owner/name", tmp_path / "local") == 0
    assert VideoMAEForVideoClassification.from_pretrained(tmp_path / "local").num_classes == 3
    assert VideoMAEImageProcessor.from_pretrained(tmp_path / "local").size == {"shortest_edge": 40}
    assert (tmp_path / "local" / "README.md").read_text() == "# Licence: theirs"


def test_hub_repository__with_a_pickle_only_is_fetched_as_such(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(load_file(weights / "model.safetensors"), weights / "pytorch_model.bin")
    (weights / "model.safetensors").unlink()
    asked: list[list[str]] = []

    def download(repo: str, *, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(weights)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert videomae("convert", "owner/name", tmp_path / "local") == 0
    assert ["pytorch_model.bin" in patterns for patterns in asked] == [False, True]


def test_push__uploads_what_was_written_or_says_why_not(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uploads: list[object] = []

    class Api:
        def create_repo(self, repo: str, *, exist_ok: bool) -> str:
            if repo == "not/mine":
                raise OSError("401: log in first")
            return f"https://hub/{repo}"

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
            uploads.append((repo_id, folder_path))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert issubclass(HfHubHTTPError, OSError)
    assert videomae("convert", classifier, tmp_path / "out", "--push", "me/mine") == 0
    assert uploads == [("me/mine", tmp_path / "out")]
    assert "Uploaded: https://hub/me/mine" in capsys.readouterr().out
    assert videomae("convert", classifier, tmp_path / "again", "--push", "not/mine") == 1
    assert "hf auth login" in capsys.readouterr().err


def test_run__folder_and_checkpoint_are_sources_of_every_class(run: Path, tmp_path: Path) -> None:
    checkpoint = newest_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    ours = VideoMAEForPreTraining.from_pretrained(run)
    again = VideoMAEForPreTraining.from_pretrained(checkpoint)
    assert again.config == ours.config == read_config(checkpoint)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())
    assert VideoMAEImageProcessor.from_pretrained(checkpoint) == VideoMAEImageProcessor.from_pretrained(run)
    assert VideoMAEModel.from_pretrained(checkpoint).config.hidden_size == 24
    assert videomae("convert", run, tmp_path / "from_run") == 0
    assert videomae("convert", checkpoint, tmp_path / "from_checkpoint") == 0
    first, second = (tmp_path / name / "model.safetensors" for name in ("from_run", "from_checkpoint"))
    assert first.read_bytes() == second.read_bytes()


def test_run__without_its_weights_yet_names_its_newest_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unfinished" / "checkpoints").mkdir(parents=True)
    (tmp_path / "unfinished" / "checkpoints" / "step-00000001.ckpt").touch()
    assert videomae("convert", tmp_path / "unfinished", tmp_path / "out") == 1
    assert "step-00000001.ckpt" in capsys.readouterr().err


def test_run__checkpoint_starts_fine_tuning(run: Path, packed_motions: Path, tmp_path: Path) -> None:
    checkpoint = newest_checkpoint(run / "checkpoints")
    arguments = [
        f"weights={checkpoint}", *QUICK, f"data.path={packed_motions}", f"run={tmp_path / 'run'}",
        "data.selection=split/train", "data.val_selection=split/test", "optim.steps=1", "optim.warmup_steps=0",
    ]  # fmt: skip
    assert videomae("finetune", *arguments) == 0
    finetuned = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert finetuned is not None
    names = set(VideoMAEForVideoClassification.from_pretrained(finetuned).config.id2label.values())
    assert names == {"move_left", "move_right"}

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.utils.data.dataloader import (
    _MultiProcessingDataLoaderIter,  # pyright: ignore[reportPrivateUsage]
)

from videomae_train.data import clip_stream
from videomae_train.data.decoding import decode_frames
from videomae_train.data.transforms import as_clip, crop_views
from videomae_train.errors import ConfigError
from videomae_train.inference import Representation, VideoFeature, VideoFeatures, find_videos
from videomae_train.inference.representation import encode_clips
from videomae_train.model import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    load_encoder,
    normalise_clips,
)

CONFIG = VideoMAEConfig(
    image_size=16, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=3, num_attention_heads=2,
    intermediate_size=48, decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    decoder_intermediate_size=24,
)  # fmt: skip
CLIPS = torch.randint(
    0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Move every parameter, norms too, so that leaving one out shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "weights"
    shaken(VideoMAEForPreTraining(CONFIG)).save_pretrained(folder)  # pyright: ignore[reportCallIssue]
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "weights"
    config = replace(CONFIG, num_labels=2, id2label={0: "a", 1: "b"})
    shaken(VideoMAEForVideoClassification(config)).save_pretrained(folder)  # pyright: ignore[reportCallIssue]
    return folder


def extractor_of(weights: Path, **changes: object) -> VideoFeatures:
    given = {"stride": 1, "window_stride": 3, "batch_clips": 2, "num_workers": 0, "device": "cpu", **changes}
    return VideoFeatures.from_pretrained(weights, **given)  # pyright: ignore[reportArgumentType]


def by_key(features: list[VideoFeature]) -> dict[str, VideoFeature]:
    assert len({each.key for each in features}) == len(features)
    return {each.key: each for each in features}


def test_layers__are_the_hidden_states_and_the_last_one_is_normed(pretrained: Path) -> None:
    model = VideoMAEModel.from_pretrained(pretrained)
    out = model(normalise_clips(CLIPS), output_hidden_states=True)
    assert out.hidden_states is not None
    for layer in (-4, 0, 1, 2, -2):
        torch.testing.assert_close(
            encode_clips(model, CLIPS, Representation(layer, "none")), out.hidden_states[layer]
        )
    assert not torch.allclose(out.hidden_states[-1], out.last_hidden_state, atol=0.1)
    for layer in (3, -1):
        torch.testing.assert_close(
            encode_clips(model, CLIPS, Representation(layer, "none")), out.last_hidden_state
        )


def test_pooling__is_over_all_tokens_or_over_each_slot(pretrained: Path) -> None:
    model = load_encoder(pretrained)
    tokens = encode_clips(model, CLIPS, Representation(pooling="none"))
    for pooling, expected in {
        "mean": tokens.mean(1),
        "space": torch.stack([tokens[:, :4].mean(1), tokens[:, 4:].mean(1)], 1),
        "none": tokens,
    }.items():
        wanted = Representation(pooling=pooling)  # pyright: ignore[reportArgumentType]
        found = encode_clips(model, CLIPS, wanted)
        torch.testing.assert_close(found, expected)
        assert found.shape[1:] == wanted.shape(CONFIG)


def test_classifier__gives_what_its_head_sees(classifier: Path) -> None:
    model = VideoMAEForVideoClassification.from_pretrained(classifier)
    features = encode_clips(load_encoder(classifier), CLIPS, Representation())
    with torch.inference_mode():
        torch.testing.assert_close(model.get_classifier()(features), model.classify(CLIPS))
    inner = encode_clips(model, CLIPS, Representation(-2))
    states = model(normalise_clips(CLIPS), output_hidden_states=True).hidden_states
    assert states is not None
    torch.testing.assert_close(inner, states[-2].mean(1))


@pytest.mark.parametrize("layer", [4, -5])
def test_layers__that_are_not_there_are_refused(pretrained: Path, layer: int) -> None:
    with pytest.raises(ConfigError, match="3 blocks"):
        extractor_of(pretrained, layer=layer)


@pytest.mark.parametrize("workers", [0, 2])
def test_windows__are_the_features_of_their_frames(pretrained: Path, files: list[Path], workers: int) -> None:
    found = by_key(list(extractor_of(pretrained, num_workers=workers).extract(find_videos(files[:5]))))
    assert list(found) == [file.name for file in files[:5]] or workers
    for file in files[:5]:
        video = found[file.name]
        assert (video.num_frames, video.start_frames.tolist()) == (16, [0, 3, 6, 9, 12])
        np.testing.assert_allclose(video.start_sec, video.start_frames / 16, atol=1e-3)
        starts = video.start_frames.tolist()
        clips = [decode_frames(file.read_bytes(), range(s, s + 4), where="") for s in starts]
        crops = torch.stack([crop_views(as_clip(clip), 16, 1)[0] for clip in clips])
        expected = encode_clips(load_encoder(pretrained), crops, Representation())
        np.testing.assert_allclose(video.features, expected.numpy(), atol=1e-5)


def test_views__are_those_of_predict(classifier: Path, files: list[Path]) -> None:
    from videomae_train.inference import VideoPredictor

    extractor = VideoFeatures.from_pretrained(classifier, num_clips=2, stride=2, num_workers=0, device="cpu")
    predictor = VideoPredictor.from_pretrained(classifier, num_clips=2, stride=2, num_workers=0, device="cpu")
    (video,) = extractor.extract(find_videos(files[0]))
    assert video.start_frames.tolist() == [0, 0, 0, 8, 8, 8]
    logits = predictor.model.get_classifier()(torch.from_numpy(video.features))
    expected = {each.label: each.probability for each in next(predictor.predict([files[0]])).classes}
    found = logits.softmax(-1).mean(0).tolist()
    assert dict(zip("ab", found, strict=True)) == pytest.approx(expected, abs=1e-5)


def test_views__may_be_paced_in_seconds(pretrained: Path, files: list[Path]) -> None:
    in_frames = VideoFeatures.from_pretrained(pretrained, num_clips=2, stride=2, num_workers=0, device="cpu")
    views = replace(in_frames.clips, stride=None, frame_interval_sec=2 / 16)
    in_seconds = VideoFeatures(in_frames.model, views, num_workers=0, device="cpu")
    (expected,), (found,) = (each.extract(find_videos(files[0])) for each in (in_frames, in_seconds))
    assert found.fault is None
    np.testing.assert_array_equal(found.start_frames, expected.start_frames)
    np.testing.assert_array_equal(found.features, expected.features)


def test_features__do_not_depend_on_the_other_videos_or_workers(pretrained: Path, files: list[Path]) -> None:
    one = by_key(list(extractor_of(pretrained).extract(find_videos(files))))
    other = by_key(list(extractor_of(pretrained, num_workers=2).extract(find_videos(files[::-2]))))
    for key, video in other.items():
        np.testing.assert_array_equal(video.features, one[key].features)


def test_faults__are_said_once_and_nothing_else_of_the_video(
    pretrained: Path, files: list[Path], tmp_path: Path
) -> None:
    content = files[0].read_bytes()
    for name, bytes_ in {"cut": content[: len(content) * 6 // 10], "empty": b"", "rubbish": b"x"}.items():
        (tmp_path / f"{name}.mp4").write_bytes(bytes_)
    (tmp_path / "good.mp4").write_bytes(content)
    source = find_videos([tmp_path, tmp_path / "absent.mp4"])
    found = by_key(list(extractor_of(pretrained, num_workers=2).extract(source)))
    causes = {key: video.fault and video.fault.cause for key, video in found.items()}
    assert causes.pop("cut.mp4") in ("truncated", "undecodable")
    assert causes == {
        "empty.mp4": "empty",
        "rubbish.mp4": "undecodable",
        "absent.mp4": "missing",
        "good.mp4": None,
    }
    for key, video in found.items():
        assert (
            len(video.features) == len(video.start_frames) == len(video.start_sec) == 5 * (key == "good.mp4")
        )
    assert found["empty.mp4"].fault is not None
    assert found["empty.mp4"].fault.key == "empty.mp4"


def late_cut(file: Path) -> None:
    """Write an AVI file of 40 frames of which the last are missing: only its end shows that."""
    with av.open(file, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 32, 32
        for level in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 6 * level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.write_bytes(file.read_bytes()[:-1000])


def test_video__whose_end_is_missing_has_no_features_though_it_began_well(
    pretrained: Path, tmp_path: Path
) -> None:
    late_cut(tmp_path / "cut.avi")
    extractor = extractor_of(pretrained)
    pieces = list(extractor.pieces(find_videos(tmp_path / "cut.avi")))
    assert sum(len(piece.features) for piece in pieces) > 4
    assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    (video,) = extractor.extract(find_videos(tmp_path / "cut.avi"))
    assert video.fault is not None
    assert (video.fault.cause, len(video.features), video.num_frames) == ("truncated", 0, 0)


def test_decoder__that_crashes_costs_its_video_alone(
    pretrained: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dies with some of its clips told already; the others, begun or not, are whole."""
    whole = by_key(list(extractor_of(pretrained).extract(find_videos(files[:6]))))
    monkeypatch.setattr(
        _MultiProcessingDataLoaderIter._try_get_data,  # pyright: ignore[reportPrivateUsage]
        "__defaults__",
        (0.3,),
    )
    monkeypatch.setattr(clip_stream, "stream_frames", dying(clip_stream.stream_frames, str(files[1])))
    found = by_key(list(extractor_of(pretrained, num_workers=2).extract(find_videos(files[:6]))))
    assert set(found) == set(whole)
    for key, video in found.items():
        if key == files[1].name:
            assert video.fault is not None
            assert video.fault.cause == "crashed"
            assert len(video.features) == 0
        else:
            np.testing.assert_array_equal(video.features, whole[key].features)
            np.testing.assert_array_equal(video.start_frames, whole[key].start_frames)


def dying(stream: Callable[..., object], where_: str) -> Callable[..., object]:
    def stream_or_die(video: object, *, where: str):
        for number, frame in enumerate(stream(video, where=where)):  # pyright: ignore[reportArgumentType]
            if where == where_ and number == 12:
                os.kill(os.getpid(), signal.SIGSEGV)
            yield frame

    return stream_or_die


def test_keys__that_are_the_same_are_refused(pretrained: Path, files: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(files[0].read_bytes())
    with pytest.raises(ConfigError, match=r"both of the key a\.mp4"):
        next(extractor_of(pretrained).extract(find_videos([tmp_path / "one", tmp_path / "two"])))
    keys = [video.key for video in extractor_of(pretrained).extract(find_videos(tmp_path))]
    assert keys == ["one/a.mp4", "two/a.mp4"]

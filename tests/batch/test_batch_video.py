"""Videos: frames, timestamps, audio, one gate a clip."""

import sys
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from torch import nn

from nrpurify.batch import purify_folder, video
from nrpurify.batch.video import ClipGate
from nrpurify.core.errors import InputError, MissingExtraError
from nrpurify.core.progress import NO_VALUES, Progress
from nrpurify.purifiers import Purifier, Strength, build_purifier, load_purifier
from nrpurify.purifiers.gate import Gate

TIMES = [0, 40, 80, 200, 240, 280]  # milliseconds, of a varying rate


def write_clip(path, size=(32, 24), times=TIMES, audio=True, codec="ffv1", rotate=None):
    """Moving ramps with a tone beside."""
    with av.open(str(path), "w") as made:
        stream = made.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        sound = made.add_stream("flac", rate=8000) if audio else None
        if sound is not None:
            sound.layout = "mono"
            for start in range(0, 2400, 480):
                wave = (1000 * np.sin(np.arange(start, start + 480))).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = 8000, start
                made.mux(sound.encode(frame))
            made.mux(sound.encode())
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            made.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        made.mux(stream.encode())
    return path


def picture(index, size):
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.stack([x * 4 + index * 9, y * 5, 200 - x - y], -1).astype(np.uint8)


def frames(path):
    with av.open(str(path)) as given:
        return [
            (round(1000 * frame.time), frame.to_ndarray(format="rgb24"))
            for frame in given.decode(video=0)
        ]


def sound(path):
    with av.open(str(path)) as given:
        return np.concatenate([f.to_ndarray().ravel() for f in given.decode(audio=0)])


class Invert(nn.Module):
    def forward(self, images):
        return 1 - images


def purified(source, out, defense=None, **options):
    options = {"workers": 2, "amp": False, "about": {"defense": "x"}} | options
    return purify_folder(source, out, defense or Invert(), **options)


class Seen(Progress):
    """Keeps what it is shown of the images inside files."""

    def __init__(self):
        self.parts = []

    def update(self, what, done, total, values=NO_VALUES):
        if what != "purify":
            self.parts.append((done, total))


def test_frames_times_and_audio(tmp_path):
    clip = write_clip(tmp_path / "a.mkv")
    seen = Seen()
    result = purified(clip, tmp_path / "b.mkv", progress=seen)
    assert not result.failures
    assert result.parts == len(TIMES)
    found = frames(tmp_path / "b.mkv")
    assert [time for time, _ in found] == TIMES
    for index, (_, pixels) in enumerate(found):
        assert (pixels == 255 - picture(index, (32, 24))).all()
    assert (sound(tmp_path / "b.mkv") == sound(clip)).all()
    assert seen.parts == [(index + 1, 6) for index in range(6)]


def test_workers_change_no_byte_and_a_clip_is_kept(tmp_path):
    clip = write_clip(tmp_path / "a.mkv")
    purified(clip, tmp_path / "one", workers=1)
    purified(clip, tmp_path / "two", workers=3)
    assert (tmp_path / "one/a.mkv").read_bytes() == (tmp_path / "two/a.mkv").read_bytes()
    again = purified(clip, tmp_path / "one")
    assert (again.count("skipped"), again.parts) == (1, 6)


@pytest.mark.parametrize("size", [(32, 24), (33, 25)])
def test_lossy_codecs_come_with_a_warning(tmp_path, size, caplog):
    clip = write_clip(tmp_path / "a.mkv", size=size)
    result = purified(clip, tmp_path / "b.mp4", codec="libx264")
    assert not result.failures
    assert "may change the purified values" in caplog.text
    found = frames(tmp_path / "b.mp4")
    assert [time for time, _ in found] == TIMES
    wanted = 255 - picture(0, size).astype(int)
    assert abs(found[0][1].astype(int) - wanted).mean() < 12


class Enlarge(nn.Module):
    def forward(self, images):
        return nn.functional.interpolate(images, scale_factor=2)


def test_a_defense_may_change_the_size(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", audio=False)
    purified(clip, tmp_path / "b.mkv", Enlarge())
    assert frames(tmp_path / "b.mkv")[0][1].shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda path: path.write_bytes(b"no video"), {}, "cannot convert"),
        (write_clip, {"max_pixels": 100}, "more than the limit of 100"),
    ],
)
def test_clips_that_cannot_be(tmp_path, make, options, words):
    make(tmp_path / "a.mkv")
    write_clip(tmp_path / "good.mkv", size=(8, 8))
    result = purified(f"{tmp_path}/*.mkv", tmp_path / "out", **options)
    assert words in result.failures[0][1]
    assert result.items[1].status == "done"
    assert not (tmp_path / "out" / "a.mkv").exists()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_giant_frames_are_refused_before_any_is_decoded(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mkv")
    monkeypatch.setattr(video, "_events", lambda *_: pytest.fail("was decoded"))
    result = purified(clip, tmp_path / "b.mkv", max_pixels=32 * 24 - 1)
    assert "a frame has 32×24 pixels, more than the limit of 767" in result.failures[0][1]


def test_ffmpeg_itself_takes_no_memory_for_a_giant_frame(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", size=(2048, 1024), times=[0], audio=False)
    result = purified(clip, tmp_path / "b.mkv", max_pixels=1000)
    assert "far more than the limit of 1,000 pixels" in result.failures[0][1]
    with pytest.raises(av.error.FFmpegError), video._open(clip, 1000) as given:
        next(given.decode(video=0))


def test_frames_that_grow_on_the_way_are_refused(tmp_path):
    parts = [
        write_clip(tmp_path / f"{side}.ts", size=(side, side), audio=False, codec="libx264")
        for side in (32, 48)
    ]
    joined = tmp_path / "a.mov"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    result = purified(joined, tmp_path / "b.mkv", max_pixels=48 * 48 - 1)
    assert "a frame has 48×48 pixels, more than the limit of 2,303" in result.failures[0][1]


@pytest.mark.parametrize("codec", ["nonsense", "aac"])
def test_an_unknown_encoder_is_refused_before_anything_is_written(tmp_path, codec):
    clip = write_clip(tmp_path / "a.mkv", audio=False)
    with pytest.raises(InputError, match=f"codec is '{codec}', which is not a video encoder"):
        purified(clip, tmp_path / "out" / "b.mkv", codec=codec)
    assert not (tmp_path / "out").exists()


def test_a_named_encoder_needs_pyav(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mkv", audio=False)
    monkeypatch.setitem(sys.modules, "av.codec", None)
    with pytest.raises(MissingExtraError, match="video"):
        purified(clip, tmp_path / "b.mkv", codec="libx264")


def test_an_encoder_that_the_file_format_does_not_take_fails_that_file(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", audio=False)
    result = purified(clip, tmp_path / "b.webm", codec="libx264")
    assert "codec is 'libx264', which the file format does not take" in result.failures[0][1]
    assert not (tmp_path / "b.webm").exists()


def test_a_full_disk_names_the_output(tmp_path, monkeypatch):
    def full(sink):
        raise av.error.FFmpegError(28, "No space left on device", sink._made.name)

    monkeypatch.setattr(video._Sink, "close", full)
    clip = write_clip(tmp_path / "a.mkv", audio=False)
    [(_, reason)] = purified(clip, tmp_path / "b.mkv").failures
    assert f"No space left on device: '{tmp_path / 'b.mkv'}'" in reason


def gated():
    """A purifier whose gate flickers: its logit swings with what it sees."""
    torch.manual_seed(0)
    purifier = build_purifier("micro")
    gate = Gate()
    nn.init.normal_(gate.last.weight, std=30)
    built = Purifier(purifier.network, purifier.card, Strength(3, 3), gate)
    for parameter in built.network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return built


def test_the_gate_is_decided_once_a_clip(tmp_path, monkeypatch):
    shares, decide = [], ClipGate.decide

    def noted(self):
        decide(self)
        shares.append((self.share, list(self.seen)))

    monkeypatch.setattr(ClipGate, "decide", noted)
    clip = write_clip(tmp_path / "a.mkv", size=(64, 48), audio=False)
    built = gated()
    purified(clip, tmp_path / "b.mkv", built)
    [(share, seen)] = shares
    assert len(seen) == 6
    assert share == pytest.approx(float(torch.tensor(sum(seen) / 6).sigmoid()))
    assert isinstance(built.gate, Gate)  # the caller's own is untouched
    fixed = Purifier(built.network, built.card, Strength(3, 3), ClipGate(built.gate))
    fixed.gate.share = share
    found = frames(tmp_path / "b.mkv")
    for index, (_, pixels) in enumerate(found):
        given = torch.from_numpy(picture(index, (64, 48)).transpose(2, 0, 1).copy())
        wanted = fixed.purify_pixels(given[None])[0].permute(1, 2, 0).numpy()
        assert (pixels == wanted).all()


def difference(images):
    return float(np.mean([np.abs(b - a).mean() for a, b in pairwise(images)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_a_panned_photograph_does_not_flicker(tmp_path, name):
    """Of a clean photograph, panned by 2 pixels a frame, before encoding."""
    skimage = pytest.importorskip("skimage.data")
    photograph = getattr(skimage, name)()[20:244]
    path = tmp_path / "pan.mkv"
    with av.open(str(path), "w") as made:
        stream = made.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 224, 224, "bgr0"
        for index in range(8):
            shown = np.ascontiguousarray(photograph[:, 2 * index : 2 * index + 224])
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            made.mux(stream.encode(frame.reformat(format="bgr0")))
        made.mux(stream.encode())
    purified(path, tmp_path / "out.mkv", load_purifier("fast"))
    before, after = (
        difference([pixels.astype(float) for _, pixels in frames(clip)])
        for clip in (path, tmp_path / "out.mkv")
    )
    print(f"{name}: frame-to-frame difference {before:.3f}, purified {after:.3f}")
    assert abs(after / before - 1) < 0.1

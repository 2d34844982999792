"""Videos, frame by frame: the gate is decided once a clip, audio and timestamps are kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nrpurify.batch.archives import Count, Parts, in_order
from nrpurify.batch.defend import defend_image
from nrpurify.batch.jobs import image_generator
from nrpurify.batch.work import Worker, copied
from nrpurify.core.errors import ImageError, InputError, MissingExtraError
from nrpurify.core.images import Image, to_uint8
from nrpurify.defenses import reseed
from nrpurify.purifiers import Purifier
from nrpurify.purifiers.gate import Gate

if TYPE_CHECKING:
    import av

LOSSLESS = "ffv1"
_SAMPLES = 16
"""Frames, evenly spaced, on which a clip's gate is decided."""


class ClipGate(nn.Module):
    """A gate that is decided once for all frames of a clip, so that strength does not flicker.

    It collects the logits of sample frames until :meth:`decide`; from then on each image gets the
    share of their mean.

    Args:
        gate: The purifier's own.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.seen: list[float] = []
        self.share: float | None = None

    def decide(self) -> None:
        """Take the mean of the logits so far."""
        mean = sum(self.seen) / max(len(self.seen), 1)
        self.share = float(torch.tensor(mean).sigmoid())

    def forward(self, images: Tensor, purified: Tensor) -> Tensor:
        """N images and what the purifier's network made of them, to N values in [0, 1]."""
        if self.share is not None:
            return purified.new_full((len(images),), self.share)
        logits = self.gate.logits(images, purified)
        self.seen += logits.float().tolist()
        return logits.sigmoid()


def purify_video(
    source: Path,
    target: Path,
    place: Path,
    worker: Worker,
    pool: Executor,
    window: int,
    progress: Count,
    *,
    codec: str = LOSSLESS,
) -> Parts:
    """Purify the frames of a video's first picture stream; audio is copied as it is.

    Frames become 8-bit RGB, upright, and keep their timestamps as far as the file format has them:
    Matroska counts milliseconds. A random defense draws the same for each frame.

    Args:
        source: A file that FFmpeg reads.
        target: The file to write; its suffix decides the file format.
        place: The source's path below the source folder, of which the randomness is a function.
        worker: Does the work.
        pool: Where it is done.
        window: Frames in work at the same time.
        progress: Sees the number of finished frames and of all.
        codec: FFmpeg's name of an encoder. FFV1 is lossless; others change what was purified.

    Raises:
        ImageError: The file is broken, has no picture stream or too many pixels a frame.
        InputError: The codec or the file format cannot be used.
        MissingExtraError: PyAV is not installed.
    """
    try:
        import av
        from av.error import FFmpegError
    except ImportError as error:
        raise MissingExtraError("av", "video") from error
    try:
        limit = worker.work.max_pixels
        total = _count(source, limit)
        clip = _with_gate_of_clip(worker, source, place, total)

        def work(event: av.VideoFrame | av.Packet[Any]) -> av.VideoFrame | av.Packet[Any]:
            return event if isinstance(event, av.Packet) else _purified(clip, event, place)

        with _open(source, limit) as given, _create(target) as made:
            sink = _Sink(given, made, codec)
            for event in in_order(pool, work, _events(given, limit), window):
                if sink.take(event):
                    progress(sink.frames, total)
            sink.close()
    except (FFmpegError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, FFmpegError) and error.filename == str(target):  # such as a full disk
            raise OSError(error.errno, error.strerror) from error
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"cannot convert {str(source)!r}: {line}") from error
    if not sink.frames:
        raise ImageError(f"cannot read {str(source)!r}: it has no frame")
    return Parts(sink.frames)


def check_codec(codec: str) -> None:
    """Refuse an encoder that FFmpeg does not have, before any file is read.

    Raises:
        InputError: No video encoder has this name.
        MissingExtraError: PyAV is not installed.
    """
    try:
        from av.codec import Codec
        from av.error import FFmpegError
    except ImportError as error:
        raise MissingExtraError("av", "video") from error
    try:
        known = Codec(codec, "w").type == "video"
    except (FFmpegError, ValueError):
        known = False
    if not known:
        raise InputError(
            f"codec is {codec!r}, which is not a video encoder of this FFmpeg; expected ffv1, "
            "libx264, libvpx-vp9 ..."
        )


def _create(target: Path) -> Any:
    import av

    try:
        # without bitexact, Matroska files get a random id
        return av.open(str(target), "w", options={"fflags": "bitexact"})
    except ValueError as error:
        raise InputError(
            f"FFmpeg knows no file format for names in {target.suffix!r}; expected .mkv or .mp4"
        ) from error


def _open(source: Path, max_pixels: int) -> Any:
    """Open a video; FFmpeg, which may decode a frame here, takes no memory for a giant one."""
    import av

    return av.open(str(source), options=_decoder_options(max_pixels))


def _decoder_options(max_pixels: int) -> dict[str, str]:
    """FFmpeg's own limit, which counts margins and padding too; the exact one is ours."""
    return {"max_pixels": str(min(2 * max_pixels + 2**20, 2**31 - 1))}


def _picture(container: Any, max_pixels: int) -> Any:
    """The first picture stream; its size is checked and nothing is decoded yet."""
    if not container.streams.video:
        raise ImageError(f"cannot read {container.name!r}: it has no pictures")
    stream = container.streams.video[0]
    context = stream.codec_context
    if not context.width * context.height:
        raise ImageError(
            f"cannot read {container.name!r}: FFmpeg finds no size of its frames, or one that is "
            f"far more than the limit of {max_pixels:,} pixels (--max-pixels)"
        )
    _check_size(container, context, max_pixels)
    context.options = _decoder_options(max_pixels)
    stream.thread_type = "AUTO"
    return stream


def _check_size(container: Any, frame: Any, max_pixels: int) -> None:
    if frame.width * frame.height > max_pixels:
        raise ImageError(
            f"cannot read {container.name!r}: a frame has {frame.width}×{frame.height} "
            f"pixels, more than the limit of {max_pixels:,} (--max-pixels)"
        )


def _count(source: Path, max_pixels: int) -> int:
    """How many frames there are: FFmpeg's packets, of which none is decoded."""
    with _open(source, max_pixels) as container:
        stream = _picture(container, max_pixels)
        return sum(packet.size > 0 for packet in container.demux(stream))


def _events(given: Any, max_pixels: int) -> Iterator[av.VideoFrame | av.Packet[Any]]:
    """Decoded frames and packets of audio, in the order of the file."""
    stream = _picture(given, max_pixels)
    for packet in given.demux([stream, *given.streams.audio]):
        if packet.stream.index == stream.index:
            for frame in packet.decode():
                _check_size(given, frame, max_pixels)  # it may grow on the way
                yield frame
        elif packet.size:
            yield packet


def _image(frame: av.VideoFrame) -> Image:
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 % 4)
    return Image(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), None, Path())


def _purified(worker: Worker, frame: av.VideoFrame, place: Path) -> av.VideoFrame:
    import av

    rgb, _ = worker.defend(_image(frame), place)
    pixels = rgb if rgb.dtype == torch.uint8 else to_uint8(rgb)
    made = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()), format="rgb24"
    )
    made.pts, made.time_base = frame.pts, frame.time_base
    return made


def _with_gate_of_clip(worker: Worker, source: Path, place: Path, total: int) -> Worker:
    """A worker whose gates are decided on frames of the clip; the same one without gates."""
    import av

    work = worker.work
    gated = [
        module
        for module in work.defense.modules()
        if isinstance(module, Purifier) and module.gate is not None
    ]
    defense = copied(work.defense) if gated else None
    if defense is None:
        return worker
    gates: list[ClipGate] = []
    for module in defense.modules():
        if isinstance(module, Purifier) and module.gate is not None:
            gates.append(ClipGate(module.gate))
            module.gate = gates[-1]  # type: ignore[assignment]
    step = max(total // _SAMPLES, 1)
    with _open(source, work.max_pixels) as container:
        events = _events(container, work.max_pixels)
        frames = (event for event in events if isinstance(event, av.VideoFrame))
        for frame in islice(frames, 0, None, step):
            reseed(defense, image_generator(work.seed, place))
            image = _image(frame)
            defend_image(defense, image, device=work.device, tile=work.tile, amp=work.amp)
    for gate in gates:
        gate.decide()
    return Worker(replace(work, defense=defense))


class _Sink:
    """Writes frames and packets of audio; the first frame tells the size."""

    def __init__(self, given: Any, made: Any, codec: str) -> None:
        import av

        self.frames = 0
        self._given, self._made = given.streams.video[0], made
        self._early: list[Any] = []
        rate = self._given.average_rate or Fraction(25)
        try:
            self._video = made.add_stream(codec, rate=rate)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"codec is {codec!r}, which the file format does not take; expected ffv1, "
                "libx264 ..., or another ending of the file"
            ) from error
        made.metadata.update(given.metadata)
        self._audio = {
            stream.index: made.add_stream_from_template(stream) for stream in given.streams.audio
        }

    def take(self, event: Any) -> bool:
        """Write a frame or a packet; whether it was a frame."""
        import av

        if isinstance(event, av.Packet):
            if self.frames:
                self._copy(event)
            else:
                self._early.append(event)  # nothing can be written before the size is known
            return False
        if not self.frames:
            self._open(event)
        if event.pts is None:
            event.pts = round(self.frames / (self._video.codec_context.framerate * event.time_base))
        self.frames += 1
        shown = event.reformat(format=self._video.pix_fmt, **self._colors)
        shown.pts, shown.time_base = event.pts, event.time_base
        self._made.mux(self._video.encode(shown))
        while self._early:
            self._copy(self._early.pop(0))
        return True

    def close(self) -> None:
        """Write what the encoder still has."""
        if self.frames:
            self._made.mux(self._video.encode())

    def _copy(self, packet: Any) -> None:
        packet.stream = self._audio[packet.stream.index]
        self._made.mux(packet)

    def _open(self, frame: Any) -> None:
        video = self._video
        video.width, video.height = frame.width, frame.height
        video.codec_context.time_base = self._given.time_base
        context = self._given.codec_context
        turned = (frame.width, frame.height) != (context.width, context.height)
        if context.sample_aspect_ratio is not None and not turned:
            video.codec_context.sample_aspect_ratio = context.sample_aspect_ratio
        able = [kind.name for kind in video.codec_context.codec.video_formats or ()]
        odd = frame.width % 2 or frame.height % 2
        wanted = ["bgr0", "yuv444p"] if odd else ["bgr0", "yuv420p", "yuv444p"]
        video.pix_fmt = next((kind for kind in wanted if kind in able), "yuv420p")
        self._colors: dict[str, Any] = {}
        if video.pix_fmt != "bgr0":
            self._colors = {"dst_colorspace": "ITU709"}
            video.codec_context.colorspace = 1  # BT.709, so that players turn colors back
            video.codec_context.color_range = 1

"""The state of a running server, and how it answers one request within its limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from starlette.requests import Request
from torch import Tensor

from nrpurify.batch.pipeline import use_cores
from nrpurify.core.images import Image, encode_png
from nrpurify.serving.answers import Attacked, Prediction, Progress
from nrpurify.serving.attack import AttackJob, AttackStoppedError, reduced, run_attack
from nrpurify.serving.engine import OVERHEAD, Engine, PurifiedImage
from nrpurify.serving.events import Begun
from nrpurify.serving.lane import Lane, in_new_thread
from nrpurify.serving.metrics import Metrics
from nrpurify.serving.problems import ClientGoneError, RequestError
from nrpurify.serving.settings import ServeSettings
from nrpurify.serving.uploads import Memory, decode_image, image_pixels, uploaded_image

T = TypeVar("T")


@dataclass(frozen=True)
class _Track:
    """A lane with the thread that decodes and encodes for it."""

    lane: Lane
    codec: ThreadPoolExecutor
    free: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the thread works: the executor's queue would keep uploads of cancelled tasks."""

    async def code(self, function: Callable[..., T], *args: Any) -> T:
        """Run a codec in its thread."""
        await self.free.acquire()
        loop, call = asyncio.get_running_loop(), self.codec.submit(function, *args)
        call.add_done_callback(lambda _: loop.call_soon_threadsafe(self.free.release))
        return await asyncio.wrap_future(call)


@dataclass(frozen=True)
class Answer:
    """A purified image as a PNG file.

    Attributes:
        png: The file's content.
        width: In pixels.
        height: In pixels.
        gate: See :class:`nrpurify.serving.answers.Purified`.
    """

    png: bytes
    width: int
    height: int
    gate: float | None


class Service:
    """Models, lanes and limits of one process.

    Args:
        settings: What the server was started with.
        metrics: Counts what the lanes do.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.engine: Engine | None = None
        self._all_cores = partial(use_cores, torch.get_num_threads())
        # OpenMP lets helpers of a thread sleep, and wakes them for each loop, while those of all
        # living threads are more than the cores: so only the thread of small images lasts
        self.memory = Memory(settings.upload_memory)
        # small images never wait behind large ones, nor behind what claims to be large
        self._small = self._track("images", settings.places, lasts=True)
        self._large = self._track("large_images", max(1, settings.places // 4), lasts=False)
        self.images = self._small.lane
        self.attacks = Lane(
            self._attack_all,
            name="attacks",
            places=settings.attack_places,
            seconds=0.8 * settings.attack_seconds,
            observe=partial(self._observe, "attacks"),
            changed=metrics.held.labels("attacks").set,
            start=self._all_cores,
            lasts=False,
        )

    def _track(self, name: str, places: int, *, lasts: bool) -> _Track:
        own = self.settings
        lane = Lane(
            self._process,
            name=name,
            places=places,
            cost=own.waiting_pixels,
            seconds=0.8 * own.answer_seconds,
            batch=own.batch,
            wait=own.batch_seconds,
            observe=partial(self._observe, name),
            changed=self.metrics.held.labels(name).set,
            start=self._all_cores,
            lasts=lasts,
        )
        codec = ThreadPoolExecutor(1, f"{name}-codec", initializer=use_cores, initargs=(1,))
        return _Track(lane, codec)

    def _observe(self, lane: str, images: int, seconds: float) -> None:
        self.metrics.images.labels(lane).inc(images)
        self.metrics.work.labels(lane).inc(seconds)
        if lane != "attacks":
            self.metrics.batches.observe(images)

    def _process(self, key: Any, images: Sequence[Image]) -> Sequence[Any]:
        method, names, *_ = key
        return getattr(self.loaded, method)(names, images)  # type: ignore[no-any-return]

    def _attack_all(self, key: Any, jobs: Sequence[AttackJob]) -> Sequence[Attacked]:
        return [run_attack(self.loaded, job) for job in jobs]

    @property
    def loaded(self) -> Engine:
        """The models.

        Raises:
            RequestError: 503 while they are loaded.
        """
        if self.engine is None:
            raise RequestError(503, "the models are being loaded; try again in 5 s", retry_after=5)
        return self.engine

    @asynccontextmanager
    async def running(self, load: Callable[[], Engine]) -> AsyncIterator[asyncio.Task[None]]:
        """Work while the block runs, then finish what was taken; yields the loading task."""

        async def loading() -> None:
            if self.engine is None:
                self.engine = await in_new_thread(load, "loading", self._all_cores)
            for track in (self._small, self._large):
                track.lane.pace = self.engine.seconds

        lanes = (self._small.lane, self._large.lane, self.attacks)
        working = [asyncio.create_task(lane.serve()) for lane in lanes]
        task = asyncio.create_task(loading())
        try:
            yield task
        finally:
            task.cancel()
            for lane in lanes:
                lane.close()
            await asyncio.gather(*working)
            for track in (self._small, self._large):
                track.codec.shutdown()

    async def purify(self, request: Request, purifier: str) -> Answer:
        """Answer ``/v1/purify``."""

        async def work(image: Image, track: _Track) -> Answer:
            found: PurifiedImage = await _image_job(track.lane, "purify", purifier, image)
            png = await track.code(encode_png, found.rgb, found.alpha)
            height, width = found.rgb.shape[1:]
            return Answer(png, width, height, found.gate)

        return await self._answer(request, work)

    async def predict(
        self, request: Request, victim: str, purifier: str | None
    ) -> tuple[Prediction, float | None]:
        """Answer ``/v1/predict``."""

        async def work(image: Image, track: _Track) -> tuple[Prediction, float | None]:
            names = (victim, purifier)
            found: tuple[Prediction, float | None] = await _image_job(
                track.lane, "predict", names, image
            )
            return found

        return await self._answer(request, work)

    async def _answer(self, request: Request, work: Callable[[Image, _Track], Awaitable[T]]) -> T:
        own = self.settings
        _ = self.loaded
        if self._large.lane.is_full:  # the upload will tell its size
            self.images.check_room()
        async with uploaded_image(request, own, self.memory) as content:
            return await in_time(request, self._placed(content, work), own.answer_seconds)

    async def _placed(self, content: bytes, work: Callable[[Image, _Track], Awaitable[T]]) -> T:
        pixels = await self._small.code(image_pixels, content, self.settings.max_pixels)
        track = self._small if pixels <= self.settings.small_pixels else self._large
        with track.lane.place():
            image = await track.code(decode_image, content, self.settings.max_pixels)
            return await work(image, track)

    async def begin_attack(
        self, request: Request, *, eps: float, steps: int, purifier: str, victims: Sequence[str]
    ) -> Begun[Attacked]:
        """Answer ``/v1/attack``: the attack holds a place, and its image is small.

        If its task is cancelled, the attack ends at its next step.

        Args:
            request: Its upload is read.
            eps: Budget in units of [0, 1].
            steps: Iterations.
            purifier: One of the server's.
            victims: Those of the server whose predictions are wanted.

        Raises:
            RequestError: The upload cannot be taken, or was not decoded in ``answer_seconds``; of
                the task, 504 after ``attack_seconds``.
            BusyError: No place is free.
            ClientGoneError: The client closed the connection.
        """
        own = self.settings
        _ = self.loaded
        self.attacks.check_room()
        async with uploaded_image(request, own, self.memory) as content:

            def work(tell: Callable[[Progress], None]) -> Awaitable[Attacked]:
                return self._attack(content, eps, steps, purifier, victims, tell)

            return await in_time(request, Begun.begin(work), own.answer_seconds)

    async def _attack(
        self,
        content: bytes,
        eps: float,
        steps: int,
        purifier: str,
        victims: Sequence[str],
        tell: Callable[[Progress], None],
    ) -> Attacked:
        own = self.settings
        with self.attacks.place():
            try:
                async with asyncio.timeout(own.attack_seconds):
                    small = await self._large.code(_small_image, content, own)
                    del content  # the attack takes longer than its upload may stay
                    tell(Progress(stage="waiting", step=0, steps=steps))
                    return await self._wait(AttackJob(small, eps, steps, purifier, victims, tell))
            except TimeoutError:
                raise too_slow(own.attack_seconds, "take fewer steps") from None

    async def _wait(self, job: AttackJob) -> Attacked:
        try:
            cost = job.image.shape[1] * job.image.shape[2] * job.steps
            found: Attacked = await self.attacks.do("attack", job, cost)
            return found
        except AttackStoppedError:
            raise ClientGoneError from None
        finally:
            job.stop.set()


def _small_image(content: bytes, settings: ServeSettings) -> Tensor:
    return reduced(decode_image(content, settings.max_pixels), settings)


async def _image_job(lane: Lane, method: str, names: Any, image: Image) -> Any:
    key = (method, names, image.pixels.shape, image.pixels.dtype)
    cost = image.pixels.shape[1] * image.pixels.shape[2] + OVERHEAD
    return await lane.do(key, image, cost)


def too_slow(seconds: float, advice: str) -> RequestError:
    """The answer to a request that took too long."""
    return RequestError(504, f"no answer within {seconds:g} s; {advice}, or try again later")


async def in_time(request: Request, work: Awaitable[T], seconds: float) -> T:
    """Wait for work while the client is there.

    Args:
        request: Its upload has been read.
        work: Is cancelled when the client goes away or the time is over.
        seconds: Longest time.

    Raises:
        RequestError: 504.
        ClientGoneError: The client closed the connection.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if watch.done():
            raise ClientGoneError
        raise too_slow(seconds, "send a smaller image")
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def seconds_since(begun: float) -> float:
    """Rounded for an answer."""
    return round(time.perf_counter() - begun, 4)

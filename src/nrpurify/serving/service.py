"""The state of a running server, and how it answers one request within its limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.requests import Request

from nrpurify.core.images import Image, encode_png
from nrpurify.serving.answers import Attacked, Prediction, Progress
from nrpurify.serving.attack import AttackJob, AttackStoppedError, reduced, run_attack
from nrpurify.serving.engine import Engine, PurifiedImage
from nrpurify.serving.lane import Lane
from nrpurify.serving.metrics import Metrics
from nrpurify.serving.problems import ClientGoneError, RequestError
from nrpurify.serving.settings import ServeSettings
from nrpurify.serving.uploads import Memory, decode_image, uploaded_image

T = TypeVar("T")
_OVERHEAD = 20_000
"""What an image costs beside its pixels, in pixels."""
_CODEC_THREADS = 2


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
        self.memory = Memory(settings.upload_memory)
        self._codec = ThreadPoolExecutor(_CODEC_THREADS, thread_name_prefix="codec")
        self.images = Lane(
            self._process,
            name="images",
            places=settings.places,
            cost=settings.waiting_pixels,
            seconds=0.8 * settings.answer_seconds,
            batch=settings.batch,
            wait=settings.batch_seconds,
            observe=partial(self._observe, "images"),
            changed=metrics.held.labels("images").set,
        )
        self.attacks = Lane(
            self._attack_all,
            name="attacks",
            places=settings.attack_places,
            seconds=0.8 * settings.attack_seconds,
            observe=partial(self._observe, "attacks"),
            changed=metrics.held.labels("attacks").set,
        )

    def _observe(self, lane: str, images: int, seconds: float) -> None:
        self.metrics.images.labels(lane).inc(images)
        self.metrics.work.labels(lane).inc(seconds)
        if lane == "images":
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
                self.engine = await asyncio.to_thread(load)

        lanes = [asyncio.create_task(lane.serve()) for lane in (self.images, self.attacks)]
        task = asyncio.create_task(loading())
        try:
            yield task
        finally:
            task.cancel()
            for lane in (self.images, self.attacks):
                lane.close()
            await asyncio.gather(*lanes)
            self._codec.shutdown()

    async def purify(self, request: Request, purifier: str) -> Answer:
        """Answer ``/v1/purify``."""

        async def work(image: Image) -> Answer:
            found: PurifiedImage = await self._image_job("purify", purifier, image)
            png = await self._in_codec(encode_png, found.rgb, found.alpha)
            height, width = found.rgb.shape[1:]
            return Answer(png, width, height, found.gate)

        return await self._answer(request, work)

    async def predict(
        self, request: Request, victim: str, purifier: str | None
    ) -> tuple[Prediction, float | None]:
        """Answer ``/v1/predict``."""

        async def work(image: Image) -> tuple[Prediction, float | None]:
            found: tuple[Prediction, float | None] = await self._image_job(
                "predict", (victim, purifier), image
            )
            return found

        return await self._answer(request, work)

    async def _image_job(self, method: str, names: Any, image: Image) -> Any:
        key = (method, names, image.pixels.shape, image.pixels.dtype)
        cost = image.pixels.shape[1] * image.pixels.shape[2] + _OVERHEAD
        return await self.images.do(key, image, cost)

    async def _answer(self, request: Request, work: Callable[[Image], Awaitable[T]]) -> T:
        engine_settings = self.settings
        _ = self.loaded
        self.images.check_room()
        async with uploaded_image(request, engine_settings, self.memory) as content:
            return await in_time(
                request, self._placed(content, work), engine_settings.answer_seconds
            )

    async def _placed(self, content: bytes, work: Callable[[Image], Awaitable[T]]) -> T:
        with self.images.place():
            image = await self._in_codec(decode_image, content, self.settings.max_pixels)
            return await work(image)

    async def _in_codec(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._codec, function, *args)

    async def read_attack_image(self, request: Request) -> Image:
        """The upload of ``/v1/attack``, decoded.

        Raises:
            RequestError: It cannot be taken, or no place is free.
        """
        _ = self.loaded
        self.attacks.check_room()
        async with uploaded_image(request, self.settings, self.memory) as content:
            return await self._in_codec(decode_image, content, self.settings.max_pixels)

    async def attack(
        self,
        image: Image,
        *,
        eps: float,
        steps: int,
        purifier: str,
        victims: Sequence[str],
        tell: Callable[[Progress], None],
    ) -> Attacked:
        """Wait for an attack; if the caller is cancelled, the attack ends at its next step.

        Args:
            image: Decoded.
            eps: Budget in units of [0, 1].
            steps: Iterations.
            purifier: One of the server's.
            victims: Those of the server whose predictions are wanted.
            tell: Called in this thread and in the worker's.

        Raises:
            RequestError: 413, or 504 after ``attack_seconds``.
            BusyError: No place is free.
        """
        small = await self._in_codec(reduced, image, self.settings)
        job = AttackJob(small, eps, steps, purifier, victims, tell)
        cost = small.shape[1] * small.shape[2] * steps
        with self.attacks.place():
            tell(Progress(stage="waiting", step=0, steps=steps))
            try:
                async with asyncio.timeout(self.settings.attack_seconds):
                    found: Attacked = await self.attacks.do("attack", job, cost)
                    return found
            except TimeoutError:
                raise too_slow(self.settings.attack_seconds, "take fewer steps") from None
            except AttackStoppedError:
                raise ClientGoneError from None
            finally:
                job.stop.set()


def too_slow(seconds: float, advice: str) -> RequestError:
    """The answer to a request that took too long."""
    return RequestError(504, f"no answer within {seconds:g} s; {advice}, or try again later")


async def in_time(request: Request, work: Coroutine[Any, Any, T], seconds: float) -> T:
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

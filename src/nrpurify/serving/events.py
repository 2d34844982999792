"""A job that reports its progress, and server-sent events of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from nrpurify.serving.problems import RequestError

_LOGGER = logging.getLogger("nrpurify.serving")
_BEAT = 10.0
"""Seconds after which an idle stream sends a comment, so that proxies keep it."""
Result = TypeVar("Result", bound=BaseModel)


@dataclass(frozen=True)
class Begun(Generic[Result]):
    """A job that has reported its first progress.

    Attributes:
        task: The job.
        queue: Its progress; None at its end.
        first: The first progress, taken already.
    """

    task: asyncio.Task[Result]
    queue: asyncio.Queue[BaseModel | None]
    first: BaseModel

    @classmethod
    async def begin(
        cls, work: Callable[[Callable[[BaseModel], None]], Awaitable[Result]]
    ) -> Begun[Result]:
        """Start a job and wait for its first progress.

        Args:
            work: Calls its argument, from any thread, with its progress.

        Raises:
            RequestError: The job was refused before it began.
        """
        queue: asyncio.Queue[BaseModel | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(item: BaseModel | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, item)

        task: asyncio.Task[Result] = asyncio.ensure_future(work(tell))
        task.add_done_callback(lambda _: tell(None))
        try:
            first = await queue.get()
        except asyncio.CancelledError:
            task.cancel()
            raise
        if first is None:
            task.result()  # raises why it was refused
            raise AssertionError("the job ended without progress")
        return cls(task, queue, first)


class EventStream(StreamingResponse):
    """``progress`` events, then one ``result`` or one ``problem``. Its job ends with it.

    Args:
        job: Has begun.
        request_id: For problems.
    """

    def __init__(self, job: Begun[Any], request_id: str) -> None:
        self._job, self._request_id = job, request_id
        super().__init__(
            self._events(),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def _events(self) -> AsyncIterator[str]:
        yield _event("progress", self._job.first.model_dump())
        while True:
            try:
                item = await asyncio.wait_for(self._job.queue.get(), _BEAT)
            except TimeoutError:
                yield ": waiting\n\n"
                continue
            if item is None:
                break
            yield _event("progress", item.model_dump())
        try:
            yield _event("result", self._job.task.result().model_dump())
        except RequestError as problem:
            yield _event("problem", problem.to_dict(self._request_id))
        except Exception:
            _LOGGER.exception("request %s failed", self._request_id)
            failed = RequestError(500, "the server failed; its log has the reason")
            yield _event("problem", failed.to_dict(self._request_id))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; the job is cancelled when the client goes away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.task.cancel()


def _event(name: str, values: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(values)}\n\n"

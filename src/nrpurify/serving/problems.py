"""Refusals: a status, one sentence with what to do, and what a client may read of it."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

CLIENT_GONE = 499
"""Status in logs and metrics of a request whose client went away; nobody reads the answer."""


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        detail: What was given, what was expected and how to mend it.
        retry_after: Seconds after which the client may try again.
        close: Whether the connection is closed, because the upload was not read to its end.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: int | None = None, close: bool = False
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.retry_after, self.close = retry_after, close

    def to_dict(self, request_id: str) -> dict[str, Any]:
        """The body of the answer, as RFC 9457 names its parts."""
        return {
            "type": "about:blank",
            "title": title_of(self.status),
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }

    def to_response(self, request_id: str) -> JSONResponse:
        """The answer."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.close:
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(
            self.to_dict(request_id),
            self.status,
            headers,
            media_type="application/problem+json",
        )


def title_of(status: int) -> str:
    """The name of a status."""
    if status == CLIENT_GONE:
        return "Client Closed Request"
    return HTTPStatus(status).phrase


class ClientGoneError(RequestError):
    """The client closed the connection before it had its answer."""

    def __init__(self) -> None:
        super().__init__(CLIENT_GONE, "the client closed the connection", close=True)


class BusyError(RequestError):
    """No place is free.

    Args:
        what: The limit that is reached.
        seconds: Expected time until a place is free.
    """

    def __init__(self, what: str, seconds: float) -> None:
        wait = max(1, min(60, math.ceil(seconds)))
        super().__init__(503, f"{what}; try again in {wait} s", retry_after=wait, close=True)

"""What every request and answer gets: an id, the guard, security headers, a log line, metrics."""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Collection
from typing import Any

from h11 import LocalProtocolError
from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nrpurify.serving.metrics import Metrics
from nrpurify.serving.problems import CLIENT_GONE, RequestError

LOGGER = logging.getLogger("nrpurify.serving")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def request_id(scope: Scope) -> str:
    """The id of a request: the client's ``X-Request-ID`` where it is short and plain."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        given = Headers(scope=scope).get("x-request-id", "")
        state["request_id"] = given if _ID.fullmatch(given) else uuid.uuid4().hex
    found: str = state["request_id"]
    return found


class Envelope:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        metrics: Counts requests.
        token: Bearer token; None for none.
        public: Paths that need no token, as routes see them: without the prefix of a mount or
            of a proxy.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Metrics, token: str | None, public: Collection[str]
    ) -> None:
        self.app, self.metrics, self._public = app, metrics, public
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless the guard refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            refused = self._refuses(scope)
            if refused is not None:
                await refused.to_response(request_id(scope))(scope, receive, answer.send)
            else:
                await self.app(scope, receive, answer.send)
        except Exception:
            LOGGER.exception("request %s failed", request_id(scope))
            if answer.status is None:
                problem = RequestError(
                    500,
                    "the server failed; its log has the reason under this request's id",
                    close=True,
                )
                await problem.to_response(request_id(scope))(scope, receive, answer.send)
        finally:
            self._record(scope, answer)

    def _refuses(self, scope: Scope) -> RequestError | None:
        headers = Headers(scope=scope)
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] != "GET":
            return RequestError(403, "the request comes from a page of another site", close=True)
        if self._token is None or get_route_path(scope) in self._public:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        sent = given.strip().encode("utf-8", "replace")
        if scheme.lower() == "bearer" and hmac.compare_digest(sent, self._token):
            return None
        return RequestError(
            401,
            "this server needs its token; send the header Authorization: Bearer TOKEN",
            close=True,
        )

    def _path(self, scope: Scope) -> str:
        """The path of a request that met no route, if it is a known one: refused, or the page."""
        path = get_route_path(scope)
        known = {getattr(route, "path", "") for route in scope["app"].routes}
        return path if path in {*known, *self._public} else "other"

    def _record(self, scope: Scope, answer: _Answer) -> None:
        route = getattr(scope.get("route"), "path", None) or self._path(scope)
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
        status = answer.status or CLIENT_GONE
        seconds = time.perf_counter() - answer.begun
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        LOGGER.info(
            "%s %s %d %.3f s",
            method,
            route,
            status,
            seconds,
            extra={
                "fields": {
                    "request_id": request_id(scope),
                    "method": method,
                    "route": route,
                    "status": status,
                    "seconds": round(seconds, 4),
                    "client": (scope.get("client") or ("",))[0],
                }
            },
        )


class _Answer:
    """Adds headers to an answer and remembers its status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.status: int | None = None
        self._broken = False
        self.begun = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send a part of the answer; to a connection that broke the protocol, nothing."""
        if self._broken:
            return
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = request_id(self.scope)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        try:
            await self._send(message)
        except LocalProtocolError:  # uvicorn has answered the rest of its request with 400
            self._broken, self.status = True, CLIENT_GONE


class JsonFormatter(logging.Formatter):
    """Log records as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        values: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values)

"""A purifier on a server of ``nrpurify serve``, used like one of this machine."""

from __future__ import annotations

import http.client
import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import torch
from torch import Tensor, nn

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.images import encode_png, read_image
from nrpurify.serving.settings import TOKEN_VARIABLE

_TRIES, _FIRST_TRIES = 10, 5
_LONGEST_WAIT = 60.0
_TIMEOUT = 600.0
"""Seconds; the server answers within limits of its own."""
_ROOM = 2**20
"""Bytes of an answer beside 16 a pixel."""
_NOT_OURS = (ValueError, TypeError, KeyError, RecursionError)
"""What reading the JSON of another server raises."""
_FOREIGN = "expected the address that nrpurify serve printed; this is no server of nrpurify serve"


class ServerPurifier(nn.Module):
    """Sends 8-bit images to a server, one request each, and waits when it asks for that.

    A request is repeated after 503, a lost connection or no connection, with growing pauses.

    Args:
        address: ``http://`` or ``https://``, host, port and the prefix of a proxy.
        purifier: One of the server's; None for its default.
        token: Bearer token; None for none.
        tries: Most requests for an image.

    Attributes:
        about: Name, hash of the weights and arithmetic, as the server has them.

    Raises:
        InputError: No address of a server, no such purifier there, or a token that it refuses.
    """

    def __init__(
        self,
        address: str,
        purifier: str | None = None,
        *,
        token: str | None = None,
        tries: int = _TRIES,
    ) -> None:
        super().__init__()
        self._address, self._token, self._tries = address.rstrip("/"), token, tries
        self._parts = _split(address)
        listed = self._ask("GET", "/v1/purifiers", tries=min(tries, _FIRST_TRIES))
        known = _by_name(listed)
        if not known:
            raise InputError(f"{address} answered without a list of purifiers; {_FOREIGN}")
        name = purifier or next(iter(known))
        if name not in known:
            raise InputError(
                f"{address} has no purifier {name!r}; expected one of {', '.join(known)}"
            )
        self.about = {"server_purifier": name, **known[name]}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Purify N×3×H×W images in [0, 1], rounded to 8 bits on their way.

        Raises:
            ImageError: The server refused an image; the message is the server's.
        """
        return torch.stack([self._purified(image) for image in images]).to(images.device)

    def _purified(self, image: Tensor) -> Tensor:
        path = f"/v1/purify?purifier={quote(self.about['server_purifier'], safe='')}"
        room = _ROOM + 16 * image.shape[1] * image.shape[2]
        content = self._ask("POST", path, encode_png(image.cpu()), room)
        return read_image(content).rgb

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        room: int = _ROOM,
        tries: int | None = None,
    ) -> bytes:
        """One answer, after as many tries as it needs."""
        pause, reason, tries = 0.5, "", tries or self._tries
        for left in reversed(range(tries)):
            wait = pause * random.uniform(1, 1.5)
            try:
                with self._connection() as connection:
                    where = self._parts.path.rstrip("/") + path
                    connection.request(method, where, body, self._headers)
                    with connection.getresponse() as answer:
                        content = answer.read(room)
                if answer.status == 200:
                    return content
                reason = _detail(content) or f"status {answer.status}"
                if 300 <= answer.status < 400:
                    where = answer.headers.get("Location", "")[:300]
                    raise InputError(f"{self._address}: {reason}, leads to {where!r}; {_FOREIGN}")
                if answer.status == 401 and _detail(content):
                    need = "needs its token" if self._token is None else "refuses the token"
                    raise InputError(
                        f"{self._address} {need}; put the token that the server was started with "
                        f"into the environment variable {TOKEN_VARIABLE}, or in Python into token="
                    )
                if answer.status in (401, 403, 404):
                    advice = "" if _detail(content) else f"; {_FOREIGN}"
                    raise InputError(f"{self._address}: {reason}{advice}")
                if answer.status != 503:
                    raise ImageError(f"{self._address}: {reason}")
                wait = max(wait, _seconds(answer.headers.get("Retry-After")))
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, ImageError):
                    raise
                reason = f"{type(error).__name__}: {error}"
            if left:
                time.sleep(min(wait, _LONGEST_WAIT))
                pause *= 2
        raise ImageError(
            f"{self._address} gave no answer in {tries} tries ({reason}); see whether it "
            "runs, then run the same command again"
        )

    @property
    def _headers(self) -> dict[str, str]:
        found = {"Content-Type": "image/png", "Accept": "image/png"}
        if self._token is not None:
            found["Authorization"] = f"Bearer {self._token}"
        return found

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        """A new connection; it follows no redirect, which would get the token."""
        parts = self._parts
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        # without a port, the connection would look for one in an IPv6 address
        port = kind.default_port if parts.port is None else parts.port
        with closing(kind(parts.hostname or "", port, timeout=_TIMEOUT)) as connection:
            yield connection


def _split(address: str) -> SplitResult:
    """The parts of an address to which a connection can be made.

    Raises:
        InputError: It is none.
    """
    try:
        parts = urlsplit(address)
        host, _, _ = (parts.hostname or "").encode("idna"), parts.port, parts.path.encode("ascii")
        valid = parts.scheme in ("http", "https") and bool(host)
    except ValueError:
        valid = False
    if not valid or re.search(r"[\x00-\x20\x7f]", address):
        raise InputError(
            f"--server is {address!r}; expected an address such as http://127.0.0.1:8000"
        )
    return parts


def _by_name(content: bytes) -> dict[str, dict[str, str]]:
    """What a manifest records of each purifier of a server; empty for another server's answer."""
    try:
        return {
            str(one["name"]): {f"server_{key}": str(one[key]) for key in ("sha256", "precision")}
            for one in json.loads(content)
        }
    except _NOT_OURS:
        return {}


def _detail(content: bytes) -> str:
    try:
        found: Any = json.loads(content)
        return str(found["detail"])[:300]
    except _NOT_OURS:
        return ""


def _seconds(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0

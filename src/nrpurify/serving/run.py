"""The server's process: uvicorn, its logs, its workers and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from nrpurify.core.errors import InputError
from nrpurify.core.plugins import load_plugins
from nrpurify.serving.app import create_app
from nrpurify.serving.engine import Engine
from nrpurify.serving.envelope import JsonFormatter
from nrpurify.serving.metrics import MULTIPROCESS
from nrpurify.serving.settings import TOKEN_VARIABLE, ServeSettings, read_token

LogFormat = Literal["text", "json"]
_SETTINGS, _LOGS, _TOKEN_FILE, _PLUGINS = (
    f"NRPURIFY_SERVE_{name}" for name in ("SETTINGS", "LOG_FORMAT", "TOKEN_FILE", "PLUGINS")
)
"""Variables by which worker processes get what the command was given."""
_HEADER_SECONDS = 10.0
"""Longest time in which a connection sends the head of a request."""
_CONNECTIONS = 1000
"""Most open connections; more get uvicorn's own 503."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that closes connections which do not finish the head of a request in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Stop the time when a request is at work, else start it unless it runs."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._timer is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(_HEADER_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def run_server(
    settings: ServeSettings,
    *,
    host: str,
    port: int,
    workers: int = 1,
    token_file: Path | None = None,
    log_format: LogFormat = "text",
    plugins: list[str] | None = None,
    started: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until SIGINT or SIGTERM, then answer what was taken.

    Args:
        settings: Models and limits.
        host: Address to listen on.
        port: The port; 0 takes a free one.
        workers: Processes, each with a copy of the models.
        token_file: File of the bearer token; None: the environment variable, if there is one.
        log_format: ``json``: one object a line.
        plugins: Loaded in every worker before names are looked up.
        started: Called with the address when the first process listens.

    Raises:
        InputError: A name or spec that does not exist, or a token that cannot be used.
        WeightsError: Weights could not be found or downloaded.
        OSError: The address cannot be used.
    """
    token = read_token(token_file)
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "http": PatientProtocol,
        "loop": "asyncio",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_worker_healthcheck": 60,  # importing torch takes a while
        "limit_concurrency": _CONNECTIONS,
        "timeout_graceful_shutdown": round(
            5 + max(settings.answer_seconds, settings.attack_seconds if settings.attack else 0)
        ),
    }
    signal.signal(signal.SIGTERM, _end)  # uvicorn sends it again when it has ended
    signal.signal(signal.SIGINT, _end)
    if workers > 1:
        _run_workers(settings, workers, token_file, log_format, plugins or [], started, options)
        return
    configure_logs(log_format)
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(settings, token=token, on_failure=failed)
    server = _Server(uvicorn.Config(app, **options), started)
    server.run()
    if failures:
        raise failures[0]


def _end(number: int, frame: Any) -> None:
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """A server that announces its address."""

    def __init__(self, config: uvicorn.Config, told: Callable[[str], None]) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: Any = None) -> None:
        """Listen."""
        try:
            await super().startup(sockets)
        except (SystemExit, UnicodeError):  # uvicorn cannot listen; the host cannot be a name
            raise _in_use(self.config.host, self.config.port) from None
        if self.started:
            self._told(_written(self.servers[0].sockets[0].getsockname()))


def _run_workers(
    settings: ServeSettings,
    workers: int,
    token_file: Path | None,
    log_format: LogFormat,
    plugins: list[str],
    started: Callable[[str], None],
    options: dict[str, Any],
) -> None:
    """Processes under uvicorn's supervisor; all of them listen on one socket."""
    Engine(settings)  # a model that cannot be loaded ends the command, not every worker anew
    with tempfile.TemporaryDirectory(prefix="nrpurify-metrics-") as folder:
        os.environ |= {
            MULTIPROCESS: folder,
            _SETTINGS: settings.to_json(),
            _LOGS: log_format,
            _PLUGINS: "\n".join(plugins),
        }
        if token_file is not None:
            os.environ[_TOKEN_FILE] = str(token_file.resolve())
        host, port = options["host"], _free_port(options["host"], options["port"])
        threading.Thread(target=_announce, args=(host, port, started), daemon=True).start()
        target = "nrpurify.serving.run:app_from_environment"
        uvicorn.run(target, factory=True, workers=workers, **{**options, "port": port})


def _free_port(host: str, port: int) -> int:
    """The port, for 0 a free one: all workers need one number."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((host, port))
        except (OSError, UnicodeError):
            raise _in_use(host, port) from None
        found: int = free.getsockname()[1]
        return found


def _announce(host: str, port: int, started: Callable[[str], None]) -> None:
    """Tell the address as soon as the first worker takes connections."""
    while True:
        try:
            with socket.create_connection((host, port), 5) as found:
                peer = found.getpeername()
            break
        except OSError:
            time.sleep(0.1)
    started(_written(peer))


def _in_use(host: str, port: int) -> InputError:
    return InputError(
        f"cannot listen on {host}:{port}; the port may be in use: choose another --port, or the "
        "host may be no address of this machine: give --host 127.0.0.1 or 0.0.0.0"
    )


def _written(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def app_from_environment() -> FastAPI:
    """The application of a worker process."""
    configure_logs("json" if os.environ[_LOGS] == "json" else "text")
    load_plugins([name for name in os.environ[_PLUGINS].split("\n") if name])
    file = os.environ.get(_TOKEN_FILE)
    token = read_token(Path(file) if file else None)
    os.environ.pop(TOKEN_VARIABLE, None)
    return create_app(ServeSettings.from_json(os.environ[_SETTINGS]), token=token)


def configure_logs(log_format: LogFormat) -> None:
    """Log requests and the server's own messages to stderr."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    for name in ("nrpurify.serving", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)

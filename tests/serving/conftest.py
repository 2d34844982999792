"""An application with tiny models, asked without a network."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

pytest.importorskip("fastapi")
import httpx2
import uvicorn

from nrpurify.core.images import encode_png
from nrpurify.models.features import FeatureExtractor
from nrpurify.serving.app import create_app
from nrpurify.serving.engine import Engine
from nrpurify.serving.run import PatientProtocol
from nrpurify.serving.settings import ServeSettings

VICTIM = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 6))
"""


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """A purifier with a gate, a codec, a random defense and a small classifier."""
    file = tmp_path_factory.mktemp("victim") / "small.py"
    file.write_text(VICTIM)
    settings = ServeSettings(
        purifiers={"fast": "fast", "mild": "jpeg:quality=75", "noisy": "noise:std=0.05"},
        victims={"small": f"{file}:build"},
        attack=False,
    )
    made = Engine(settings)
    torch.manual_seed(0)
    body = nn.Sequential()
    body.add_module("conv", nn.Conv2d(3, 8, 3, padding=1))
    made.settings = replace(settings, attack=True)
    made.extractor = FeatureExtractor(body, "conv")
    return made


@asynccontextmanager
async def _asking(engine, *, token=None, **limits):
    """A client of an application with these models and limits."""
    app = create_app(replace(engine.settings, **limits), token=token, engine=engine)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
            client.service = app.state.service
            yield client


@pytest.fixture
def asking():
    return _asking


@pytest.fixture
async def client(engine):
    async with _asking(engine) as found:
        yield found


@pytest.fixture(scope="session")
def png():
    """A 20×24 PNG file."""
    return encode_png(torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(1)))


async def _until(condition):
    """Wait for something that another task brings about."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def until():
    return _until


@pytest.fixture
def held_back(engine, monkeypatch):
    """Holds all purifications back until it is set."""
    gate, purify = threading.Event(), engine.purify

    def waits(name, images):
        assert gate.wait(10)
        return purify(name, images)

    monkeypatch.setattr(engine, "purify", waits)
    yield gate
    gate.set()


@contextmanager
def _serving(engine, *, token=None):
    """A server in a thread."""
    app = create_app(engine.settings, token=token, engine=engine)
    config = uvicorn.Config(app, port=0, http=PatientProtocol, log_config=None, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def serving():
    return _serving


@pytest.fixture
def address(engine):
    with _serving(engine) as found:
        yield found

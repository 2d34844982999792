"""A server with tiny models and a real browser before it."""

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

pytest.importorskip("playwright")
import uvicorn
from playwright.sync_api import expect, sync_playwright

from nrpurify.models.features import FeatureExtractor
from nrpurify.serving.app import create_app
from nrpurify.serving.engine import Engine
from nrpurify.serving.run import PatientProtocol
from nrpurify.serving.settings import ServeSettings

expect.set_options(timeout=20_000)
ROOT = Path(__file__).parent.parent.parent
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
VICTIM = """
import torch
from torch import nn


def build(seed: int = 0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 6))
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    file = tmp_path_factory.mktemp("victim") / "small.py"
    file.write_text(VICTIM)
    victims = {"first": f"{file}:build", "second": f"{file}:build:seed=1"}
    purifiers = {"fast": "fast", "mild": "jpeg:quality=75"}
    made = Engine(ServeSettings(purifiers=purifiers, victims=victims, attack=False))
    body = nn.Sequential()
    body.add_module("conv", nn.Conv2d(3, 8, 3, padding=1))
    made.settings = replace(made.settings, attack=True)
    made.extractor = FeatureExtractor(body, "conv")
    return made


@pytest.fixture
def serve(engine):
    """Starts servers in threads; returns their addresses."""
    running = []

    def start(*, token=None, **limits):
        app = create_app(replace(engine.settings, **limits), token=token, engine=engine)
        config = uvicorn.Config(app, port=0, http=PatientProtocol, log_config=None, loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        start.service = app.state.service
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def chromium():
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.fail("no Chromium here; install it (apt-get install chromium) or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, serve):
    """Opens the page; errors of scripts and requests to elsewhere fail the test."""
    wrong, contexts = [], []

    def open_one(address=None, *, size="desktop", scheme="light", wait=True, hash=""):
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            has_touch=size == "phone",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        address = address or serve()
        page.on("pageerror", lambda error: wrong.append(str(error)))

        def watch(request):
            if not request.url.startswith((address, "blob:", "data:")):
                wrong.append(f"a request to {request.url}")

        page.on("request", watch)
        page.goto(address + hash)
        if wait:
            page.wait_for_selector("#eps option", state="attached")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core, which `make test-browser` installs."""
    default = ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"
    file = Path(os.environ.get("AXE_CORE", default))
    if not file.is_file():
        pytest.fail(f"no {file}; run make test-browser, or set AXE_CORE")
    return file.read_text()

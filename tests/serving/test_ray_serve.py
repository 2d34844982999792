"""The deployment of examples/ray_serve.py on this machine; needs ray[serve]."""

import os
import socket
import time
from pathlib import Path

import pytest
import torch

from nrpurify.core.images import encode_png

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.filterwarnings("ignore")
def test_two_replicas_answer(monkeypatch):
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve", exc_type=ImportError)
    import httpx2

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    monkeypatch.syspath_prepend(EXAMPLES)
    import ray_serve as example

    folders = [str(EXAMPLES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(folders)}},
    )
    try:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(example.app, route_prefix="/")
        address, png = f"http://127.0.0.1:{port}", encode_png(torch.rand(3, 32, 32))
        headers = {"content-type": "image/png"}
        found = set()
        for _ in range(200):
            answer = httpx2.post(f"{address}/v1/purify", content=png, headers=headers, timeout=60)
            if answer.status_code == 503:  # a replica loads its models
                time.sleep(0.5)
                continue
            assert answer.status_code == 200
            found.add(answer.content)
            ready = serve.status().applications["default"].deployments["Purifiers"]
            if ready.replica_states.get("RUNNING") == 2 and found:
                break
        assert len(found) == 1  # the same image from every replica
        refused = httpx2.post(f"{address}/v1/purify", content=b"x", headers=headers)
        assert refused.status_code == 415
    finally:
        serve.shutdown()
        ray.shutdown()

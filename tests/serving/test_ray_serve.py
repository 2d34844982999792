"""The deployment of examples/ray_serve.py on this machine; needs ray[serve]."""

import importlib.util
import os
import time
from pathlib import Path

import pytest
import torch

from nrpurify.core.images import encode_png

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "ray_serve.py"


@pytest.mark.filterwarnings("ignore")
def test_two_replicas_answer(monkeypatch):
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve", exc_type=ImportError)
    import httpx2

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    spec = importlib.util.spec_from_file_location("ray_serve_example", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    ray.cloudpickle.register_pickle_by_value(example)
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 8765})
        serve.run(example.app, route_prefix="/")
        address, png = "http://127.0.0.1:8765", encode_png(torch.rand(3, 32, 32))
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

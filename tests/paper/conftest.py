import pytest

from nrpurify import weights


@pytest.fixture(autouse=True)
def _no_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nothing here may fetch weights")

    monkeypatch.setattr(weights, "load", refuse)
    monkeypatch.setattr(weights, "path", refuse)

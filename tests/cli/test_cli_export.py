"""``nrpurify export``."""

import json


def test_a_file_and_its_parity(run, tiny_file, tmp_path):
    path = tmp_path / "micro.pt2"
    code, text, errors = run("export", tiny_file, "--out", str(path), "--json")
    assert code == 0
    found = json.loads(text)
    assert found["bytes"] == path.stat().st_size
    assert set(found["parity"]) > {"2×3×96×128", "1×3×513×65", "1×3×88×700", "1×3×1100×72"}
    assert max(found["parity"].values()) <= found["tolerance"] == 0.01
    assert found["about"]["purifiers"][0]["card"]["name"] == "micro"
    assert "takes a minute" in errors


def test_what_cannot_be_exported(run, tmp_path):
    code, _, errors = run("export", "jpeg", "--out", str(tmp_path / "x.onnx"))
    assert code == 2
    assert "JPEG works outside of torch" in errors
    code, _, errors = run("export", "fast", "--out", str(tmp_path / "tiny.foo"))
    assert code == 2
    assert "tiny.foo'; expected a name that ends in .onnx (onnx) or" in errors
    assert "takes a minute" not in errors

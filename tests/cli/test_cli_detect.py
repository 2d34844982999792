import json


def test_scores_of_a_folder(run, photos, tiny_file, tmp_path):
    given = ("detect", photos, "--purifier", tiny_file, "--device", "cpu")
    code, out, err = run(*given)
    assert code == 0, err
    assert "sub/c.png" in out
    code, out, err = run(*given, "--attacked", photos, "--out", tmp_path / "s.json", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((tmp_path / "s.json").read_text())
    assert found["auc"] == 0.5
    code, _, err = run(*given, "--attacked", photos)
    assert "area under the ROC curve 0.500" in err
    (photos / "a.png").write_bytes(b"no image")
    code, _, err = run(*given, "--threshold", "0")
    assert code == 1
    assert "2 of 2 at or above 0.00" in err
    assert "a.png" in err

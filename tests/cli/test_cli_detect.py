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
    assert "0 of 3 attacked images at or above it" in err
    assert "area under the ROC curve 0.500" in err
    (photos / "a.png").write_bytes(b"no image")
    code, _, err = run(*given, "--threshold", "0")
    assert code == 1
    assert "2 of 2 images at or above 0.00" in err
    assert "a.png" in err


def test_names_in_both_folders_are_counted(run, photos, photo, tiny_file, tmp_path):
    given = ("detect", photos, "--purifier", tiny_file, "--device", "cpu", "--attacked")
    for name in ("a.png", "b.png", "other.png"):  # attacks make PNG files of JPEG files
        photo(tmp_path / "attacked" / name)
    code, _, err = run(*given, tmp_path / "attacked")
    assert code == 0, err
    assert "2 of 3 attacked images have the name of a clean one" in err
    for name in ("a.png", "b.png"):
        (tmp_path / "attacked" / name).unlink()
    code, _, err = run(*given, tmp_path / "attacked", "--quiet")
    assert code == 0
    assert "warning: no attacked image has the name of a clean one" in err


def test_detect_loads_plugins(run, photos, tmp_path):
    code, _, err = run("detect", photos, "--plugin", tmp_path / "absent.py")
    assert code == 2
    assert "absent.py" in err


def test_a_share_of_false_alarms_without_effect_is_refused(run, photos, tiny_file):
    given = ("detect", photos, "--purifier", tiny_file, "--false-alarms", "0.1")
    for others in ((), ("--attacked", photos, "--threshold", "0")):
        code, _, err = run(*given, *others)
        assert code == 2
        assert "--false-alarms was given; it chooses the threshold where --attacked" in err


def test_quiet_names_images_that_cannot_be_read(run, photos, tiny_file):
    (photos / "a.png").write_bytes(b"no image")
    code, _, err = run("detect", photos, "--purifier", tiny_file, "--quiet")
    assert code == 1
    assert "a.png" in err

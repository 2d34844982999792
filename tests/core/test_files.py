import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nrpurify.core.errors import InputError
from nrpurify.core.files import (
    atomic_path,
    check_writable,
    read_json,
    sweep,
    temporary_name,
    write_json,
    write_text,
)
from nrpurify.core.image_files import find_images, output_path, output_paths, scan_images


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.webp", ".git/d.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def relatives(files):
    return [file.relative.as_posix() for file in files]


def test_atomic_path_renames_only_on_success(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"


def interrupted_write(target):
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_atomic_path_gives_the_permissions_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_text_is_utf8_with_unix_line_ends(tmp_path):
    write_text(tmp_path / "t", "ε\n")
    assert (tmp_path / "t").read_bytes() == "ε\n".encode()


def test_write_json_round_trips(tmp_path):
    write_json(tmp_path / "r.json", {"ε": [1, 0.5, None]})
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == {"ε": [1, 0.5, None]}


@pytest.mark.parametrize(("value", "error"), [(math.nan, ValueError), (object(), TypeError)])
def test_write_json_refuses_what_json_cannot_hold(tmp_path, value, error):
    with pytest.raises(error):
        write_json(tmp_path / "r.json", value)
    assert list(tmp_path.iterdir()) == []


def test_find_images_in_a_folder(tree):
    assert relatives(find_images(tree, recursive=False)) == ["a.JPG", "b.png"]
    assert relatives(find_images(str(tree), recursive=True)) == ["a.JPG", "b.png", "sub/c.webp"]


def test_find_images_takes_a_named_file_whatever_its_name(tree):
    (file,) = find_images(tree / "notes.txt", recursive=False)
    assert (file.path, file.relative) == (tree / "notes.txt", Path("notes.txt"))


@pytest.mark.parametrize(
    ("pattern", "recursive", "expected"),
    [
        ("*.png", False, ["b.png"]),
        ("[ab].*", False, ["a.JPG", "b.png"]),
        ("**/*.*", False, ["a.JPG", "b.png", "sub/c.webp"]),
        ("*.webp", True, ["sub/c.webp"]),
        ("s*/*", False, ["sub/c.webp"]),
    ],
)
def test_find_images_by_glob(tree, pattern, recursive, expected):
    assert relatives(find_images(tree / pattern, recursive=recursive)) == expected


def test_a_file_with_brackets_in_its_name_is_not_a_glob(tree):
    (tree / "x[1].png").touch()
    assert relatives(find_images(tree / "x[1].png", recursive=False)) == ["x[1].png"]


def test_a_glob_never_climbs_out(tree):
    (tree.parent / "secret.png").touch()
    assert scan_images(tree, recursive=False, pattern="sub/../../*.png").files == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "does not exist"),
        ("*.bmp", "sub-folders were not searched: --recursive .in Python recursive=True. searches"),
        ("sub/empty*", "no image found"),
        ("**x.png", r"\*\*x\.png"),
    ],
)
def test_find_images_says_what_is_wrong(tree, name, message):
    with pytest.raises(InputError, match=message):
        find_images(tree / name, recursive=False)


def test_output_path_keeps_structure(tmp_path):
    assert output_path(tmp_path, Path("a/b.tar.jpg")) == tmp_path / "a/b.tar.png"
    assert output_path(tmp_path, Path("a/b.jpg"), keep_suffix=True) == tmp_path / "a/b.jpg.png"


@pytest.mark.parametrize("relative", ["../x.png", "/etc/x.png", "a/../../x.png", "."])
def test_output_path_never_escapes(tmp_path, relative):
    with pytest.raises(InputError, match="relative path"):
        output_path(tmp_path, Path(relative))


def test_colliding_outputs_keep_their_full_name():
    names = ["a.jpg", "a.png", "b.jpg", "sub/a.jpg", "C.jpg", "c.bmp"]
    outputs = output_paths("out", [Path(name) for name in names])
    assert [path.as_posix() for path in outputs] == [
        "out/a.jpg.png",
        "out/a.png.png",
        "out/b.png",
        "out/sub/a.png",
        "out/C.jpg.png",
        "out/c.bmp.png",
    ]


def test_a_full_name_that_collides_in_turn_is_resolved():
    outputs = output_paths("", [Path("a.jpg"), Path("a.png"), Path("a.jpg.bmp")])
    assert [p.name for p in outputs] == ["a.jpg.png", "a.png.png", "a.jpg.bmp.png"]


SUFFIX_CHAINS = st.lists(st.sampled_from([".jpg", ".png"]), min_size=1, max_size=3).map("".join)


@settings(deadline=None)
@given(st.sets(st.builds(str.__add__, st.sampled_from("ab"), SUFFIX_CHAINS), min_size=1))
def test_outputs_are_distinct_for_distinct_inputs(names):
    outputs = output_paths("out", [Path(name) for name in sorted(names)])
    assert len(set(outputs)) == len(names)


def test_names_that_are_no_utf8_survive_json(tmp_path):
    names = {os.fsdecode(b"caf\xe9.jpg"): ["a\\" + os.fsdecode(b"\xff")]}
    write_json(tmp_path / "r.json", names)
    text = (tmp_path / "r.json").read_bytes().decode()
    assert "caf\\udce9.jpg" in text
    assert json.loads(text) == names


def test_linked_folders_are_followed_once(tree):
    (tree.parent / "other" / "deep").mkdir(parents=True)
    (tree.parent / "other" / "deep" / "d.png").touch()
    (tree / "linked").symlink_to(tree.parent / "other")
    (tree.parent / "other" / "back").symlink_to(tree)
    (tree / "again").symlink_to(tree / "sub")
    scan = scan_images(tree, recursive=True)
    assert relatives(scan.files) == ["a.JPG", "b.png", "linked/deep/d.png", "sub/c.webp"]
    assert [left.path.relative_to(tree).as_posix() for left in scan.left_out] == [
        "again",
        "linked/back",
    ]
    assert not any(left.lost for left in scan.left_out)
    assert "the same folder as" in str(scan.left_out[0])
    assert "deep/d.png" in relatives(find_images(tree / "linked/**/*.png", recursive=False))


def test_entries_that_cannot_be_used_are_named(tree, caplog):
    (tree / "gone.png").symlink_to("nowhere")
    (tree / "self.png").symlink_to("self.png")
    (tree / "self").symlink_to("self")
    os.mkfifo(tree / "pipe.jpg")
    scan = scan_images(tree, recursive=True)
    assert relatives(scan.files) == ["a.JPG", "b.png", "sub/c.webp"]
    reasons = {left.path.name: left.reason for left in scan.left_out if left.lost}
    assert reasons["gone.png"] == "a link to nothing"
    assert reasons["pipe.jpg"] == "not a regular file"
    assert set(reasons) == {"gone.png", "self.png", "self", "pipe.jpg"}
    find_images(tree, recursive=True)
    assert "left out (4)" in caplog.text
    assert "gone.png" in caplog.text


def test_a_folder_that_cannot_be_opened_is_named(tree, monkeypatch):
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    scan = scan_images(tree, recursive=True)
    assert relatives(scan.files) == ["a.JPG", "b.png"]
    assert [str(left) for left in scan.left_out] == [f"{str(tree / 'sub')!r}: Permission denied"]
    with pytest.raises(InputError, match="Permission denied"):
        find_images(tree / "sub", recursive=False)


def test_a_link_to_a_folder_that_is_gone_is_named(tmp_path):
    (tmp_path / "a.png").touch()
    for name in ("more", "notes.txt"):
        (tmp_path / name).symlink_to(tmp_path / "gone")
    assert scan_images(tmp_path, recursive=False).left_out == []
    (left,) = scan_images(tmp_path, recursive=True).left_out
    assert (left.path.name, left.reason, left.lost) == ("more", "a link to nothing", True)


def test_the_sweep_takes_dead_and_old_temporaries_only(tmp_path):
    code = "from nrpurify.core.files import temporary_name; print(temporary_name('.png'))"
    dead = (
        tmp_path
        / subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    mine = tmp_path / temporary_name(".png")
    reused = tmp_path / f"{mine.name[:18]}-{os.getpid()}-1-00000000.png"
    new, old = (tmp_path / f".nrpurify-0000000{i}-1-1-00000000.png" for i in (1, 2))
    theirs = tmp_path / ".0123456789abcdef.png"
    for path in (dead, mine, reused, new, old, theirs):
        path.touch()
    for path in (old, theirs, mine):
        os.utime(path, (time.time() - 90_000,) * 2)
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {mine, new, theirs}


def test_writing_sweeps_the_folder_first(tmp_path):
    left = tmp_path / f"{temporary_name('')[:18]}-999999999-1-00000000.png"
    left.touch()
    write_text(tmp_path / "a", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_contents_are_on_the_disk_before_the_rename(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    write_text(tmp_path / "a", "four")
    assert synced == [4]


@pytest.mark.parametrize("place", ["folder", "file/x.json", "a" * 256])
def test_a_place_that_cannot_be_written_is_noticed_early(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        check_writable(tmp_path / place)
    check_writable(tmp_path / "new" / "x.json")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_json_that_is_nested_too_deeply_is_a_value_error(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text("[" * 200_000 + "]" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(path)
    path.write_text('{"n": ' + "9" * 5000 + "}")
    with pytest.raises(ValueError, match="digits"):
        read_json(path)


def test_images_of_types_that_are_not_read_are_named(tree, caplog):
    for name in ("x.svg", "y.CR2", "notes.md"):
        (tree / name).touch()
    assert relatives(find_images(tree, recursive=False)) == ["a.JPG", "b.png"]
    assert "left out (2)" in caplog.text
    assert "x.svg': .svg files are not read; save it as PNG" in caplog.text
    assert not any(left.lost for left in scan_images(tree, recursive=False).left_out)
    assert not scan_images(tree, recursive=False, pattern="*.png").left_out


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    path = tmp_path / "run.json"
    with pytest.raises(OSError, match=r"No space left on device: .*run\.json"), atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError, match=r"run\.json"), atomic_path(path):
        pass
    assert list(tmp_path.iterdir()) == []

"""A manifest from somebody else makes no run write or remove anything outside of its folder."""

import hashlib
import json
import os

import pytest
import torch
from PIL import Image
from torch import nn

from nrpurify.batch import AttackOptions, attack_folder, plan_jobs, purify_folder
from nrpurify.core.errors import InputError
from nrpurify.core.records import MANIFEST, Records
from nrpurify.evaluation.batches import Batch
from nrpurify.evaluation.cache import AttackCache, read_made_before, stored_images


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "in" / "a.png")
    Image.new("RGB", (8, 8), "green").save(tmp_path / "precious.png")
    return tmp_path / "in"


def lines(out):
    return [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]


def rewrite(out, change):
    found = lines(out)
    (out / MANIFEST).write_text("".join(json.dumps(line | change(line)) + "\n" for line in found))


def purified(folder, **options):
    return purify_folder(folder, folder.parent / "out", nn.Identity(), workers=1, **options)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("options", [{}, {"overwrite": True, "format": "webp"}])
def test_no_file_outside_is_written_or_removed(folder, absolute, options):
    out, victim = folder.parent / "out", folder.parent / "precious.png"
    purified(folder)
    before, output = victim.read_bytes(), str(victim) if absolute else "../precious.png"
    known = hashlib.sha256(before).hexdigest()

    def evil(line):
        return {"output": output, "sha256": known} if "output" in line else {}

    rewrite(out, evil)
    (out / "a.png").unlink()
    for run in (
        lambda: purified(folder, **options),
        lambda: attack_folder(folder, out, AttackOptions(name="noise"), overwrite=True),
        lambda: plan_jobs(folder, out, recursive=False),
    ):
        with pytest.raises(InputError, match=r"line 2: the output .* may lead out of the folder"):
            run()
    assert victim.read_bytes() == before
    assert [path.name for path in out.iterdir()] == [MANIFEST]


def test_the_manifest_of_a_shard_is_checked_too(folder):
    purified(folder)
    evil = {"output": "../precious.png", "removed": True}
    (folder.parent / "out" / "manifest-0-of-2.jsonl").write_text(json.dumps(evil) + "\n")
    with pytest.raises(InputError, match=r"manifest-0-of-2\.jsonl', line 1"):
        purified(folder)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_no_manifest_may_list_are_left_out(folder):
    (folder / "a.png").rename(folder / "C:a.png")
    Image.new("RGB", (8, 8)).save(folder / "b\\c.png")
    for status in ("done", "skipped"):
        result = purified(folder)
        assert [(item.job.source.name, item.status) for item in result.items] == [
            ("b\\c.png", status)
        ]
        [(path, reason)] = result.failures
        assert path.name == "C:a.png"
        assert "give it another name" in reason


def cache(folder):
    head = {"settings": {"attack": "x", "eps": 0.1}, "versions": {}, "weights_sha256": {}}
    return AttackCache(folder, head, lambda batch: batch.images, 0.1, "uint8")


def test_cached_attacks_of_such_a_manifest_are_made_again(folder):
    out, victim = folder.parent / "cache", folder.parent / "precious.png"
    batch = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1), ["a"])
    cache(out).get(batch, ["0"])
    assert list(cache(out).records.files) == ["a.png"]
    rewrite(out, lambda line: {"output": "../precious.png"} if "output" in line else {})
    before = victim.read_bytes()
    for read in (lambda: read_made_before(out), lambda: stored_images(out, ["a"])):
        with pytest.raises(InputError, match="may lead out of the folder"):
            read()
    store = cache(out)
    assert store.records == Records()
    store.get(batch, ["0"])
    assert list(cache(out).records.files) == ["a.png"]
    assert victim.read_bytes() == before


RUNS = {
    "again": lambda folder: purified(folder, recursive=True),
    "overwrite": lambda folder: purified(folder, recursive=True, overwrite=True, format="webp"),
    "attack": lambda folder: attack_folder(
        folder, folder.parent / "out", AttackOptions(name="noise"), recursive=True, overwrite=True
    ),
}


@pytest.mark.parametrize("run", RUNS)
def test_a_link_in_a_file_s_place_is_replaced_and_its_target_kept(folder, run):
    out, victim = folder.parent / "out", folder.parent / "precious.png"
    purified(folder)
    elsewhere, before = folder.parent / "elsewhere.jsonl", victim.read_bytes()
    (out / MANIFEST).rename(elsewhere)
    (out / MANIFEST).symlink_to(elsewhere)
    (out / "a.png").unlink()
    (out / "a.png").symlink_to(victim)
    listed = elsewhere.read_bytes()
    assert not RUNS[run](folder).failures
    assert victim.read_bytes() == before
    assert elsewhere.read_bytes() == listed
    assert not (out / MANIFEST).is_symlink()
    if run != "overwrite":  # whose output has another suffix; what is in the old one's place stays
        assert not (out / "a.png").is_symlink()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("place", ["elsewhere", "out/other"])
def test_nothing_is_written_through_a_linked_folder(folder, run, place):
    (folder / "sub").mkdir()
    Image.new("RGB", (8, 8), "blue").save(folder / "sub" / "b.png")
    purified(folder, recursive=True)
    out, linked = folder.parent / "out", folder.parent / place
    (out / "sub").rename(linked)
    (out / "sub").symlink_to(linked)
    Image.new("RGB", (8, 8), "black").save(folder / "sub" / "b.png")
    before = (linked / "b.png").read_bytes()
    with pytest.raises(InputError, match=r"out/sub' leads by a link to '.*; put a folder"):
        RUNS[run](folder)
    assert [path.name for path in linked.iterdir()] == ["b.png"]
    assert (linked / "b.png").read_bytes() == before


def test_the_destination_itself_may_be_a_link(folder):
    (folder.parent / "disk").mkdir()
    (folder.parent / "out").symlink_to(folder.parent / "disk")
    assert not purified(folder).failures
    assert (folder.parent / "disk" / "a.png").is_file()

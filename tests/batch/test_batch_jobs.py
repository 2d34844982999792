import os
from pathlib import Path

import pytest
import torch

from nrpurify.batch import FolderResult, Item, Job, image_generator, plan_jobs, purify_folder
from nrpurify.batch.jobs import collect
from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.progress import NO_VALUES, Progress

JOB = Job(Path("in/a.jpg"), Path("a.jpg"), Path("out/a.png"))


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "sub/b.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def test_planning_touches_nothing(folder, tmp_path):
    jobs = plan_jobs(folder, tmp_path / "out", recursive=True).jobs
    assert [job.output.relative_to(tmp_path).as_posix() for job in jobs] == [
        "out/a.png",
        "out/sub/b.png",
    ]
    assert not (tmp_path / "out").exists()


def test_outputs_may_go_above_the_source(folder, tmp_path):
    jobs = plan_jobs(folder, tmp_path, recursive=True).jobs
    assert [job.output for job in jobs] == [tmp_path / "a.png", tmp_path / "sub" / "b.png"]


def test_a_source_is_protected_under_another_name(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InputError, match="would replace a source"):
        plan_jobs(folder, tmp_path / "link", recursive=True)


def test_noise_depends_on_seed_and_path():
    def draw(seed, name):
        return torch.rand(4, generator=image_generator(seed, Path(name)))

    assert torch.equal(draw(0, "a/b.png"), draw(0, "a/b.png"))
    assert not torch.equal(draw(0, "a/b.png"), draw(1, "a/b.png"))
    assert not torch.equal(draw(0, "a/b.png"), draw(0, "b/b.png"))


def test_results_are_counted_and_watched():
    failed = Item.failed(JOB, ImageError("cannot read 'in/a.jpg': broken\nat all"))
    items = [Item(JOB, "done", change=0.25), Item(JOB, "skipped"), failed]
    seen = []

    class Recorder(Progress):
        def update(self, what, done, total, values=NO_VALUES):
            seen.append((what, done, total))

    result = collect(items, "purify", 3, Recorder())
    assert seen == [("purify", done, 3) for done in (1, 2, 3)]
    assert result.change == 0.25
    assert result.to_dict() == {
        "done": 1,
        "skipped": 1,
        "failed": [{"source": str(JOB.source), "reason": "cannot read 'in/a.jpg': broken"}],
        "left_out": [],
        "outputs": [str(JOB.output)] * 2,
    }
    assert FolderResult().change is None


def test_other_errors_get_the_file_s_name():
    reason = Item.failed(JOB, RuntimeError("out of memory")).reason
    assert reason == f"cannot process {str(JOB.source)!r}: out of memory"
    assert "RuntimeError" in Item.failed(JOB, RuntimeError()).reason
    reason = Item.failed(JOB, InputError("JPEG has sides of at most 65500 pixels")).reason
    assert reason == f"cannot process {str(JOB.source)!r}: JPEG has sides of at most 65500 pixels"


def test_an_unknown_mode(folder, tmp_path):
    with pytest.raises(InputError, match="'static' or 'dynamic'"):
        purify_folder(folder, tmp_path / "out", None, mode="random")


def test_names_that_are_no_utf8_have_noise_of_their_own():
    odd = [Path(os.fsdecode(name)) for name in (b"caf\xe9.jpg", b"caf\xe8.jpg")]
    seeds = {image_generator(0, path).initial_seed() for path in odd}
    assert len(seeds) == 2
    assert image_generator(0, Path("café.jpg")).initial_seed() == 48759103058106453  # as ever

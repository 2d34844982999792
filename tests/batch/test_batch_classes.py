from pathlib import Path

import pytest

from nrpurify.batch import Job
from nrpurify.batch.classes import Classes
from nrpurify.core.errors import InputError


def job(name):
    return Job(Path("in") / name, Path(name), Path("out") / name)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "images.csv"
    path.write_text("ImageId,TrueLabel,TargetClass\na,1,4\nb,3,2\n")
    return path


def test_labels_and_targets_of_one_table(table):
    assert Classes.read(None, None) is None
    labels, targets = Classes.read(table, None), Classes.read(table, table)
    assert [labels.of(job(name)) for name in ("a.png", "sub/b.jpg")] == [0, 2]
    assert [targets.of(job(name)) for name in ("a.png", "b.png")] == [3, 1]
    assert (labels.kind, targets.kind) == ("label", "target")


def test_an_image_without_a_line(table):
    classes = Classes.read(table, None)
    with pytest.raises(InputError, match=r"'in/c.png' has no label in .*add a line for 'c'"):
        classes.of(job("c.png"))
    classes.check_jobs([job("c.png"), job("a.png")])
    with pytest.raises(InputError, match=r"none of the 1 images has a label .*such as 'a'"):
        classes.check_jobs([job("c.png")])


def test_classes_that_the_surrogate_lacks(table):
    Classes.read(table, None).check_range(3)
    with pytest.raises(InputError, match=r"gives 'b' the class 2 \(from 0\);.*classes 0 to 1"):
        Classes.read(table, None).check_range(2)


def test_a_table_without_targets(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,label\na,0\n")
    with pytest.raises(InputError, match="TargetClass"):
        Classes.read(path, path)

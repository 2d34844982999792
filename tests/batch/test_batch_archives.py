"""Tar shards and Parquet files of images."""

import errno
import io
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from nrpurify.batch import archives, purify_folder
from nrpurify.core.errors import InputError
from nrpurify.core.progress import NO_VALUES, Progress


class Invert(nn.Module):
    def forward(self, images):
        return 1 - images


def encoded(value, kind="png"):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 255)).save(file, kind)
    return file.getvalue()


def pixel(content):
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)[0, 0].tolist()


def add(archive, name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), 7
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "in" / "0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:
        for index in range(5):
            add(archive, f"a/{index}.png", encoded(index))
            add(archive, f"a/{index}.cls", b"%d" % index)
        add(archive, "a/5.left.jpg", encoded(0, "jpeg"))
        add(archive, "a/5.left.webp", encoded(0, "webp"))
        add(archive, "a/broken.png", b"no image")
    return path


def purified(source, out, **options):
    return purify_folder(source, out, Invert(), workers=2, about={"defense": "invert"}, **options)


def members(path):
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive if info.isreg()}


class Seen(Progress):
    """Keeps what it is shown of the images inside files."""

    def __init__(self):
        self.parts = []

    def update(self, what, done, total, values=NO_VALUES):
        if what != "purify":
            self.parts.append((done, total))


def test_a_tar_keeps_order_names_and_other_members(shard, tmp_path):
    seen = Seen()
    result = purified(shard, tmp_path / "out", progress=seen)
    assert (result.count("done"), result.parts) == (1, 7)
    assert [reason.split(":")[0] for _, reason in result.failures] == ["0.tar"]
    assert "'a/broken.png'" in result.failures[0][1] or "a/broken.png" in result.failures[0][1]
    found = members(tmp_path / "out" / "0.tar")
    names = [f"a/{index}.{kind}" for index in range(5) for kind in ("png", "cls")]
    assert list(found) == [*names, "a/5.left.png", "a/5.left.webp.png"]
    assert [pixel(found[f"a/{index}.png"])[0] for index in range(5)] == [255, 254, 253, 252, 251]
    assert found["a/3.cls"] == b"3"
    assert [done for done, _ in seen.parts] == list(range(1, 14))
    with tarfile.open(tmp_path / "out" / "0.tar") as archive:
        assert {info.mtime for info in archive} == {7}


def test_a_tar_that_is_there_is_kept_and_its_failures_are_told_again(shard, tmp_path):
    first = purified(shard, tmp_path / "out")
    content = (tmp_path / "out" / "0.tar").read_bytes()
    again = purified(shard, tmp_path / "out")
    assert (again.count("skipped"), again.parts) == (1, 7)
    assert again.failures == first.failures
    purified(shard, tmp_path / "other")
    assert (tmp_path / "other" / "0.tar").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("/etc/x.png", {}, "leads out"),
        ("a/../../x.png", {}, "leads out"),
        ("C:x.png", {}, "leads out"),
        ("x.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "no ordinary file"),
        ("x.png", {"type": tarfile.LNKTYPE, "linkname": "b"}, "no ordinary file"),
        ("x.png", {"type": tarfile.CHRTYPE}, "no ordinary file"),
        ("x.png", {"type": tarfile.FIFOTYPE}, "no ordinary file"),
    ],
)
def test_unsafe_members_are_left_out_and_counted(tmp_path, name, fields, words):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, name, b"" if fields else encoded(1), **fields)
        add(archive, "b.png", encoded(1))
    result = purified(tmp_path / "x.tar", tmp_path / "y.tar")
    assert len(result.failures) == 1
    assert words in result.failures[0][1]
    assert list(members(tmp_path / "y.tar")) == ["b.png"]


def test_large_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER", 200)
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.txt", bytes(201))
        add(archive, "b.png", encoded(1))
    result = purified(tmp_path / "x.tar", tmp_path / "y.tar")
    assert "has 201 bytes; expected at most 200" in result.failures[0][1]


def test_a_cut_or_packed_tar_fails_and_leaves_nothing(shard, tmp_path):
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2 + 100])
    with tarfile.open(shard.with_name("packed.tar"), "w:gz") as archive:
        add(archive, "b.png", encoded(1))
    with tarfile.open(shard.with_name("whole.tar"), "w") as archive:
        add(archive, "b.png", encoded(1))
    result = purified(f"{shard.parent}/*.tar", tmp_path / "out")
    assert [item.status for item in result.items] == ["failed", "failed", "done"]
    assert all("expected a whole tar" in reason for _, reason in result.failures)
    assert sorted(path.name for path in (tmp_path / "out").glob("*tar*")) == ["whole.tar"]


def test_folders_are_not_searched_for_containers(shard, tmp_path):
    (shard.parent / "c.png").write_bytes(encoded(3))
    result = purified(shard.parent, tmp_path / "out")
    assert [item.job.source.name for item in result.items] == ["c.png"]
    both = purified([str(shard), str(shard.parent)], tmp_path / "out")
    assert [item.status for item in both.items] == ["done", "skipped"]


def table(values, kind):
    return pa.table(
        {"image": pa.array(values, kind), "label": list(range(len(values)))}
    ).replace_schema_metadata({"huggingface": "{}"})


STRUCT_FIELDS = [("bytes", pa.binary()), ("path", pa.string())]
STRUCT = pa.struct(STRUCT_FIELDS)


def test_parquet_of_structs_as_datasets_has_them(tmp_path):
    values = [{"bytes": encoded(index), "path": f"{index}.jpg"} for index in range(70)]
    values[3] = {"bytes": b"no image", "path": "broken.jpg"}
    values[4] = None
    pq.write_table(table(values, STRUCT), tmp_path / "x.parquet", row_group_size=20)
    result = purified(tmp_path / "x.parquet", tmp_path / "out")
    assert (result.parts, len(result.failures)) == (68, 1)
    assert "row 3" in result.failures[0][1]
    found = pq.read_table(tmp_path / "out" / "x.parquet")
    assert found.schema.metadata == {b"huggingface": b"{}"}
    assert found.column("label").to_pylist() == list(range(70))
    images = found.column("image").to_pylist()
    assert images[3] is None
    assert images[4] is None
    assert images[69]["path"] == "69.png"
    assert pixel(images[69]["bytes"]) == [255 - 69, 255, 0]


def made_of(values, tmp_path, kind=STRUCT):
    pq.write_table(table(values, kind), tmp_path / "x.parquet")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet")
    return result, pq.read_table(tmp_path / "y.parquet").column("image").to_pylist()


def test_parquet_rows_with_a_path_alone_fail(tmp_path):
    values = [
        {"bytes": encoded(1), "path": "a.jpg"},
        {"bytes": None, "path": "imgs/b.png"},
        {"bytes": None, "path": None},
    ]
    result, images = made_of(values, tmp_path)
    assert result.parts == 1
    [(_, reason)] = result.failures
    assert "row 1: only the path 'imgs/b.png' is stored" in reason
    assert "embed the images" in reason
    assert images[1] is None
    assert images[2] == values[2]


@pytest.mark.parametrize("path", ["", ".", "/", "..", "a/..", "\0"])
def test_parquet_rows_whose_path_names_no_file_keep_it(tmp_path, path):
    values = [{"bytes": encoded(1), "path": path}, {"bytes": encoded(2), "path": "b.jpg"}]
    result, images = made_of(values, tmp_path)
    assert (result.parts, result.failures) == (2, [])
    assert [image["path"].removesuffix(".png") for image in images] == [path, "b"]


def test_parquet_paths_of_another_type_are_kept(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.int64())])
    result, images = made_of([{"bytes": encoded(1), "path": 5}], tmp_path, kind)
    assert (result.parts, result.failures) == (1, [])
    assert images[0]["path"] == 5


def test_a_parquet_path_that_is_no_text_fails_its_row_only(tmp_path):
    ends = pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes())
    paths = pa.StringArray.from_buffers(2, ends, pa.py_buffer(b"\xffb"))  # no UTF-8
    content = pa.array([encoded(1), encoded(2)])
    given = pa.table({"image": pa.StructArray.from_arrays([content, paths], ["bytes", "path"])})
    pq.write_table(given, tmp_path / "x.parquet")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet")
    assert result.parts == 1
    assert "row 0: cannot process 'row-0'" in result.failures[0][1]
    images = pq.read_table(tmp_path / "y.parquet").column("image").to_pylist()
    assert images[0] is None
    assert images[1]["path"] == "b.png"


def test_a_broken_image_where_nothing_may_be_null(tmp_path):
    fields = [pa.field(name, kind, nullable=False) for name, kind in STRUCT_FIELDS]
    schema = pa.schema([pa.field("image", pa.struct(fields), nullable=False)])
    values = [{"bytes": b"no", "path": "a.png"}, {"bytes": encoded(1), "path": "b.png"}]
    given = pa.table([pa.array(values, pa.struct(fields))], schema=schema)
    pq.write_table(given, tmp_path / "x.parquet")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet")
    assert (result.parts, len(result.failures)) == (1, 1)
    images = pq.read_table(tmp_path / "y.parquet").column("image").to_pylist()
    assert images[0] == {"bytes": b"", "path": ""}


def test_parquet_of_bytes(tmp_path):
    schema = pa.schema([pa.field("picture", pa.binary(), nullable=False), ("n", pa.int64())])
    given = pa.table([[encoded(1), b"no"], [1, 2]], schema=schema)
    pq.write_table(given, tmp_path / "x.parquet", compression="none")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet")
    assert (result.parts, len(result.failures)) == (1, 1)
    found = pq.read_table(tmp_path / "y.parquet")
    assert found.schema == schema
    assert found.column("picture").to_pylist()[1] == b""
    assert pixel(found.column("picture").to_pylist()[0]) == [254, 255, 0]


@pytest.mark.parametrize(
    ("columns", "column", "words"),
    [
        ({"a": [b"x"], "b": [b"x"]}, None, "none was named"),
        ({"a": [b"x"]}, "b", "'b' was named"),
        ({"a": [1]}, None, "not there"),
    ],
)
def test_parquet_without_the_column(tmp_path, columns, column, words):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet", column=column)
    assert words in result.failures[0][1]
    assert not (tmp_path / "y.parquet").exists()


def test_a_broken_parquet_file(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then nothing PAR1")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet")
    assert "cannot read" in result.failures[0][1]


def test_a_full_disk_under_a_parquet_file_is_no_error_of_reading(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    pq.write_table(pa.table({"image": [encoded(1)]}), tmp_path / "x.parquet")
    result = purified(tmp_path / "x.parquet", tmp_path / "y.parquet")
    [(_, reason)] = result.failures
    assert "cannot read" not in reason
    assert f"No space left on device: '{tmp_path / 'y.parquet'}'" in reason


@pytest.mark.parametrize("name", ["b.tar.gz", "b.TGZ", "b.tar.zst", "photos.zip"])
def test_packed_archives_are_named_as_such(tmp_path, name):
    (tmp_path / name).write_bytes(b"packed")
    with pytest.raises(InputError, match="is a packed archive, which is not read; unpack it"):
        purified(tmp_path / name, tmp_path / "out")
    (tmp_path / "a.png").write_bytes(encoded(1))
    result = purified([tmp_path / name, tmp_path / "a.png"], tmp_path / "out")
    assert result.count("done") == 1
    assert "is a packed archive" in result.failures[0][1]


@pytest.mark.parametrize(
    ("option", "kind"), [({"column": "image"}, "a Parquet file"), ({"codec": "libx264"}, "a video")]
)
def test_options_of_files_that_are_no_source_are_refused(shard, tmp_path, option, kind):
    with pytest.raises(InputError, match=f"no source is {kind}; leave it out"):
        purified(shard, tmp_path / "out", **option)

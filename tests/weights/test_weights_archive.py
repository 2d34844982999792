import hashlib
import io
import tarfile
import zipfile

import pytest

from nrpurify.core.errors import WeightsError
from nrpurify.core.hashing import file_hash
from nrpurify.weights import archive

DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


def make_zip(path, name):
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr(name, DATA)
    return path


def make_tar(path, name, kind=tarfile.REGTYPE, link=""):
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.linkname = len(DATA), kind, link
        tar.addfile(info, io.BytesIO(DATA))
    return path


def test_file_hash(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(DATA)
    assert file_hash(file) == SHA256


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_extracts_one_member(tmp_path, make):
    pack = make(tmp_path / "pack", "a/b.pth")
    out = archive.extract_member(pack, "a/b.pth", SHA256, tmp_path / "out")
    assert out.read_bytes() == DATA


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../../evil.pth", "/tmp/evil.pth", "C:\\evil.pth"])
def test_a_name_in_the_archive_never_becomes_a_path(tmp_path, make, name):
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    pack = make(inner / "pack", name)
    before = set(tmp_path.rglob("*"))
    archive.extract_member(pack, name, SHA256, inner / "out")
    assert set(tmp_path.rglob("*")) - before == {inner / "out"}
    with pytest.raises(WeightsError, match="holds no file"):
        archive.extract_member(pack, "evil.pth", SHA256, inner / "other")


def test_links_are_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        pack = make_tar(tmp_path / "pack", "a.pth", kind, str(secret))
        with pytest.raises(WeightsError, match="not a regular file"):
            archive.extract_member(pack, "a.pth", SHA256, tmp_path / "out")


def test_size_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", len(DATA) - 1)
    pack = make_zip(tmp_path / "pack", "a.pth")
    with pytest.raises(WeightsError, match="larger than 6999 bytes"):
        archive.extract_member(pack, "a.pth", SHA256, tmp_path / "out")


def test_wrong_member_hash_names_both(tmp_path):
    pack = make_zip(tmp_path / "pack", "a.pth")
    with pytest.raises(WeightsError, match=f"sha256 {SHA256}; expected {'1' * 64}"):
        archive.extract_member(pack, "a.pth", "1" * 64, tmp_path / "out")


def test_not_an_archive(tmp_path):
    pack = tmp_path / "pack"
    pack.write_bytes(b"neither zip nor tar")
    with pytest.raises(WeightsError, match="not a readable archive"):
        archive.extract_member(pack, "a.pth", SHA256, tmp_path / "out")

"""Reading manifests: no line may lead out of the folder."""

import json

import pytest

from nrpurify.core.errors import InputError
from nrpurify.core.records import MANIFEST, OLD_MANIFEST, leads_out, read_records

HEAD = {"settings": {}, "versions": {}, "weights_sha256": {}}
OUTSIDE = [
    "/tmp/a.png",
    "../a.png",
    "a/../../b.png",
    "a/..",
    "..\\a.png",
    "a\\..\\..\\b.png",
    "\\a.png",
    "\\\\host\\share\\a.png",
    "C:a.png",
    "C:/a.png",
    "C:\\a.png",
    "",
    ".",
    "/",
    "a\0.png",
]


def write_lines(folder, *lines, name=MANIFEST):
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("output", OUTSIDE)
@pytest.mark.parametrize("fields", [{"run": "x"}, {"removed": True}])
@pytest.mark.parametrize("name", [MANIFEST, "manifest-0-of-2.jsonl"])
def test_outputs_that_lead_out_are_refused(tmp_path, output, fields, name):
    head = {"id": "x", **HEAD}
    write_lines(tmp_path, head, {"output": output, **fields}, name=name)
    with pytest.raises(InputError) as caught:
        read_records(tmp_path)
    message = str(caught.value)
    assert f"{str(tmp_path / name)!r}, line 2: the output {output!r} may lead out" in message
    assert "expected a path below it" in message


@pytest.mark.parametrize("output", OUTSIDE)
def test_outputs_in_the_manifest_of_the_first_version(tmp_path, output):
    found = {**HEAD, "files": {"a.png": {}, output: {}}}
    (tmp_path / OLD_MANIFEST).write_text(json.dumps(found))
    with pytest.raises(InputError, match="may lead out of the folder"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "output", ["a.png", "a/b.png", "..a.png", "a../b..png", "a\\b.png", "é.png"]
)
def test_outputs_below_the_folder_are_read(tmp_path, output):
    write_lines(tmp_path, {"id": "x", **HEAD}, {"output": output, "run": "x"})
    assert list(read_records(tmp_path).files) == [output]
    assert not leads_out(output)

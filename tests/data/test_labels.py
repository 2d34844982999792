import pytest

from nrpurify.core.errors import InputError
from nrpurify.data.labels import (
    LabeledImage,
    labeled_images,
    read_labeled_folder,
    read_labels_csv,
    read_targets_csv,
)

NEURIPS = "ImageId,URL,TrueLabel,TargetClass\nab12,http://x,389,963\ncd.34,http://y,1,1000\n"


@pytest.fixture
def table(tmp_path):
    def table(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding=encoding)
        return path

    return table


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_neurips_form_counts_from_one(table):
    path = table(NEURIPS)
    assert read_labels_csv(path) == {"ab12": 388, "cd.34": 0}
    assert read_targets_csv(path) == {"ab12": 962, "cd.34": 999}


def test_plain_form_counts_from_zero_and_drops_folder_and_suffix(table):
    path = table("image, label\nsub/a.JPG,0\nb.c.png,7\n\nd.e,2\n", encoding="utf-8-sig")
    assert read_labels_csv(path) == {"a": 0, "b.c": 7, "d.e": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na,1\n", r"line 1: header 'name,class' is unknown; expected .*image,label"),
        ("", "line 1"),
        ("image,label,label\na,1,2\n", "line 1: two columns are named 'label'"),
        ("image,label\n", "no line below the header"),
        ("image,label\na,1\nb,cat\n", "line 3: label 'cat' is not an integer"),
        ("image,label\na,1.0\n", "line 2: label '1.0'"),
        ("image,label\na\n", "line 2: label None"),
        ("image,label\na,-1\n", "line 2: label -1 is too small; this form counts from 0"),
        ("ImageId,TrueLabel\na,0\n", "line 2: label 0 is too small; this form counts from 1"),
        (f"image,label\na,{'9' * 400}\n", r"line 2: label '9{79}… is too large"),
        (
            f"image,label\na,{2**63}\n",
            "label '9223372036854775808' is too large; expected below",
        ),
        ("image,label\na," + "9" * 5000, "line 2: label '9{79}… is not an integer"),
        ("image,label\na.png,1\na.jpg,1\n", r"line 3: 'a\.jpg' came before"),
        ("image,label\n,1\n", "line 2: no image is named"),
        ('image,label\n"a"b,1\n', "cannot read the labels"),
    ],
)
def test_wrong_tables_name_file_and_line(table, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_labels_csv(table(text))
    assert "labels.csv" in str(error.value)


def test_targets_need_their_column(table):
    with pytest.raises(InputError, match="ImageId,TargetClass"):
        read_targets_csv(table("image,label\na,1\n"))


def test_missing_or_binary_tables(tmp_path, table):
    with pytest.raises(InputError, match="cannot read the labels"):
        read_labels_csv(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="cannot read the labels"):
        read_labels_csv(table("image,label\né,1\n", encoding="latin-1"))


def test_pairing_reports_what_has_no_partner(tmp_path, table):
    images = touch(tmp_path / "im", "a.png", "sub/b.jpg", "x.png", ".c.png")
    path = table("image,label\na,3\nb,5\nc,1\nd,1\ne,1\nf,1\n")
    pairs = labeled_images(images, path)
    assert pairs.items == [(images / "a.png", 3), (images / "sub/b.jpg", 5)]
    assert isinstance(pairs.items[0], LabeledImage)
    assert pairs.missing == ["c", "d", "e", "f"]
    assert pairs.unlabeled == [images / "x.png"]
    assert pairs.notes() == [
        "labels without an image (4): c, d, e, …",
        "images without a label (1): x.png",
    ]


def test_complete_pairing_has_no_notes(tmp_path, table):
    pairs = labeled_images(touch(tmp_path / "im", "a.png"), table("image,label\na,3\n"))
    assert pairs.notes() == []


def test_no_pair_at_all_is_an_error(tmp_path, table):
    with pytest.raises(InputError, match="none of the 1 images"):
        labeled_images(touch(tmp_path / "im", "b.png"), table("image,label\na,3\n"))


@pytest.mark.parametrize("twin", ["b/1.png", "a/1.jpg"])
def test_two_images_do_not_share_a_label(tmp_path, table, twin):
    for name in ("a/1.png", twin, "other/2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    with pytest.raises(InputError, match=r"would share the label of '1'; give them names"):
        labeled_images(tmp_path / "images", table("image,label\n1,0\n"))
    assert len(labeled_images(tmp_path / "images", table("image,label\n2,0\n")).items) == 1


def test_class_folders_are_numbered_in_order(tmp_path):
    folder = touch(
        tmp_path / "d", "dog/2.png", "cat/deep/1.png", "cat/n.txt", ".git/x.png", "0.png"
    )
    items, names = read_labeled_folder(folder)
    assert items == [(folder / "cat/deep/1.png", 0), (folder / "dog/2.png", 1)]
    assert names == {0: "cat", 1: "dog"}


def test_digit_folders_are_the_class(tmp_path):
    folder = touch(tmp_path / "d", "10/a.png", "007/b.png")
    items, names = read_labeled_folder(folder)
    assert items == [(folder / "007/b.png", 7), (folder / "10/a.png", 10)]
    assert names == {7: "007", 10: "10"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1/a.png", "01/b.png"], "same number"),
        (["a.png"], "no images in sub-folders"),
        (["cat/n.txt"], r"no images in sub-folders; .* or a table of labels \(--labels FILE.csv"),
    ],
)
def test_wrong_class_folders(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        read_labeled_folder(touch(tmp_path / "d", *files))


def test_class_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        read_labeled_folder(tmp_path / "absent")


def test_class_numbers_beyond_any_classifier_are_refused(tmp_path):
    touch(tmp_path, "1/a.png", f"{2**63}/b.png")
    with pytest.raises(InputError, match=r"'9223372036854775808' is too large a class number"):
        read_labeled_folder(tmp_path)


def test_entries_of_class_folders_that_cannot_be_used_are_given(tmp_path, table):
    folder = touch(tmp_path / "d", "0/a.png", "1/b.png")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.png").touch()
    (folder / "1" / "more").symlink_to(tmp_path / "more")
    (folder / "1" / "gone.png").symlink_to("nowhere")
    left_out = []
    items, _ = read_labeled_folder(folder, left_out=left_out)
    assert [(item.path.name, item.label) for item in items] == [
        ("a.png", 0),
        ("b.png", 1),
        ("c.png", 1),
    ]
    assert [left.path.name for left in left_out] == ["gone.png"]
    left_out.clear()
    paired = labeled_images(folder, table("image,label\na,3\n"), left_out=left_out)
    assert len(paired.unlabeled) == 2
    assert [left.path.name for left in left_out] == ["gone.png"]
    (folder / "2").symlink_to("nowhere")
    with pytest.raises(InputError, match="link to nothing"):
        read_labeled_folder(folder)


def test_images_beside_the_class_folders_are_named(tmp_path):
    folder = touch(tmp_path, "0/a.png", "1/b.png", "stray.png", "notes.txt")
    (folder / "gone.jpg").symlink_to("nowhere")  # by its name an image, and so no class
    left_out = []
    assert len(read_labeled_folder(folder, left_out=left_out)[0]) == 2
    assert [(left.path.name, left.lost) for left in left_out] == [
        ("stray.png", False),
        ("gone.jpg", True),
    ]


def test_folders_by_a_list_of_names(tmp_path, caplog):
    touch(tmp_path, "cat/a.png", "dog/b.png")
    names = tmp_path / "names.txt"
    names.write_text("zebra\ndog\n cat \n\n", encoding="utf-8-sig")
    with caplog.at_level("INFO", logger="nrpurify"):
        items, found = read_labeled_folder(tmp_path, names)
        assert not caplog.messages
        assert read_labeled_folder(tmp_path)[1] == {0: "cat", 1: "dog"}
    assert "(0 is cat, 1 is dog); --classes FILE" in caplog.text
    assert found == {1: "dog", 2: "cat"}
    assert [item.label for item in items] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\n", "1 of the 2 sub-folders of .* are not in .*names.txt', such as cat"),
        ("cat\n\ndog\n", "line 2: no name"),
        ("cat\ncat\n", "line 2: 'cat' came before in line 1"),
    ],
)
def test_wrong_lists_of_names(tmp_path, text, message):
    touch(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_labeled_folder(tmp_path, tmp_path / "names.txt")
    with pytest.raises(InputError, match="cannot read the class names"):
        read_labeled_folder(tmp_path, tmp_path / "nothere")

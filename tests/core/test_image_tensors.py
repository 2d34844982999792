import pytest
import torch
from safetensors.torch import save_file

from nrpurify.core.errors import ImageError, InputError
from nrpurify.core.image_files import image_tensor_path
from nrpurify.core.image_tensors import load_image_tensor, save_image_tensor


def test_values_come_back_unrounded(tmp_path):
    image = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    file = image_tensor_path(tmp_path / "a.b.png")
    save_image_tensor(file, image)
    assert file.name == "a.b.safetensors"
    assert torch.equal(load_image_tensor(file), image)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (torch.rand(1, 3, 4, 4), r"shape \(1, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "uint8"),
        (torch.full((3, 2, 2), 1.5), "to 1.5"),
        (torch.full((3, 2, 2), torch.nan), "nan"),
    ],
)
def test_what_is_no_image_is_neither_written_nor_read(tmp_path, image, match):
    with pytest.raises(InputError, match=match):
        save_image_tensor(tmp_path / "a.safetensors", image)
    assert not list(tmp_path.iterdir())
    save_file({"image": image}, tmp_path / "b.safetensors")
    with pytest.raises(ImageError, match=match):
        load_image_tensor(tmp_path / "b.safetensors")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no such thing")
    save_file({"other": torch.rand(3, 2, 2)}, tmp_path / "b.safetensors")
    for name in ("a", "b", "missing"):
        with pytest.raises(ImageError, match=f"{name}.safetensors"):
            load_image_tensor(tmp_path / f"{name}.safetensors")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot write"):
        save_image_tensor(tmp_path / "file" / "a.safetensors", torch.rand(3, 2, 2))

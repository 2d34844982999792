"""What happens to images that nobody attacks."""

import torch

from nrpurify.core.images import write_png
from nrpurify.core.random import seeded
from nrpurify.training.benign_augment import CONTRASTS, benign_crops, degrade, retouch
from nrpurify.training.photos import KERNELS, read_resized, split_photos


def textured(count, side=24):
    torch.manual_seed(0)
    return torch.rand(count, 3, side, side) * 0.2 + 0.4


def detail(images):
    return (images - images.mean((2, 3), keepdim=True)).std((1, 2, 3))


def test_kernels_differ(photo_folder):
    photo = split_photos(photo_folder, 0)[0][0]
    found = [read_resized(photo, 20, kernel) for kernel in KERNELS]
    assert torch.equal(found[0], read_resized(photo, 20))
    assert len({tuple(image.flatten().tolist()) for image in found}) == len(KERNELS)


def test_crops_are_seeded_and_of_all_kernels(tmp_path):
    torch.manual_seed(0)
    photo = tmp_path / "square.png"
    write_png(photo, torch.rand(3, 40, 40))
    crops = benign_crops([photo], 16, 20, (20, 20), seeded(1))
    assert torch.equal(crops, benign_crops([photo], 16, 20, (20, 20), seeded(1)))
    whole = [read_resized(photo, 20, kernel) for kernel in KERNELS]
    found = {next(i for i, image in enumerate(whole) if torch.equal(image, crop)) for crop in crops}
    assert found == set(range(len(KERNELS)))


def test_retouching_changes_some_and_leaves_others():
    images = textured(60)
    found = retouch(images, seeded(1))
    assert torch.equal(found, retouch(images, seeded(1)))
    assert found.min() >= 0
    assert found.max() <= 1
    factor = detail(found) / detail(images)
    same = (found == images).flatten(1).all(1)
    assert 10 < same.sum() < 40
    assert (factor > CONTRASTS[1]).any()
    assert (factor < 1).any()
    gray = (found - found.mean(1, keepdim=True)).abs().amax((1, 2, 3))
    assert (gray < 0.2 * (images - images.mean(1, keepdim=True)).abs().max()).any()


def test_degrading_is_seeded_slight_and_in_steps_of_8_bits():
    torch.manual_seed(0)
    images = torch.rand(24, 3, 1, 1).expand(-1, -1, 24, 24) * 0.8 + 0.1
    found = degrade(images, seeded(1))
    assert torch.equal(found, degrade(images, seeded(1)))
    torch.testing.assert_close(found * 255, (found * 255).round(), atol=1e-3, rtol=0)
    assert (found - images).abs().max() < 30 / 255
    noisy = (found - images).std((1, 2, 3)) > 0.6 / 255
    assert 0 < noisy.sum() < 24

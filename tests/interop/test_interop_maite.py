import numpy as np
import pytest
import torch

from nrpurify import protect
from nrpurify.core.errors import InputError
from nrpurify.interop import MaiteAugmentation, MaiteClassifier
from nrpurify.interop.pictures import defend_picture

protocols = pytest.importorskip("maite.protocols")
tasks = pytest.importorskip("maite.tasks")
from maite.protocols import image_classification, object_detection  # noqa: E402

NAMES = dict(enumerate("abcde"))


class Data:
    """Three labeled 3×16×16 images."""

    def __init__(self, images):
        self.metadata = {"id": "small", "index2label": NAMES}
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index].numpy(), np.eye(5, dtype=np.float32)[index], {"id": index}


class Agreement:
    """The share of images whose most probable class is their own."""

    def __init__(self):
        self.metadata = {"id": "agreement"}
        self.reset()

    def reset(self):
        self.right = self.total = 0

    def update(self, predictions, targets, metadata):
        for answer, target in zip(predictions, targets, strict=True):
            self.right += int(np.argmax(answer) == np.argmax(target))
            self.total += 1

    def compute(self):
        return {"agreement": self.right / self.total}


def test_evaluate_with_a_model_and_an_augmentation(classifier, defense, images):
    bare = MaiteClassifier(classifier, id="bare", index2label=NAMES)
    protected = MaiteClassifier(protect(classifier, defense), id="protected")
    augmentation = MaiteAugmentation(defense, id="smooth")
    assert isinstance(bare, image_classification.Model)
    assert isinstance(augmentation, image_classification.Augmentation)
    assert isinstance(augmentation, object_detection.Augmentation)
    assert augmentation.metadata["id"] == "smooth"
    outcomes = [
        tasks.evaluate(
            model=model, dataset=Data(images), metric=Agreement(), batch_size=2,
            augmentation=step, return_preds=True,
        )
        for model, step in ((bare, None), (bare, augmentation), (protected, None))
    ]  # fmt: skip
    plain, augmented, inside = (np.concatenate(found) for _, found, _ in outcomes)
    np.testing.assert_allclose(augmented, inside, atol=1e-6)
    assert np.abs(plain - inside).max() > 1e-4
    logits = classifier.eval()(images)
    np.testing.assert_allclose(plain, logits.detach().softmax(1).numpy(), atol=1e-6)
    expected = (logits.argmax(1) == torch.arange(3)).float().mean().item()
    assert outcomes[0][0]["agreement"] == pytest.approx(expected)


def test_images_of_other_sizes_and_8_bits(defense):
    model = MaiteClassifier(lambda x: x.mean((2, 3)), id="mean")
    pixels = np.arange(3 * 6 * 5, dtype=np.uint8).reshape(3, 6, 5)
    bytes_, floats = model([pixels, torch.from_numpy(pixels[:, :4] / np.float32(255))])
    assert bytes_.shape == floats.shape == (3,)
    assert bytes_.dtype == np.float32
    assert bytes_.sum() == pytest.approx(1)
    augmentation = MaiteAugmentation(defense)
    assert augmentation.metadata["id"] == "nrpurify Smooth"
    found, targets, _ = augmentation(([pixels], ["any target"], [{"id": 1}]))
    assert np.array_equal(found[0], defend_picture(defense, pixels))
    assert targets == ["any target"]
    with pytest.raises(InputError, match="divide uint8 values by 255"):
        augmentation(([pixels.astype(np.float32)], [0], [{"id": 1}]))


def test_the_default_name_is_the_spec():
    assert MaiteAugmentation("median:size=5").metadata == {"id": "nrpurify median:size=5"}

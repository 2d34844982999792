"""transformers: processors, pipelines and CLIP, with random weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from nrpurify import protect
from nrpurify.core.errors import InputError
from nrpurify.interop import PurifyingProcessor
from nrpurify.interop.pictures import defend_picture

transformers = pytest.importorskip("transformers")
SIDE = 16
SMALL = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 4,
}


@pytest.fixture
def processor():
    return transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE})


@pytest.fixture
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_processor_that_purifies_first(processor, defense, picture):
    purifying = PurifyingProcessor(processor, defense)
    clean = defend_picture(defense, picture)
    expected = processor(clean, return_tensors="pt")["pixel_values"]
    pixels = np.asarray(picture)
    for given in (picture, pixels, torch.from_numpy(pixels.copy()).permute(2, 0, 1)):
        found = purifying(given, return_tensors="pt")["pixel_values"]
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    several = purifying(images=[picture, picture], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(several[1:], expected)
    assert not torch.allclose(processor(picture, return_tensors="pt")["pixel_values"], expected)
    assert purifying.image_mean == processor.image_mean
    with pytest.raises(InputError, match=r"the text 'cat.jpg'; expected a loaded image"):
        purifying("cat.jpg")
    torch.testing.assert_close(
        purifying.preprocess(picture, return_tensors="pt")["pixel_values"], expected
    )


class Chat:
    """As a processor of images, text and videos; it returns the images that it was given."""

    def __init__(self, image_processor):
        self.image_processor = image_processor

    def __call__(self, images=None, text=None, videos=None):
        return images

    def apply_chat_template(self, messages):
        return self(images=[message["image"] for message in messages], text="")


def test_no_way_around_the_defense(processor, defense, picture):
    purifying, clean = (
        PurifyingProcessor(Chat(processor), defense),
        defend_picture(defense, picture),
    )
    assert purifying.apply_chat_template([{"image": picture}]) == [clean] == purifying([picture])
    found = purifying.image_processor(picture)["pixel_values"][0]
    assert np.array_equal(found, processor(clean)["pixel_values"][0])
    with pytest.raises(InputError, match="videos= would pass undefended"):
        purifying(text="what is it?", videos=[picture])
    assert not hasattr(purifying, "preprocess")


@pytest.mark.filterwarnings("default")
def test_a_pipeline(processor, defense, picture):
    torch.manual_seed(0)
    config = transformers.ViTConfig(num_labels=3, **SMALL)
    model = transformers.ViTForImageClassification(config).eval()
    answers = [
        transformers.pipeline(
            "image-classification", model=model, image_processor=used, device="cpu"
        )(given)
        for used, given in (
            (PurifyingProcessor(processor, defense), picture),
            (processor, defend_picture(defense, picture)),
            (processor, picture),
        )
    ]
    assert answers[0] == answers[1] != answers[2]


def test_protect_in_front_of_image_encoders(defense, images):
    torch.manual_seed(0)
    mean = {"mean": 0.5, "std": 0.25}
    vision = transformers.CLIPVisionConfig(projection_dim=6, **SMALL)
    encoder = transformers.CLIPVisionModelWithProjection(vision).eval()
    normalized = (images - 0.5) / 0.25
    expected = encoder((defense(images) - 0.5) / 0.25).image_embeds
    protected = protect(encoder, defense, images="normalized", **mean)
    torch.testing.assert_close(protected(pixel_values=normalized).image_embeds, expected)
    torch.testing.assert_close(protect(encoder, defense, **mean)(images).image_embeds, expected)
    gradient = images.clone().requires_grad_()
    protect(encoder, defense, **mean)(gradient).image_embeds.sum().backward()
    assert gradient.grad.abs().sum() > 0


def test_protect_clip_with_text(defense, images):
    torch.manual_seed(0)
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "vocab_size": 9, "eos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=SMALL, projection_dim=6)
    clip = transformers.CLIPModel(config).eval()
    words = torch.tensor([[0, 3, 4, 2], [0, 5, 6, 2]])
    normalized = (images - 0.5) / 0.25
    defended = (defense(images) - 0.5) / 0.25
    settings = {"mean": 0.5, "std": 0.25, "images": "normalized", "input": "pixel_values"}
    found = protect(clip, defense, **settings)(input_ids=words, pixel_values=normalized)
    expected = clip(input_ids=words, pixel_values=defended)
    torch.testing.assert_close(found.logits_per_image, expected.logits_per_image)
    features = protect(clip.get_image_features, defense, **settings)(pixel_values=normalized)
    assert_same(features, clip.get_image_features(pixel_values=defended))


def assert_same(found, expected):
    """Features are a tensor in transformers 4 and an output with the tensor in 5."""
    found, expected = (getattr(one, "pooler_output", one) for one in (found, expected))
    torch.testing.assert_close(found, expected)

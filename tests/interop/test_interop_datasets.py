"""A column of images through ``map`` and ``set_transform`` of datasets."""

import numpy as np
import pytest
from PIL import Image

from nrpurify.core.errors import InputError
from nrpurify.interop import PurifyExamples
from nrpurify.interop.pictures import defend_picture

datasets = pytest.importorskip("datasets")


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (9, 8 + k, 3), dtype=np.uint8)) for k in range(3)]


@pytest.fixture
def data(pictures):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    columns = {"image": [*pictures, None], "label": [0, 1, 2, 3]}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("settings", [{"batched": True, "batch_size": 3}, {"batched": False}])
def test_map(data, pictures, settings):
    purify = PurifyExamples("median")
    found = data.map(purify, **settings)
    assert found.features["image"] == data.features["image"]
    for index, picture in enumerate(pictures):
        expected = defend_picture(purify.defense, picture)
        assert np.array_equal(np.asarray(found[index]["image"]), np.asarray(expected))
    assert found[3] == {"image": None, "label": 3}


def test_transform_on_access(data, pictures):
    purify = PurifyExamples("median")
    found = data.with_transform(purify)[1]["image"]
    assert np.array_equal(
        np.asarray(found), np.asarray(defend_picture(purify.defense, pictures[1]))
    )


def test_the_cache_of_map_tells_settings_apart():
    from datasets.fingerprint import Hasher

    hashes = [Hasher.hash(PurifyExamples(f"median:size={size}")) for size in (3, 3, 5)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_column_has_to_be_named():
    with pytest.raises(InputError, match="no column 'image' among photo, label; give column="):
        PurifyExamples("median")({"photo": [], "label": []})

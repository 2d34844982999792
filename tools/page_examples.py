"""Make the example photographs of the service's page from those that scikit-image ships.

All may be used freely; their sources are in the page's examples/SOURCES.md.
"""

from pathlib import Path

import skimage.data
from PIL import Image

FOLDER = Path(__file__).parent.parent / "src/nrpurify/serving/page/examples"
PHOTOS = {
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "astronaut": "astronaut.png",
}
SIDE = 300


def main() -> None:
    for name, source in PHOTOS.items():
        picture = Image.open(Path(skimage.data.__file__).parent / source).convert("RGB")
        scale = SIDE / min(picture.size)
        size = (round(picture.width * scale), round(picture.height * scale))
        resized = picture.resize(size, Image.Resampling.LANCZOS)
        resized.save(FOLDER / f"{name}.webp", quality=88, method=6)


if __name__ == "__main__":
    main()

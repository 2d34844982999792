"""Draw the README's picture: clean | attacked | purified, with the answers of three victims.

The photographs ship with scikit-image; both are CC0: Chelsea (Stefan van der Walt) and a coffee cup
(Rachel Michetti).
"""

import argparse
from pathlib import Path

import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

import nrpurify
from nrpurify import models
from nrpurify.core.images import from_uint8, load_batch, to_picture, to_uint8

PHOTOS = {"chelsea.png": "Egyptian cat", "coffee.png": "espresso"}
VICTIMS = {f"EfficientNet-Lite{size}": f"efficientnet_lite{size}" for size in range(3)}
SIDE, GAP, LINE = 224, 8, 18
RIGHT, WRONG, INK = (20, 110, 40), (180, 20, 30), (30, 30, 30)


def versions_of(images: torch.Tensor) -> dict[str, torch.Tensor]:
    extractor = nrpurify.feature_extractor("vgg16", "conv3_3")
    generator = torch.Generator().manual_seed(0)
    attacked = nrpurify.ssp(extractor, images, eps=16 / 255, steps=10, generator=generator)
    attacked = from_uint8(to_uint8(attacked))
    purified = nrpurify.load_purifier("fast").purify(attacked)
    return {"clean": images, "attacked": attacked, "purified": purified}


@torch.no_grad()
def answers_to(images: torch.Tensor) -> list[list[tuple[str, str, float]]]:
    names = models.imagenet_classes()
    answers: list[list[tuple[str, str, float]]] = [[] for _ in images]
    for title, name in VICTIMS.items():
        shares, classes = models.load_classifier(name).eval()(images).softmax(1).max(1)
        for row, (share, index) in enumerate(zip(shares.tolist(), classes.tolist(), strict=True)):
            answers[row].append((title, names[index], share))
    return answers


def draw(versions: dict[str, torch.Tensor]) -> Image.Image:
    block = SIDE + len(VICTIMS) * LINE + GAP
    width = len(versions) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, LINE + GAP + len(PHOTOS) * block + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, (title, images) in enumerate(versions.items()):
        left = GAP + column * (SIDE + GAP)
        pen.text((left, GAP // 2), title, INK, ImageFont.load_default(15))
        for row, answers in enumerate(answers_to(images)):
            top = LINE + GAP + row * block
            sheet.paste(to_picture(images[row]), (left, top))
            for line, (victim, answer, share) in enumerate(answers):
                color = RIGHT if answer == list(PHOTOS.values())[row] else WRONG
                text = f"{victim}: {answer} {share:.0%}"
                pen.text((left, top + SIDE + 2 + line * LINE), text, color, font)
                print(f"{list(PHOTOS)[row]}, {title}, {text}")
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/purified.webp"))
    args = parser.parse_args()
    folder = Path(skimage.data.__file__).parent
    images = load_batch([folder / name for name in PHOTOS], SIDE, crop=True)
    draw(versions_of(images)).save(args.out, quality=90, method=6)
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

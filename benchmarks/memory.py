"""Peak resident memory and time of purifying one large photograph, in a fresh process."""

import argparse
import resource
import time

import torch

from nrpurify.purifiers import Card, Purifier, build_purifier, load_purifier, shipped
from nrpurify.purifiers.purifier import TILE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--purifier", default="fast")
    parser.add_argument("--tile", type=int, default=TILE)
    args = parser.parse_args()
    name = args.purifier
    purifier: Purifier = load_purifier(name) if name in shipped() else build_purifier(name)
    card: Card = purifier.card
    start = time.perf_counter()
    image = torch.rand(1, 3, args.height, args.width)
    purifier.purify(image, tile=args.tile)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    megapixels = args.height * args.width / 1e6
    print(f"{card.name}: {megapixels:.1f} megapixels, peak {peak:.0f} MiB, {seconds:.1f} s")


if __name__ == "__main__":
    main()

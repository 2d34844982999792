"""Steps of training beside Algorithm 2 written plainly: fresh adversaries at each step, fp32.

Both train the same network with the same two losses on crops of 128 pixels, made by SSP with 10
iterations. Ours keeps adversaries and uses each one 12 times with other augmentation, as the recipe
``fast`` does; their making is part of its time. There is no discriminator on either side.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import Bench, arguments
from torch import Tensor
from torch.nn import functional as F

from nrpurify.models.features import feature_extractor
from nrpurify.purifiers import build_purifier
from nrpurify.training.purifier_recipe import Recipe
from nrpurify.training.purifier_trainer import PurifierTrainer

EPS, STEP, ITERATIONS, CROP, REUSE = 16 / 255, 0.01, 10, 128, 12
PLAIN_STEPS = 3


def recipe(batch: int, steps: int) -> Recipe:
    return Recipe.from_dict(
        {
            "purifier": "fast",
            "steps": steps,
            "batch": batch,
            "crop": CROP,
            "adversaries": [
                {"layers": ["conv3_3"], "steps": [ITERATIONS, ITERATIONS], "step_sizes": [STEP]}
            ],
            "cache": {"shards": 1, "shard_size": batch * steps // REUSE, "crop": CROP},
            "losses": {
                "features": [{"network": "vgg16", "layers": ["conv3_3"], "weight": 1}],
                "pixel": 20,
                "adversarial": 0,
            },
        }
    )


class Plain:
    """The same training without any of our shortcuts."""

    def __init__(self, photos: list[Path], batch: int) -> None:
        self.photos, self.batch = photos, batch
        self.network = build_purifier("fast").network.train()
        self.extractor = feature_extractor("vgg16", "conv3_3")
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.random = np.random.default_rng(0)

    def crops(self) -> Tensor:
        found = []
        for index in self.random.integers(len(self.photos), size=self.batch):
            with Image.open(self.photos[index]) as photo:
                x, y = (int(self.random.integers(side - CROP)) for side in photo.size)
                pixels = np.asarray(photo.crop((x, y, x + CROP, y + CROP)).convert("RGB"))
            found.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)
        return torch.stack(found)

    def step(self) -> None:
        clean = self.crops()
        target = self.extractor(clean)[0].detach()
        attacked = (clean + torch.empty_like(clean).uniform_(-EPS, EPS)).clamp(0, 1)
        for _ in range(ITERATIONS):
            attacked.requires_grad_(True)
            distance = F.l1_loss(self.extractor(attacked)[0], target)
            (gradient,) = torch.autograd.grad(distance, attacked)
            attacked = attacked.detach() + STEP * gradient.sign()
            attacked = (clean + (attacked - clean).clamp(-EPS, EPS)).clamp(0, 1)
        purified = self.network(attacked)
        features = F.l1_loss(self.extractor(purified)[0], target)
        loss = features + 20 * F.l1_loss(purified, clean)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12, help="of ours")
    args = parser.parse_args()
    bench = Bench("training", args)
    with tempfile.TemporaryDirectory() as name:
        photos = [Path(name, f"{index}.jpg") for index in range(32)]
        random = np.random.default_rng(0)
        for photo in photos:
            small = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
            Image.fromarray(small).resize((480, 320)).save(photo, quality=90)
        plain = Plain(photos, args.batch)
        runs = 0

        def ours() -> float:
            nonlocal runs
            runs += 1
            start = time.perf_counter()
            folder = Path(name, f"run-{runs}")
            trainer = PurifierTrainer(
                recipe(args.batch, args.steps), photos, folder, torch.device("cpu")
            )
            for _ in range(args.steps):
                trainer.train_step()
            return (time.perf_counter() - start) / args.steps

        def theirs() -> float:
            start = time.perf_counter()
            for _ in range(PLAIN_STEPS):
                plain.step()
            return (time.perf_counter() - start) / PLAIN_STEPS

        case = f"one step of {args.batch} crops; ours of {args.steps}, with its adversaries"
        bench.row(case, {"nrpurify": ours, "Algorithm 2, plain": theirs})
        bench.write()


if __name__ == "__main__":
    main()

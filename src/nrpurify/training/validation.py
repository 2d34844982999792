"""Validation on held-out photos: fixed attacked images, the same in every run of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nrpurify.attacks.runner import AttackSpec
from nrpurify.core.files import atomic_path
from nrpurify.core.groups import GROUP
from nrpurify.core.images import from_uint8, to_uint8
from nrpurify.models.feature_distances import feature_distance
from nrpurify.models.features import feature_extractor
from nrpurify.training.adversaries import check_pair
from nrpurify.training.adversary_config import Adversary
from nrpurify.training.photos import center_crops
from nrpurify.training.purifier_recipe import Recipe
from nrpurify.training.run_folder import MADE_AGAIN, readable, writable


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of N images in [0, 1], N values."""
    return -10 * (a - b).square().flatten(1).mean(1).clamp_min(1e-10).log10()


@dataclass
class Validator:
    """Measures a purifier on held-out photos.

    Attributes:
        recipe: Its validation, eps and first adversary by features (else the paper's) are used.
        photos: Held-out photos.
        file: Where the attacked images are kept between runs.
        device: Where to work.
    """

    recipe: Recipe
    photos: list[Path]
    file: Path
    device: torch.device

    def __post_init__(self) -> None:
        from nrpurify.models import load_classifier

        kinds = [kind for kind in self.recipe.adversaries if kind.kind == "features"]
        first = kinds[0] if kinds else Adversary()
        self.extractor = feature_extractor(first.network, first.layers[0]).to(self.device)
        victim = self.recipe.validation.victim
        self.victim = load_classifier(victim).to(self.device) if victim else None
        if not self.file.exists():
            self._attack()
        with readable(self.file, MADE_AGAIN):
            tensors = load_file(self.file)
            self.clean, self.attacked = (from_uint8(tensors[k]) for k in ("clean", "attacked"))
            check_pair(self.clean, self.attacked)

    def _attack(self) -> None:
        plan = self.recipe.validation
        clean = center_crops(self.photos[: plan.photos], plan.side)
        spec = AttackSpec(
            "ssp", eps=self.recipe.eps, preset="authors", settings={"steps": plan.steps}
        )
        runner = spec.runner(
            self.extractor,
            group=GROUP,
            seed=self.recipe.seed,
            amp=self.recipe.optimization.amp,
        )
        parts = [runner(part.to(self.device)).cpu() for part in torch.split(clean, GROUP)]
        tensors = {"clean": to_uint8(clean), "attacked": to_uint8(torch.cat(parts)).contiguous()}
        with writable(self.file), atomic_path(self.file) as temporary:
            save_file(tensors, temporary)

    @torch.no_grad()
    def __call__(self, purifier: nn.Module) -> dict[str, float]:
        """Means over the held-out photos.

        ``feature_attacked`` and ``feature_purified``: MAE of features to the clean ones.
        ``psnr_*`` in dB. ``agree_*``: share of photos on which the victim says what it says of
        the clean photo. ``purified_clean`` is the purified clean photo. Enlarged photos are resized
        back first.
        """
        rows: list[dict[str, Tensor]] = []
        for clean, attacked in zip(
            torch.split(self.clean, 8), torch.split(self.attacked, 8), strict=True
        ):
            clean, attacked = clean.to(self.device), attacked.to(self.device)
            views = {
                "attacked": attacked,
                "purified": _same_size(purifier(attacked), clean),
                "purified_clean": _same_size(purifier(clean), clean),
            }
            rows.append(self._measure(clean, views))
        return {key: float(torch.cat([row[key] for row in rows]).mean()) for key in rows[0]}

    def _measure(self, clean: Tensor, views: dict[str, Tensor]) -> dict[str, Tensor]:
        reference = self.extractor(clean)
        label = self.victim(clean).argmax(1) if self.victim else None
        row: dict[str, Tensor] = {}
        for name, view in views.items():
            row[f"feature_{name}"] = feature_distance(self.extractor(view), reference)
            row[f"psnr_{name}"] = psnr(view, clean)
            if self.victim and label is not None:
                row[f"agree_{name}"] = (self.victim(view).argmax(1) == label).float()
        return row


def _same_size(purified: Tensor, clean: Tensor) -> Tensor:
    purified = purified.clamp(0, 1)
    if purified.shape == clean.shape:
        return purified
    size = clean.shape[2:]
    return F.interpolate(purified, size, mode="bilinear", antialias=True, align_corners=False)

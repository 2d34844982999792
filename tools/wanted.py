"""The table of docs/results.md: what was wanted of the shipped purifiers, and what they reach."""

from __future__ import annotations

from collections.abc import Sequence

import joined_tables
import kept_results
import tables

FAST = "fast"
LITES, XCEPTION = "efficientnet_lite", "xception"
ENSEMBLE = "SqueezeNet + MobileNetV1"
TRANSFERS = ("fgsm", "fgsm-ti", "dim", "mi-fgsm", "mi-fgsm-ti", "dim-ti")
HARD = ("fgsm", "mi-fgsm", "dim", "dim-ti")


def clean_cost(victims: str) -> str:
    """Points of clean accuracy."""
    bare, behind = (tables.value("results", "clean", one, victims) for one in ("none", FAST))
    return tables.number(bare - behind)


def kept(victims: str, attack: str) -> str:
    """Accuracy behind ``fast`` under SSP, of the undefended clean accuracy."""
    attacked = tables.value("results", f"{attack}, VGG16", FAST, victims)
    return f"{100 * attacked / tables.value('results', 'clean', 'none', victims):.1f} %"


def factor(attacks: Sequence[str], surrogate: str, victims: str) -> str:
    """Mean success of attacks without and behind ``fast``, and the ratio."""
    rows = [f"{attack} 16, {surrogate}" for attack in attacks]
    bare, behind = (
        100 - sum(tables.value("results", row, one, victims) for row in rows) / len(rows)
        for one in ("none", FAST)
    )
    return f"{bare:.1f} → {behind:.1f}: {bare / behind:.2f}"


def share(result: str, images: str, victims: str, metric: str = "") -> float:
    """Percent of what an attack took that ``fast`` gives back."""
    clean, bare, behind = (
        tables.value(result, *at, victims, metric)
        for at in (("clean", "none"), (images, "none"), (images, FAST))
    )
    return 100 * (behind - bare) / (clean - bare)


def least_to_most(attacks: Sequence[str], surrogate: str, victims: str) -> str:
    """The least and the greatest share that ``fast`` gives back under several attacks."""
    shares = [share("results", f"{one} 16, {surrogate}", victims) for one in attacks]
    return f"{min(shares):.0f} to {max(shares):.0f} %"


def margin(images: str, result: str = "transformations", metric: str = "") -> float:
    """Points between ``fast`` and the best input transformation."""
    specs = {cell["defense"] for cell in kept_results.load(result)["cells"]}
    others = {spec for spec in specs if spec != "none" and spec.partition(":")[0] not in OWN}
    best = max(tables.value(result, images, spec, "", metric) for spec in others)
    return tables.value(result, images, FAST, "", metric) - best


OWN = (FAST, "tiny")
"""Purifiers; what else is measured is a transformation."""


def ahead() -> str:
    """Attacks under which ``fast`` is ahead of each transformation."""
    rows = [images for images in tables.rows("transformations") if images != "clean"]
    return f"{sum(margin(images) > 0 for images in rows)} of {len(rows)}"


def given_back(result: str, metric: str) -> str:
    """What a detector or segmenter gets back of what SSP and CDA took."""
    shares = [share(result, one, "", metric) for one in ("ssp 16, VGG16", "cda 16")]
    return ", ".join(f"{one:.0f} %" for one in shares)


def table() -> str:
    """What was wanted, the threshold, and a column for each family of victims."""
    both = (LITES, XCEPTION)
    rows = [["clean accuracy lost, points", "at most 2.0", *map(clean_cost, both)]]
    for attack, wanted in (("ssp 8", 95), ("ssp 16", 87), ("ssp of 100 steps 16", 87)):
        what = f"{attack.replace('ssp', 'SSP')}: share of undefended clean accuracy"
        rows.append([what, f"at least {wanted} %", *(kept(victims, attack) for victims in both)])
    for attacks, surrogate, wanted_factor in ((TRANSFERS, ENSEMBLE, 2.2), (HARD, "Lite0", 1.9)):
        found = [factor(attacks, surrogate, victims) for victims in both]
        what = f"success of {len(attacks)} attacks at 16, {surrogate}"
        rows.append([what, f"falls by {wanted_factor} times (Lites)", *found])
        found = [least_to_most(attacks, surrogate, victims) for victims in both]
        what = f"each of these {len(attacks)}: given back of what it took"
        rows.append([what, "at least 60 % (Xception)", *found])
    rows.append(["attacks with `fast` ahead of each transformation", "all", ahead(), ""])
    for images in ("ssp 4, VGG16", f"mi-fgsm 4, {ENSEMBLE}", "mi-fgsm 4, Lite0"):
        what = f"{images}: points ahead of the best"
        rows.append([what, "at least 3", tables.number(margin(images)), ""])
    for name, wanted, result, metric in (
        ("coco-ssd", 80, "detect-64", "mAP50"),
        ("SegNet-Basic", 90, "segment-117", "pixel accuracy"),
    ):
        what = f"{name}, SSP 16 and CDA 16: given back"
        rows.append([what, f"at least {wanted} %", given_back(result, metric), ""])
    points = tables.number(margin("cda 8", "detect-64", "mAP50"))
    rows.append(["coco-ssd, CDA 8: points ahead of the best", "more than 0", points, ""])
    for name, most in (("fast", "1.3"), ("tiny", "0.33")):
        taken = joined_tables.time_ratio(name, "8 × 224², bf16")
        rows.append([f"time of `{name}`, ResNet-50 = 1", f"at most {most} ×", taken, ""])
    return tables.markdown(["goal", "wanted", "EfficientNet-Lites", "Xception"], rows)

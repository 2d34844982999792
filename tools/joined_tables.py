"""Tables that join several results: the README's, and that of the purifiers."""

from __future__ import annotations

from kept_results import load
from tables import markdown, value

from nrpurify.purifiers import build_purifier, load_purifier, shipped

README_ROWS = {
    "clean": "clean",
    "SSP 16/255 on VGG16": "ssp 16, VGG16",
    "MI-FGSM 16/255 on SqueezeNet + MobileNetV1": "mi-fgsm 16, SqueezeNet + MobileNetV1",
    "DIM-TI 16/255 on the same": "dim-ti 16, SqueezeNet + MobileNetV1",
    "DIM-TI 16/255 on EfficientNet-Lite0": "dim-ti 16, Lite0",
    "MI-FGSM 4/255 on SqueezeNet + MobileNetV1": "mi-fgsm 4, SqueezeNet + MobileNetV1",
}
PURIFIERS = {
    "fast": "residual U-Net behind pixel-unshuffle 4, a shallow stage behind pixel-unshuffle 2, "
    "a gate",
    "tiny": "the U-Net alone, smaller, and a gate",
    "micro": "smaller still: what `tiny` grew from",
    "fast-rrdb": "4 RRDBs behind pixel-unshuffle",
    "resg": "an attacker's purifier of Table 3",
    "unet": "an attacker's purifier of Table 3",
    "nrp": "the paper's 23 RRDBs at full resolution",
}


def readme() -> str:
    """README's table: a part of ``results``, and the attacker who sees the purifier."""
    lines = []
    for heading, name in README_ROWS.items():
        line = [heading]
        for victims in ("efficientnet_lite", "xception"):
            bare, behind = (value("results", name, one, victims) for one in ("none", "fast"))
            line.append(_pair(bare, behind, strong=heading != "clean"))
        lines.append(line)
    name, eps, clean, *_, attacked = next(r for r in load("adaptive")["rows"] if r[0] == "fast")
    title = f"**APGD {eps}/255 through `{name}` (EfficientNet-Lite0, 100 images)**"
    lines.append([title, f"{clean:.1f} clean → **{attacked:.1f}**", ""])
    return markdown(["images and attack", "EfficientNet-Lite1/2/3, mean", "Xception"], lines)


def time_ratio(name: str, case: str) -> str:
    """Time of a purifier in ResNet-50's, in a case of ``speed``."""
    (sides,) = [row["sides"] for row in load("speed")["rows"] if row["case"] == case]
    return f"{sides[name]['median'] / sides['ResNet-50']['median']:.2f} ×"


def purifiers() -> str:
    """The designs, their parameters, and their time beside ResNet-50's in each precision."""
    lines = []
    for name, what in PURIFIERS.items():
        purifier = load_purifier(name) if name in shipped() else build_purifier(name)
        count = sum(weight.numel() for weight in purifier.parameters())
        ratios = [time_ratio(name, f"1 × 224², {precision}") for precision in ("fp32", "bf16")]
        shown = f"`{name}`" + ("" if name in shipped() else " (design)")
        lines.append([shown, what, f"{count / 1e6:.1f} M", *ratios])
    heads = ["purifier", "network", "parameters", "time for 224², ResNet-50 = 1, fp32", "bf16"]
    return markdown(heads, lines)


def _pair(bare: float, behind: float, strong: bool) -> str:
    text = f"{behind:.1f}"
    return f"{bare:.1f} → **{text}**" if strong and behind > bare else f"{bare:.1f} → {text}"

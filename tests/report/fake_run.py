"""A run of about 200 cells with numbers as they could be."""

import random

VICTIMS = ("efficientnet_lite0", "efficientnet_lite1", "squeezenet1_1", "mobilenet_v1_025")
BASE = dict(zip(VICTIMS, (0.85, 0.8, 0.65, 0.6), strict=True))
HELP = {"none": 0.0, "jpeg:quality=75": 0.3, "tvm:weight=30": 0.35, "rp:passes=30": 0.4}
HELP |= {"fast": 0.75, "jpeg:quality=75+fast": 0.7, "fast:mode=dynamic,seed=1": 0.72}
HARM = {"ssp": 0.85, "mi-fgsm": 0.7, "dim-ti": 0.8, "noise": 0.1}
OPTIMISM = {"BPDA": 0.35, "full gradient": 0.02, "EOT": 0.0, "score-based": 0.5}


def cell(number, **values):
    value = round(50 * min(max(values.pop("value"), 0), 1)) / 50
    spread = 0.12 * (1 - abs(value - 0.5))
    accuracy = values.get("metric", "accuracy") == "accuracy"
    made = {
        "id": f"c{number:03}",
        "task": "classify",
        "surrogate": None,
        "eps": None,
        "steps": None,
        "threat": "none",
        "draws": 1,
        "metric": "accuracy",
        "value": value,
        "interval": [max(0, value - spread), min(1, value + spread)],
        "n": 50,
        "success": 1 - value if accuracy else None,
        "conditional_success": None,
        "rounding": "uint8",
        "seconds": 1.5,
        "peak_memory_mb": 800.0,
        "seed": 0,
        "settings": {},
        "notes": [],
    }
    return {**made, **values}


def rows():
    """What is measured, with the value before noise."""
    for defense in HELP:
        for victim in VICTIMS:
            where = {"defense": defense, "victim": victim}
            base = BASE[victim]
            yield {**where, "attack": "clean", "value": base - 0.05 * HELP[defense]}
            for attack, harm in HARM.items():
                for eps in (16 / 255,) if attack != "ssp" else (2 / 255, 8 / 255, 16 / 255):
                    share = (eps * 255 / 16) ** 0.5 * harm * (1 - HELP[defense])
                    yield {
                        **where,
                        "attack": attack,
                        "threat": "oblivious transfer",
                        "surrogate": "efficientnet_lite0" if attack != "ssp" else "vgg16",
                        "eps": eps,
                        "steps": None if attack == "noise" else 10,
                        "value": base * (1 - share),
                    }


def adaptive():
    """White-box attacks on one victim."""
    where = {"victim": VICTIMS[0], "surrogate": VICTIMS[0], "eps": 16 / 255}
    for defense, help_ in HELP.items():
        for threat, optimism in OPTIMISM.items():
            draws = 30 if threat == "EOT" else 1
            for steps in (10, 100) if threat == "full gradient" else (40,):
                attack = "square" if threat == "score-based" else "pgd"
                value = 0.8 * optimism * (0.3 + help_) + (0.1 if steps == 10 else 0)
                yield {
                    **where,
                    "attack": attack,
                    "defense": defense,
                    "threat": threat,
                    "steps": steps,
                    "draws": draws,
                    "value": value,
                    "rounding": "float",
                }


def fake_run():
    """The RUN object."""
    noise = random.Random(0)
    measured = [*rows(), *adaptive()]
    cells = [
        cell(number, **{**row, "value": row["value"] + noise.uniform(-0.03, 0.03)})
        for number, row in enumerate(measured)
    ]
    return {
        "name": "small",
        "title": "Defenses against transfer and adaptive attacks",
        "created": "2026-01-31T12:00:00+00:00",
        "images": {"folder": "photos", "n": 50, "size": 224, "rule": "the first 50 by name"},
        "settings": {"batch": 10, "preset": "paper"},
        "versions": {"nrpurify": "0.1.0"},
        "weights_sha256": {"vgg16": "ab" * 32},
        "seed": 0,
        "cells": cells,
        "warnings": [
            {
                "kind": "single draw",
                "text": "fast:mode=dynamic,seed=1 is random but was judged on one draw",
                "cells": [c["id"] for c in cells if "dynamic" in c["defense"]],
            }
        ],
        "strips": [],
        "paper": [
            {"where": "Table 1", "row": "JPEG", "column": "DIM-TI", "value": 37.0,
             "metric": "success rate", "cells": [c["id"] for c in cells if c["attack"] == "dim-ti"
                                                 and c["defense"] == "jpeg:quality=75"]},
            {"where": "Table 1", "row": "NRP", "column": "DIM-TI", "value": 11.0,
             "metric": "success rate", "cells": [c["id"] for c in cells if c["attack"] == "dim-ti"
                                                 and c["defense"] == "fast"]},
            {"where": "Table 1", "row": "HGD", "column": "DIM-TI", "value": 38.3,
             "metric": "success rate"},
        ],
    }  # fmt: skip


def detection_cells():
    """mAP of one detector: another table."""
    return [
        cell(900 + i, task="detect", metric="mAP50", attack=attack, defense=defense, value=value,
             victim="coco-ssd", threat="none" if attack == "clean" else "oblivious transfer",
             eps=None if attack == "clean" else 16 / 255, interval=None)
        for i, (attack, defense, value) in enumerate(
            [("clean", "none", 0.6), ("clean", "fast", 0.56), ("ssp", "none", 0.1),
             ("ssp", "fast", 0.44)]
        )
    ]  # fmt: skip

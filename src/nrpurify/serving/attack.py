"""One bounded attack on an uploaded image, with progress and a way to stop it."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Resampling
from torch import Tensor

from nrpurify.attacks import ssp
from nrpurify.core.errors import InputError
from nrpurify.core.hashing import pixels_hash
from nrpurify.core.images import Image, as_floats, encode_png, from_uint8, to_picture, to_uint8
from nrpurify.core.random import derive_generator
from nrpurify.core.spec import parse_eps
from nrpurify.evaluation.cache import checked
from nrpurify.serving.answers import Attacked, Prediction, Progress
from nrpurify.serving.engine import Engine
from nrpurify.serving.problems import RequestError
from nrpurify.serving.settings import ServeSettings

ATTACK = "ssp"
KNOWS = (
    "The attacker here does not know of the purifier. An attacker who knows it and follows the "
    "gradient through it wins: such attacks bring the accuracy behind the shipped purifier to 0 %."
)
"""What every summary ends with."""


class AttackStoppedError(Exception):
    """Nobody waits for the attack any more."""


@dataclass
class AttackJob:
    """An attack that somebody waits for.

    Attributes:
        image: 3×H×W uint8, as :func:`reduced` made it.
        eps: Budget in units of [0, 1].
        steps: Iterations.
        purifier: One of the engine's.
        victims: Those of the engine whose predictions are wanted.
        tell: Called in the worker thread.
        stop: Set by whoever does not wait any more.
    """

    image: Tensor
    eps: float
    steps: int
    purifier: str
    victims: Sequence[str]
    tell: Callable[[Progress], None]
    stop: threading.Event = field(default_factory=threading.Event)

    def progress(self, stage: Any, step: int = 0) -> None:
        """Tell how far it is.

        Raises:
            AttackStoppedError: Nobody waits.
        """
        if self.stop.is_set():
            raise AttackStoppedError
        self.tell(Progress(stage=stage, step=step, steps=self.steps))


def read_eps(text: str, settings: ServeSettings) -> float:
    """A budget such as ``16/255`` within the server's limit.

    Raises:
        RequestError: 422.
    """
    try:
        eps = parse_eps(text, f"eps is {text[:40]!r}")
    except InputError as error:
        raise RequestError(422, str(error)) from None
    if eps > settings.max_eps + 1e-9:
        most = round(settings.max_eps * 255, 2)
        raise RequestError(422, f"eps is {text[:40]!r}; this server takes {most:g}/255 at most")
    return eps


def reduced(image: Image, settings: ServeSettings) -> Tensor:
    """3×H×W uint8 whose shorter side is ``attack_side`` pixels at most, without transparency.

    Raises:
        RequestError: 413 for an image that is still too large.
    """
    picture = to_picture(image.pixels)
    width, height = picture.size
    scale = min(1.0, settings.attack_side / min(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size[0] * size[1] > settings.attack_pixels:
        raise RequestError(
            413,
            f"the image is {width}×{height} pixels, too long and thin for an attack; cut it so "
            "that its longer side is at most 4 times the shorter one",
        )
    if scale < 1:
        picture = picture.resize(size, Resampling.BICUBIC)
    data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return data.view(size[1], size[0], 3).permute(2, 0, 1).contiguous()


def run_attack(engine: Engine, job: AttackJob) -> Attacked:
    """Attack, purify, and ask the victims about all three images.

    The attack is SSP's preset ``paper`` on VGG16's conv3_3, with the job's eps and steps. The
    result depends on the image, the settings and the server's seed alone.

    Raises:
        AttackStoppedError: Nobody waits for it any more.
    """
    begun = time.perf_counter()
    settings = engine.settings
    job.progress("attack")
    clean = from_uint8(job.image)[None].to(settings.device)
    made = ssp(
        engine.extractor,
        clean,
        eps=job.eps,
        steps=job.steps,
        generator=[derive_generator(settings.seed, "attack", pixels_hash(clean[0]))],
        amp=settings.amp,
        callback=lambda step, _: job.progress("attack", step),
    )
    attacked = to_uint8(checked(clean, made, job.eps, "uint8"))[0].cpu()
    job.progress("answers", job.steps)
    (purified,) = engine.purify(job.purifier, [Image(attacked, None, Path())])
    images = {
        "clean": job.image,
        "attacked": attacked,
        "purified": to_uint8(as_floats(purified.rgb)),
    }
    answers = {key: _predictions(engine, job, image) for key, image in images.items()}
    change = (attacked.int() - job.image.int()).abs().max()
    return Attacked(
        attack=ATTACK,
        eps=job.eps,
        steps=job.steps,
        purifier=job.purifier,
        width=job.image.shape[2],
        height=job.image.shape[1],
        difference=_base64(_difference(job.image, attacked, job.eps)),
        **{key: _base64(image) for key, image in images.items()},
        gate=purified.gate,
        largest_change=float(change),
        answers=answers,
        summary=summary(answers, job.eps, job.steps),
        seconds=round(time.perf_counter() - begun, 3),
    )


def _predictions(engine: Engine, job: AttackJob, image: Tensor) -> list[Prediction]:
    found = []
    for victim in job.victims:
        job.progress("answers", job.steps)
        ((prediction, _),) = engine.predict((victim, None), [Image(image, None, Path())])
        found.append(prediction)
    return found


def _difference(clean: Tensor, attacked: Tensor, eps: float) -> Tensor:
    return (0.5 + (from_uint8(attacked) - from_uint8(clean)) / (2 * eps)).clamp(0, 1)


def _base64(image: Tensor) -> str:
    return base64.b64encode(encode_png(image)).decode()


def summary(answers: dict[str, list[Prediction]], eps: float, steps: int) -> str:
    """What the pictures show, counted over the classifiers, and who wins in the end."""
    budget = f"{round(eps * 255, 2):g}/255"
    taken = f"{steps} step" if steps == 1 else f"{steps} steps"
    told = f"SSP with {taken} changed the image by at most {budget} in any color value."
    rows = [
        [prediction.classes[0].index for prediction in row]
        for row in zip(*(answers[key] for key in ("clean", "attacked", "purified")), strict=True)
        if row[0].classes
    ]
    if rows:
        lost = [row for row in rows if row[1] != row[0]]
        back = [row for row in lost if row[2] == row[0]]
        told += f" It changed the first answer of {len(lost) or 'none'} of {_count(len(rows))}."
        if lost:
            told += f" The purifier brought the clean answer back for {len(back)} of {len(lost)}."
        harmed = sum(row[1] == row[0] != row[2] for row in rows)
        if harmed:
            told += f" It changed {harmed} that the attack had not."
        told += " One image is an example, no measurement."
    return f"{told} {KNOWS}"


def _count(number: int) -> str:
    return f"{number} classifier" if number == 1 else f"{number} classifiers"

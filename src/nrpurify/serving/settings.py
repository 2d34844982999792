"""What a server was started with: its models by name, and its limits."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nrpurify.core.errors import InputError
from nrpurify.core.precision import Amp

TOKEN_VARIABLE = "NRPURIFY_SERVE_TOKEN"
"""Environment variable of the bearer token."""
_ALIAS = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)")
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Models by name, and limits.

    Attributes:
        purifiers: Specs that :func:`nrpurify.defenses.make` takes, by the names that requests use.
            The first is the default.
        victims: Classifiers that :func:`nrpurify.models.load_classifier` takes, or names of
            :func:`nrpurify.models.detectors.detector_names`, by the names that requests use.
        attack: Whether ``/v1/attack`` exists. It loads the features of VGG16.
        device: Where to work.
        amp: bf16 autocast: ``True``, ``False`` or ``"auto"``.
        tile: Side of the tiles in pixels that bound the memory of large images.
        seed: Of random defenses and of the attack.
        max_bytes: Largest upload.
        max_pixels: Largest image, height × width.
        small_pixels: Larger images have a thread of their own, so that small ones do not wait.
        upload_seconds: Longest time for an upload.
        answer_seconds: Longest time from the upload to the answer.
        places: Requests at work or waiting, and a quarter as many with large images; more get 503.
        waiting_pixels: Pixels of all images at work or waiting; more get 503.
        upload_memory: Bytes of all uploads in memory; more get 503.
        batch: Images of one size that go through the purifier together.
        batch_seconds: Longest time that an image waits for others of its size.
        attack_places: Attacks at work or waiting.
        attack_seconds: Longest time of an attack, waiting included.
        attack_side: Shorter side in pixels to which larger images are reduced before an attack.
        attack_pixels: Largest image after that.
        max_eps: Largest budget of an attack, in units of [0, 1].
        max_steps: Most steps of an attack.
        title: Shown on the page and in the API's description.

    Raises:
        InputError: No purifier, or a limit below its least value.
    """

    purifiers: Mapping[str, str]
    victims: Mapping[str, str]
    attack: bool = True
    device: str = "cpu"
    amp: Amp = "auto"
    tile: int = 512
    seed: int = 0
    max_bytes: int = 20 * 2**20
    max_pixels: int = 16_000_000
    small_pixels: int = 1_000_000
    upload_seconds: float = 30.0
    answer_seconds: float = 60.0
    places: int = 64
    waiting_pixels: int = 128_000_000
    upload_memory: int = 256 * 2**20
    batch: int = 1
    batch_seconds: float = 0.005
    attack_places: int = 4
    attack_seconds: float = 300.0
    attack_side: int = 224
    attack_pixels: int = 250_000
    max_eps: float = 32 / 255
    max_steps: int = 100
    title: str = "nrpurify"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.purifiers:
            raise InputError("no purifier was given; expected at least one, such as fast")
        if self.waiting_pixels < self.max_pixels:
            raise InputError(
                f"waiting_pixels is {self.waiting_pixels:,}; expected at least max_pixels, "
                f"{self.max_pixels:,}"
            )
        for name in ("max_bytes", "max_pixels", "places", "batch", "attack_places", "max_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1")

    def to_json(self) -> str:
        """For other processes, see :meth:`from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServeSettings:
        """What :meth:`to_json` wrote."""
        return cls(**json.loads(text))


def by_name(given: list[str], kind: str) -> dict[str, str]:
    """Specs by the names that requests use: ``NAME=SPEC``, or the spec as its own name.

    A file is named by its stem, so that no request or answer shows a path.

    Raises:
        InputError: Two of one name.
    """
    found: dict[str, str] = {}
    for text in given:
        alias = _ALIAS.fullmatch(text)
        name, spec = alias.groups() if alias else (_default_name(text), text)
        if name in found:
            raise InputError(
                f"--{kind} {text}: {name!r} is the name of {found[name]!r} already; give it "
                f"another one: --{kind} NAME={spec}"
            )
        found[name] = spec
    return found


def _default_name(spec: str) -> str:
    return Path(spec).stem if "/" in spec or Path(spec).is_file() else spec


def read_token(file: Path | None) -> str | None:
    """The bearer token: of a file, else of the environment; None if there is none.

    Raises:
        InputError: It is too short, or the file cannot be read.
    """
    if file is not None:
        try:
            token, source = file.read_text("utf-8").strip(), f"the file {str(file)!r}"
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--token-file {str(file)!r} cannot be read: {error}") from error
    elif TOKEN_VARIABLE in os.environ:
        token, source = os.environ[TOKEN_VARIABLE].strip(), TOKEN_VARIABLE
    else:
        return None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(
            f"the token of {source} has {len(token)} characters; expected at least "
            f"{_SHORTEST_TOKEN} printable ASCII ones, for instance of: openssl rand -hex 32"
        )
    return token

"""The paper's claims in words, and what was found: ``settings.paper`` of a paper's run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nrpurify.core.errors import InputError
from nrpurify.report.run import Run
from nrpurify.results import RUN_FILE


@dataclass(frozen=True)
class Said:
    """A claim of the paper and what was found here; empty: it was not looked at."""

    claim: str
    here: str


@dataclass(frozen=True)
class PaperClaims:
    """What ``nrpurify paper run`` notes of an experiment.

    Attributes:
        measured: What the paper measured.
        instead: What was measured here.
        scale: At which scale.
        findings: The paper's sentences and ours.
        files: Names of the plots beside ``run.json``.
    """

    measured: str
    instead: str
    scale: str
    findings: Sequence[Said]
    files: Sequence[str]


def read_claims(run: Run) -> PaperClaims | None:
    """What ``settings.paper`` of a run holds; None if it is no run of the paper's.

    Raises:
        InputError: A part of it is not what ``nrpurify paper run`` writes.
    """
    settings = run.raw.get("settings")
    given = settings.get("paper") if isinstance(settings, dict) else None
    if given is None:
        return None
    if not isinstance(given, dict):
        raise _wrong("", given, "an object")
    findings = _list(given, "findings", dict, "objects")
    return PaperClaims(
        _text(given, "measured"),
        _text(given, "instead"),
        _text(given, "scale"),
        [Said(_text(one, "claim"), _text(one, "here")) for one in findings],
        _list(given, "files", str, "names"),
    )


def _text(values: Mapping[str, Any], key: str) -> str:
    found = values.get(key, "")
    if not isinstance(found, str):
        raise _wrong(f".{key}", found, "a text")
    return found


def _list(values: Mapping[str, Any], key: str, kind: type, what: str) -> list[Any]:
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, kind) for item in found):
        raise _wrong(f".{key}", found, f"a list of {what}")
    return found


def _wrong(place: str, given: Any, expected: str) -> InputError:
    return InputError(
        f"{RUN_FILE}: settings.paper{place} is {repr(given)[:40]}; expected {expected} as "
        "`nrpurify paper run` writes it"
    )

"""Attacks by name; names and settings of the built-in ones cost no import of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from nrpurify.attacks.info import AttackInfo, Needs, uses_labels
from nrpurify.core.errors import InputError
from nrpurify.core.registry import Entry, Registry, Setting, near_matches
from nrpurify.core.spec import parse_one

if TYPE_CHECKING:
    from nrpurify.attacks.base import Attack, AttackFunction

A = TypeVar("A", bound="type[Attack]")
ATTACKS: Registry[Attack] = Registry("attack", package="nrpurify.attacks", group="nrpurify.attacks")
_ORDER = (
    *("noise", "fgsm", "r-fgsm", "i-fgsm", "pgd", "mi-fgsm", "dim", "fgsm-ti", "mi-fgsm-ti"),
    *("dim-ti", "tap", "fff", "cda", "fsa", "ssp", "apgd-ce", "apgd-dlr", "square"),
    *("ni-fgsm", "pi-fgsm", "vmi-fgsm", "vni-fgsm", "gra", "pgn"),
    *("si-ni-fgsm", "admix", "ssa", "sia", "bsr", "sgm", "ghost", "logit", "apgd-t", "fab-t"),
    *("autoattack", "svre", "cwa", "fia", "naa", "ila", "simba", "nes"),
    *("deepfool", "ddn", "fmn", "cw", "hopskipjump"),
)
"""The order of the paper's tables, then attacks for judging a defense, then transfers since 2019:
by gradients, by inputs, by the surrogate, toward targets. All others follow."""


def register_attack(
    name: str,
    *,
    source: str = "",
    needs: Needs = "classifier",
    label_free: bool = False,
    targeted: bool | None = None,
    norms: tuple[str, ...] = ("linf", "l2"),
) -> Callable[[A], A]:
    """Decorate a class of :class:`~nrpurify.attacks.base.Attack` to make it known by name.

    Args:
        name: What commands and plans call it.
        source: Where it was published.
        needs: See :class:`AttackInfo`.
        label_free: See :class:`AttackInfo`.
        targeted: Whether it can lead toward targets; None: if it uses labels.
        norms: See :class:`AttackInfo`.

    Raises:
        InputError: The name is taken by another module.

    Examples:
        >>> from nrpurify.attacks import Attack
        >>> @nrpurify.register_attack("brighten", source="an example")
        ... class Brighten(Attack):
        ...     '''Add the budget.'''
        ...     def perturb(self, problem):
        ...         return problem.clean + problem.radii
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> brighten = nrpurify.attacks.create("brighten")
        >>> brighten(model, torch.zeros(1, 3, 2, 2), torch.tensor([0]), eps=0.5).max().item()
        0.5
    """
    if targeted is None:
        targeted = uses_labels(needs, label_free)
    info = AttackInfo(name, source, needs, label_free, targeted, norms)

    def decorate(attack: A) -> A:
        attack.info = info
        return ATTACKS.register(name, source=source)(attack)

    return decorate


@dataclass(frozen=True)
class AttackEntry:
    """A registered attack.

    Attributes:
        attack: Its class.
        entry: Where it is registered.
    """

    attack: type[Attack]
    entry: Entry[Attack]

    @property
    def info(self) -> AttackInfo:
        """Facts about it."""
        return self.attack.info

    @property
    def name(self) -> str:
        """What commands and plans call it."""
        return self.info.name

    @property
    def source(self) -> str:
        """Where it was published."""
        return self.info.source

    @property
    def surrogate(self) -> Literal["classifier", "features", "none"]:
        """The kind of network that it works on."""
        return "classifier" if self.info.needs == "scores" else self.info.needs

    @property
    def labels(self) -> bool:
        """Whether it uses labels; without any it takes the model's predictions."""
        return self.info.labels

    @property
    def settings(self) -> dict[str, Setting]:
        """Its settings by name, with type and default."""
        return self.entry.settings

    @property
    def presets(self) -> dict[str, dict[str, Any]]:
        """All settings by preset: ``paper``, ``authors`` and those that it adds."""
        return {name: self.defaults(name) for name in self.attack.preset_names()}

    @property
    def function(self) -> AttackFunction:
        """Its functional form."""
        from nrpurify.attacks.base import functional

        return functional(self.attack)

    def create(self, preset: str = "paper", **settings: Any) -> Attack:
        """The attack with a preset's settings and ``settings`` over them.

        Raises:
            InputError: No such preset or setting, or a value that is refused.
        """
        return self.attack.create(preset, **settings)

    def defaults(self, preset: str = "paper") -> dict[str, Any]:
        """The settings of a preset as they act in ℓ∞.

        Raises:
            InputError: No such preset.
        """
        return self.create(preset).in_force()


def names() -> list[str]:
    """All names: in the order of the paper's tables, then those for judging a defense, then more.

    Nothing is imported for it.
    """
    known = ATTACKS.names()
    return [name for name in _ORDER if name in known] + [n for n in known if n not in _ORDER]


def get(name: str) -> AttackEntry:
    """Look an attack up.

    Raises:
        InputError: No such attack; near matches are named.
        PluginError: The plug-in that has it cannot be imported.
    """
    if name not in ATTACKS:
        raise InputError(f"no attack {name!r}; {near_matches(name, names())}")
    entry = ATTACKS.get(name)
    attack: Any = entry.factory
    return AttackEntry(attack, entry)


def create(spec: str, *, preset: str = "paper", **settings: Any) -> Attack:
    """Make an attack from a spec such as ``pgd:steps=40,step_size=2/255``.

    Args:
        spec: A name, or a name with settings; ``preset=`` may be among them.
        preset: ``paper`` or ``authors``.
        settings: Override the preset; those in ``spec`` override both.

    Raises:
        InputError: An unknown name, preset or setting, or a bad value.
        PluginError: A plug-in failed.
    """
    link = parse_one(spec, "attack")
    given = dict(link.settings)
    chosen = given.pop("preset", preset)
    found = get(link.name)
    return found.create(chosen, **{**settings, **found.entry.converted(given)})

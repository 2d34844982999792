"""The plan that the options of ``nrpurify evaluate`` make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrpurify.cli.common import eps_option, resolve_amp
from nrpurify.core.errors import InputError
from nrpurify.core.spec import quoted, split_specs

if TYPE_CHECKING:
    from nrpurify.evaluation import EvaluationPlan, PlannedAttack, Task

_TARGETED = ("accuracy", "targeted-success")
_MAKING = ("attack", "targeted", "layer", "preset", "step_size", "steps", "surrogate", "trained")
"""Options that make attacked images."""


def flag(name: str) -> str:
    """How the option ``name`` is written."""
    return f"--{name.replace('_', '-')}"


def plan_of(folder: Path, given: set[str], options: Mapping[str, Any]) -> EvaluationPlan:
    """The plan of a command.

    Args:
        folder: The images.
        given: The options that were written on the command line.
        options: The values of all options.

    Raises:
        InputError: Options that do not go together, or that the task does not take.
    """
    from nrpurify.evaluation import DataSpec, EvaluationPlan
    from nrpurify.evaluation.tasks import TASKS

    task = TASKS.create(options["task"])
    _check_options(task, given)
    names = [one.name for one in fields(DataSpec) if one.name in given]
    data = DataSpec(str(folder), **{n: _plain(options[n]) for n in names if n != "folder"})
    behind = [*(options["defense"] or ())]
    if "purifier" in given or not behind:
        behind.insert(0, quoted(options["purifier"]))
    amounts = {name: options[name] for name in ("batch", "group") if options[name] is not None}
    return EvaluationPlan(
        data,
        (*split_specs(options["victims"] or ""), *(options["victim"] or ())),
        tuple(_attacks(task, given, options)),
        tuple(dict.fromkeys(("none", *behind))),
        options["task"],
        tuple(options["metric"] or (_TARGETED if options["targeted"] else ())),
        name=f"{task.name}-{folder.name}",
        title=f"{task.name} on {folder.name}",
        seed=options["seed"],
        rounding="uint8" if options["uint8"] else "float",
        amp=resolve_amp(options["amp"]),
        **amounts,
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _attacks(task: Task, given: set[str], options: Mapping[str, Any]) -> list[PlannedAttack]:
    from nrpurify.attacks.trained import read_trained
    from nrpurify.evaluation import PlannedAttack
    from nrpurify.evaluation.plan_checks import distance
    from nrpurify.evaluation.simple import simple_attack

    norm = options["norm"]
    budgets = [
        eps_option(text) if norm != "l2" else distance(text, norm)
        for text in options["eps"].split(",")
    ]
    if options["attacked"] is not None:
        eps = tuple(budgets) if "eps" in given else ()
        return [PlannedAttack(eps=eps, attacked=str(options["attacked"]), norm=norm)]
    specs = one_attack(options["attack"]) if task.class_labels else _several(options["attack"])
    files = read_trained(options["trained"] or ())
    chosen = {spec.partition(":")[0] for spec in specs}
    if idle := sorted(files.keys() - chosen):
        attacks = ", ".join(sorted(chosen))
        raise InputError(f"--trained names {idle[0]}; the attack is {attacks}")
    if task.class_labels and len(budgets) > 1:
        raise InputError(
            f"--eps is {options['eps']}; --task {task.name} takes one, a plan several (--plan)"
        )
    step = options["step_size"]
    return [
        simple_attack(
            spec,
            tuple(dict.fromkeys(budgets)),
            surrogate=",".join(options["surrogate"]) if options["surrogate"] else None,
            layer=options["layer"],
            preset=options["preset"],
            norm=norm,
            toward_random=options["targeted"],
            trained=files.get(spec.partition(":")[0]),
            skip_unknown=not task.class_labels,
            steps=options["steps"],
            step_size=None if step is None else eps_option(step, "--step-size"),
        )
        for spec in dict.fromkeys(specs)
        if spec != "none"
    ]


def _several(names: Sequence[str] | None) -> list[str]:
    return [spec for text in names or ("ssp",) for spec in split_specs(text)]


def one_attack(names: Sequence[str] | None) -> list[str]:
    """The one attack of ``--task classify``.

    Raises:
        InputError: Several were given.
    """
    found = _several(names)
    if len(found) > 1:
        raise InputError(
            f"--attack is {', '.join(found)}; --task classify takes one, a plan several (--plan)"
        )
    return found


def _check_options(task: Task, given: set[str]) -> None:
    """Refuse options that belong to another task, and the making of what is made before.

    Raises:
        InputError: One was given; the message names it and the tasks that take it.
    """
    from nrpurify.evaluation import DataSpec
    from nrpurify.evaluation.tasks import TASKS

    own = {one.name for one in fields(DataSpec)} - {"folder", "limit"}
    for name in sorted(given & own):
        if name not in task.takes:
            others = [one for one in TASKS.names() if name in TASKS.create(one).takes]
            raise InputError(
                f"{flag(name)} does not belong to --task {task.name}; it goes with --task "
                f"{' or '.join(others)}"
            )
    for name in sorted(given & {"batch", "group"}):
        if not task.one_size:
            raise InputError(
                f"{flag(name)} does not belong to --task {task.name}, whose images go one by one"
            )
    making = sorted(given & set(_MAKING))
    if "attacked" in given and making:
        raise InputError(
            f"{flag(making[0])} does not go with --attacked, whose images are made; leave one of "
            "them out"
        )
    for name, meaning in task.needs.items():
        if name not in given:
            raise InputError(f"{task.name} needs {flag(name)}: {meaning}")

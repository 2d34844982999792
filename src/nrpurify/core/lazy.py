"""Public names that are imported when they are first used, and modules of 0.1.0 by their names."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # not from typing, which is most of what `import nrpurify` would cost
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType
    from typing import Any


def lazy_exports(
    package: str, homes: Mapping[str, Sequence[str]], packages: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package's ``__init__``.

    Args:
        package: Its name.
        homes: Names by the module that has them, as an absolute name.
        packages: Names of its own sub-packages.
    """
    modules = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name in packages:
            return import_module(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get, lambda: sorted([*modules, *packages])


_TASKS = "nrpurify.evaluation.old_tasks"
NEW = {
    "nrpurify.errors": "nrpurify.core.errors",
    "nrpurify.evaluation.harness": "nrpurify.evaluation",
    "nrpurify.evaluation.lookup": "nrpurify.evaluation.cache",
    "nrpurify.features": "nrpurify.models.features",
    "nrpurify.folders": "nrpurify.batch",
    "nrpurify.images": "nrpurify.core.images",
    "nrpurify.labels": "nrpurify.data.labels",
    "nrpurify.tasks": _TASKS,
    "nrpurify.tasks.coco": "nrpurify.data.coco",
    "nrpurify.tasks.detection": _TASKS,
    "nrpurify.tasks.segmentation": _TASKS,
    "nrpurify.tasks.segmentation_cells": _TASKS,
    "nrpurify.tasks.yolo": "nrpurify.data.yolo",
    "nrpurify.training.segnet_recipe": "nrpurify.training.segmenter",
}
"""Today's module by the old name."""


class Renamed:
    """Finds modules of 0.1.0 by their names, until 0.3, once nothing else has. Each warns."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """What the import system asks for."""
        if name not in NEW:
            return None
        loader: Any = self
        return ModuleSpec(name, loader, is_package=name == "nrpurify.tasks")

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual empty module; today's one takes its place."""

    def exec_module(self, module: ModuleType) -> None:
        """Put today's module under the old name, and warn."""
        import warnings

        old, new = module.__name__, NEW[module.__name__]
        if old != "nrpurify.tasks":  # the parent of others, which warn
            warnings.warn(
                f"{old} is now {new}; the old name goes with 0.3", DeprecationWarning, stacklevel=2
            )
            sys.modules[old] = import_module(new)


def find_old_modules() -> None:
    """Let the import system find modules of 0.1.0 too."""
    if not any(isinstance(finder, Renamed) for finder in sys.meta_path):
        sys.meta_path.append(Renamed())

"""What a result was made with."""

import platform
from collections.abc import Collection
from dataclasses import dataclass

import torch

import nrpurify


@dataclass(frozen=True)
class Plugin:
    """A module that was loaded because a user named it.

    Attributes:
        name: As the user wrote it; of a file its name without folders.
        version: Of the installed distribution; empty for a file or a module without one.
        sha256: Of the module's file; empty for a module without one.
        modules: What was imported with it; an entry of any of them is its own.
    """

    name: str
    version: str
    sha256: str
    modules: frozenset[str] = frozenset()

    def has(self, origin: str) -> bool:
        """Whether it, or a module of its package, registered what comes from ``origin``."""
        packages = {module.partition(".")[0] for module in self.modules}
        return origin in self.modules or origin.partition(".")[0] in packages

    def to_dict(self) -> dict[str, str]:
        """For run.json."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}


PLUGINS: dict[str, Plugin] = {}
"""The plug-ins that this process has loaded, by module."""


def loaded_plugins() -> list[Plugin]:
    """The plug-ins that this process has loaded, by name."""
    return sorted(PLUGINS.values(), key=lambda plugin: plugin.name)


def versions(origins: Collection[str] | None = None) -> dict[str, str]:
    """Versions of this package, torch, Python and plug-ins, for the record.

    Args:
        origins: The modules of all entries in use: plug-ins without any are left out. None for all
            plug-ins that are loaded.
    """
    return {
        "nrpurify": nrpurify.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        **{
            f"plug-in {plugin.name}": f"{plugin.version} {plugin.sha256}".strip()
            for plugin in loaded_plugins()
            if origins is None or any(plugin.has(origin) for origin in origins)
        },
    }


def recorded_plugins() -> dict[str, list[dict[str, str]]]:
    """``plugins``: name, version and hash of each loaded plug-in; nothing without any."""
    loaded = [plugin.to_dict() for plugin in loaded_plugins()]
    return {"plugins": loaded} if loaded else {}


def environment(device: torch.device | str = "cpu") -> dict[str, str]:
    """:func:`versions` and the kind of processor, on which the last bits of a result depend.

    ``processor`` names the instructions that torch uses, such as ``AVX512, bf16: avx512_bf16
    amx_tile``, and with a CUDA ``device`` the model of the GPU. It is for the record alone: no
    cache and no id depends on it.
    """
    probes = ("avx512_bf16", "amx_tile")
    fast = [name for name in probes if getattr(torch.cpu, f"_is_{name}_supported", bool)()]
    processor = torch.backends.cpu.get_cpu_capability()
    processor += f", bf16: {' '.join(fast)}" if fast else ", no bf16"
    if torch.device(device).type == "cuda":
        processor += f"; {torch.cuda.get_device_name(device)}"
    return {**versions(), "processor": processor}

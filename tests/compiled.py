"""The compiled functions of the package, and how often each has been compiled."""

from __future__ import annotations

import sys
from types import ModuleType

from rdonet_jax.runtime.compilation import Jitted


def functions(module: ModuleType) -> dict[str, Jitted]:
    """Those that a module defines, by name."""
    found = {name: f for name, f in vars(module).items() if isinstance(f, Jitted)}
    return {name: f for name, f in found.items() if f.__module__ == module.__name__}


def counts() -> dict[str, int]:
    """How often each function of a loaded module was compiled, but for those that never were."""
    found = {
        f"{of}.{name}": function.cache_size()
        for of, module in list(sys.modules.items())
        if of.startswith("rdonet_jax.")
        for name, function in functions(module).items()
    }
    return {name: count for name, count in found.items() if count}

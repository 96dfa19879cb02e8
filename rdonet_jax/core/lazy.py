"""Public names of packages that are imported when they are first used (PEP 562).

Importing a package must stay cheap: commands that only read a header do not load JAX. So the
`__init__` of a package declares its public names twice, as imports for type checkers and as a table
for `exports`:

    if TYPE_CHECKING:
        from rdonet_jax.codec.codec import encode
    else:
        __getattr__, __dir__ = lazy.exports(__name__, {"encode": "rdonet_jax.codec.codec:encode"})
"""

from __future__ import annotations

import importlib
import sys

# Not that of `typing`, see `rdonet_jax/__init__.py`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def exports(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    `names` maps each public name to what it stands for: "module:attribute", or "module".
    """

    def getattr_(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = names[name].partition(":")
        found = importlib.import_module(module)
        return getattr(found, attribute) if attribute else found

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return getattr_, dir_

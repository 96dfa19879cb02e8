"""Loads models by name, by path or by the hash in a compressed file, each once.

Importing this module loads no JAX.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from rdonet_jax.core.cached import ProcessLock

if TYPE_CHECKING:
    from rdonet_jax.models.step_batches import StepBatches
    from rdonet_jax.models.zoo import Model


class ModelLibrary:
    """Loads models on demand and caches them. Safe for use by several threads."""

    def __init__(self, capacity: int | None = None, batches: StepBatches | None = None) -> None:
        """Caches the `capacity` models that were used last; None: all of them.

        `batches` becomes an attribute of all models.
        """
        self._load = functools.lru_cache(capacity)(functools.partial(_load, batches))
        self._lock = ProcessLock()
        self._registered: dict[bytes, str] = {}

    def load(self, name: str | os.PathLike[str]) -> Model:
        """The bundled model of this name, or the one of this weights file as it is now.

        Raises `ZooError` if there is no such model.
        """
        from rdonet_jax.models import zoo

        try:
            name = os.fsdecode(name)
        except TypeError as error:
            raise zoo.ZooError(f"no model {name!r}: it is neither a name nor a path") from error
        with self._lock:
            named = {**zoo.earlier(), **zoo.bundled()}
            # By its path also where it is named, or `find` would load it again.
            path = str(named.get(name, name))
            return self._load(path, _state_of(path))

    def find(self, digest: bytes) -> Model | None:
        """The model with this hash of its weights, as in the header of a compressed file.

        Bundled, of an earlier release, or registered; None if none has that hash. Raises as `load`
        does.
        """
        from rdonet_jax.models import zoo

        path = zoo.find(digest) or self._registered.get(digest)
        return None if path is None else self.load(path)

    def register(self, name: str | os.PathLike[str]) -> Model:
        """Lets `find` find the model of a weights file. Raises as `load` does."""
        model = self.load(name)
        path = os.fsdecode(name)
        # The working directory may be another one by the time that the model is needed.
        self._registered[model.digest] = os.path.abspath(path) if os.path.isfile(path) else path
        return model

    def clear(self) -> None:
        """Empties the cache, and forgets what was registered."""
        self._load.cache_clear()
        self._registered.clear()


def _state_of(name: str) -> tuple[object, ...]:
    """What changes where a weights file is replaced, or a path names another one."""
    try:
        found = os.stat(name)
    except (OSError, ValueError):  # no path
        return ()
    return os.path.abspath(name), found.st_mtime_ns, found.st_size


def _load(batches: StepBatches | None, name: str, _: tuple[object, ...]) -> Model:
    from rdonet_jax.models import zoo

    model = zoo.load(name)
    return model if batches is None else model.replace(batches=batches)

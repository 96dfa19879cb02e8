"""Computes equal steps of several images together, for accelerators.

The steps of one image (`codec.portable.engine`) are small for an accelerator. Here each image is
coded by a thread of its own. What a thread asks for is computed when its result is needed, together
with what other threads ask for by then: calls of one function with arguments of the same shapes are
stacked and computed by `jax.vmap`.

Batches are filled up to one of a few sizes, so nothing is compiled for another number of images.
Integers are the same as without batches, and floats may differ by rounding, as they do between
devices. So an encoder may write other bytes for a latent that is half way between two integers, and
a decoder may give a sample that differs by one. Decoded symbols never differ.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np

from rdonet_jax.core.cached import cached_property

LARGEST = 16
"""Calls of a batch, at most."""

MAX_WAIT_S = 0.02
"""How long a call waits for others, while threads are at work that may ask for the same step."""

_SIZES = (1, 4)
"""Sizes of batches below the largest one."""

_Outcome = tuple[np.ndarray, ...] | Exception
"""The results of a call, or what it raised."""


class StepBatches:
    """Collects the calls of threads and computes them in batches.

    Args:
      largest: the most calls of a batch, up to `LARGEST`.
      on_cpus: whether to do so on CPUs too. Otherwise each call is computed there at once and
        alone.
    """

    def __init__(self, largest: int = LARGEST, on_cpus: bool = False) -> None:
        most = max(1, min(largest, LARGEST))
        self._sizes = (*(size for size in _SIZES if size < most), most)
        self._on_cpus = on_cpus
        self._changed = threading.Condition()
        self._members = 0  # threads that code images
        self._blocked = 0  # those of them that wait for a result
        self._running = 0  # batches
        self._open: dict[Hashable, _Batch] = {}  # not begun, oldest first
        self._programs: dict[Hashable, Any] = {}
        self.computed: collections.Counter[int] = collections.Counter()
        """How many batches had so many calls."""

    @contextlib.contextmanager
    def member(self) -> Iterator[None]:
        """While a thread codes an image, others wait for what it may ask for."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def compute(
        self,
        function: Callable[..., Any],
        static: tuple[Hashable, ...],
        shared: Any,
        arguments: tuple[Any, ...],
        results: int = 1,
    ) -> Any:
        """function(*static, shared, *arguments), for a function that gives so many arrays.

        `shared` is the same object in all calls of a batch. `arguments` are trees of NumPy arrays.
        The result is an array, or a tuple of several, that NumPy can convert; that waits for it.
        Then whatever the function raises is raised.
        """
        if not self._is_worthwhile:
            return function(*static, shared, *arguments)
        import jax

        leaves, tree = jax.tree_util.tree_flatten(arguments)
        shapes = tuple((leaf.shape, leaf.dtype.str) for leaf in leaves)
        key = (function, static, id(shared), tree, shapes)
        with self._changed:
            batch = self._open.get(key)
            if batch is None:
                batch = self._open[key] = _Batch(key, function, static, shared, tree)
            number = batch.add(leaves)
            is_full = len(batch.calls) == self._sizes[-1]
            if is_full:
                self._begin(batch)
        if is_full:
            self._finish(batch)
        parts = tuple(_PendingArray(self, batch, number, part) for part in range(results))
        return parts if results > 1 else parts[0]

    @cached_property
    def _is_worthwhile(self) -> bool:
        import jax

        return self._on_cpus or jax.default_backend() != "cpu"

    def _begin(self, batch: _Batch) -> None:
        """Takes a batch from the open ones. The lock is held."""
        del self._open[batch.key]
        self._running += 1

    def _finish(self, batch: _Batch) -> None:
        """Computes a batch that was begun; the lock is not held."""
        outcomes: list[_Outcome] = [RuntimeError("the thread that computed it was ended")]
        outcomes *= len(batch.calls)
        try:
            outcomes = self._outcomes(batch)
        finally:
            with self._changed:
                batch.outcomes = outcomes
                self._running -= 1
                self._blocked -= batch.waiting
                self.computed[len(batch.calls)] += 1
                self._changed.notify_all()

    def _outcomes(self, batch: _Batch) -> list[_Outcome]:
        """What comes of each call. If all together fail, as for want of memory, each is alone."""
        if len(batch.calls) > 1:
            with contextlib.suppress(Exception):
                return self._together(batch)
        return [_alone(batch, leaves) for leaves in batch.calls]

    def _together(self, batch: _Batch) -> list[_Outcome]:
        import jax

        count = len(batch.calls)
        size = next(size for size in self._sizes if size >= count)
        filled = [*batch.calls, *batch.calls[-1:] * (size - count)]
        stacked = [np.stack(leaves) for leaves in zip(*filled, strict=True)]
        arguments = jax.tree_util.tree_unflatten(batch.tree, stacked)
        results = jax.tree_util.tree_leaves(self._program(batch)(batch.shared, *arguments))
        arrays = [np.asarray(leaf) for leaf in results]
        return [tuple(array[number] for array in arrays) for number in range(count)]

    def _program(self, batch: _Batch) -> Callable[..., Any]:
        """The compiled function of a batch."""
        from rdonet_jax.runtime import compilation

        key = (batch.function, batch.static)
        with self._changed:
            if key not in self._programs:
                one = functools.partial(batch.function, *batch.static)

                def of_all(shared: Any, *arguments: Any) -> Any:
                    import jax

                    return jax.vmap(functools.partial(one, shared))(*arguments)

                self._programs[key] = compilation.jit(of_all)
            return self._programs[key]

    def wait_for(self, batch: _Batch, number: int) -> tuple[np.ndarray, ...]:
        """The results of a call. Begins a batch where nothing else is to be waited for."""
        until = time.monotonic() + MAX_WAIT_S
        with self._changed:
            if batch.outcomes is None:
                batch.waiting += 1
                self._blocked += 1
            try:
                while batch.outcomes is None:
                    self._wait_or_compute(batch, time.monotonic() > until)
            finally:
                if batch.outcomes is None:  # an interrupt
                    batch.waiting -= 1
                    self._blocked -= 1
        outcome = batch.outcomes[number]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _wait_or_compute(self, batch: _Batch, is_late: bool) -> None:
        """A turn of a thread that waits for `batch`. The lock is held."""
        chosen = self._due(batch, is_late)
        if chosen is None:
            self._changed.wait(MAX_WAIT_S)
            return
        self._begin(chosen)
        self._changed.release()
        try:
            self._finish(chosen)
        finally:
            self._changed.acquire()

    def _due(self, batch: _Batch, is_late: bool) -> _Batch | None:
        """The open batch to begin now, by a thread that waits for `batch`; None to wait on.

        If all threads wait and nothing is being computed, that is one that is waited for, with the
        most calls. So images whose threads wait for the same step go on together.
        """
        if self._blocked >= self._members and not self._running:
            awaited = (found for found in self._open.values() if found.waiting)
            return max(awaited, key=lambda found: len(found.calls), default=None)
        return batch if is_late and self._open.get(batch.key) is batch else None


class _Batch:
    """Calls that are computed together."""

    def __init__(
        self,
        key: Hashable,
        function: Callable[..., Any],
        static: tuple[Hashable, ...],
        shared: Any,
        tree: Any,
    ) -> None:
        self.key, self.function, self.static, self.shared = key, function, static, shared
        self.tree = tree  # of the arguments of a call
        self.calls: list[list[np.ndarray]] = []  # the leaves of the arguments of each
        self.waiting = 0  # threads
        self.outcomes: list[_Outcome] | None = None  # of the calls, once they are computed

    def add(self, leaves: list[np.ndarray]) -> int:
        """Adds a call; returns its number."""
        self.calls.append(leaves)
        return len(self.calls) - 1


def _alone(batch: _Batch, leaves: list[np.ndarray]) -> _Outcome:
    """What comes of one call by itself."""
    import jax

    arguments = jax.tree_util.tree_unflatten(batch.tree, leaves)
    try:
        results = batch.function(*batch.static, batch.shared, *arguments)
        return tuple(np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(results))
    except Exception as error:
        return error


class _PendingArray:
    """An array that a call gives. To convert it is to wait for it."""

    def __init__(self, batches: StepBatches, batch: _Batch, number: int, part: int) -> None:
        self._batches, self._batch, self._number, self._part = batches, batch, number, part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self._batches.wait_for(self._batch, self._number)[self._part]
        return np.array(values, dtype) if copy else np.asarray(values, dtype)

"""A part of a list of files, for several processes or machines that share the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Shard(NamedTuple):
    """Part `number` of `count`, from 1 on: every `count`-th item of a list."""

    number: int = 1
    count: int = 1  # type: ignore[assignment]

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this part. Every item is in exactly one of the `count` parts."""
        return items[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Shard()
"""The whole list."""

"""Copies: the archives of some datasets hold the same image in several versions.

Below a given folder these are left out, so that each image counts once (`COPIES`):

- DIV2K: the reduced and degraded versions, DIV2K_*_LR_*;
- TESTIMAGES of 2011 (TECNICK): the reduced and the gray versions, and the artificial patterns;
- TESTIMAGES SAMPLING: 16 bits, gray, shifted by some pixels, and all sizes but the largest.

CLIC holds every image once. If the folder of copies is itself given, the copies are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Copies(NamedTuple):
    """Versions of images that an archive holds beside its originals.

    what: in words, for warnings. where: a pattern that is searched in the path below the given
    folder. If it has a group `side`, the versions with the largest side are not copies.
    """

    what: str
    where: re.Pattern[str]


COPIES = (
    Copies(
        "reduced or degraded versions in DIV2K", re.compile(r"(^|/)DIV2K_[a-z]+_LR_[^/]*/", re.I)
    ),
    Copies("artificial patterns in TESTIMAGES", re.compile(r"(^|/)ART/ART_[^/]*/")),
    Copies("gray versions in TESTIMAGES", re.compile(r"(^|/)GRAY/(GRAY_[^/]*|\d+x\d+/C00C00)/")),
    Copies("reduced versions in TESTIMAGES", re.compile(r"(^|/)(RGB|GRAY|ART)_R\d+_\d+x\d+/")),
    Copies("versions of 16 bits in TESTIMAGES", re.compile(r"(^|/)16BIT/(RGB|GRAY)/")),
    Copies("shifted versions in TESTIMAGES", re.compile(r"(^|/)(?!C00C00)[BCT]\d\d[CLR]\d\d/")),
    Copies("smaller versions in TESTIMAGES", re.compile(r"(^|/)(?P<side>\d+)x\d+/C00C00/")),
)


def separated(names: Iterable[str]) -> tuple[list[str], list[tuple[str, int]]]:
    """The names without those of copies, in order; and what the copies are, with their number.

    A name is a path below the given folder.
    """
    kept, left_out = list(names), []
    for copies in COPIES:
        if found := _matching(copies.where, kept):
            left_out.append((copies.what, len(found)))
        kept = [name for name in kept if name not in found]
    return kept, left_out


def _matching(where: re.Pattern[str], names: Iterable[str]) -> set[str]:
    """The names that match a rule of `COPIES`, except for those of the largest side."""
    found = {name: match for name in names if (match := where.search(name))}
    if "side" not in where.groupindex:
        return set(found)
    sides = {
        n: (match.string[: match.start("side")], int(match["side"])) for n, match in found.items()
    }
    largest = dict(sorted(sides.values()))
    return {name for name, (place, side) in sides.items() if side < largest[place]}

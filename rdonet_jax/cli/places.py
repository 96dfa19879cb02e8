"""Lists of names, and where the results of what they name go."""

from __future__ import annotations

import codecs
import os
import tempfile
import unicodedata
from collections.abc import Callable, Sequence


def names_of(data: bytes, null: bool = False) -> list[str]:
    """The names in a list: one per line, or, with `null` or where it holds a NUL, ended by NULs.

    Names are bytes of whatever encoding. A mark of UTF-8 at the start is no part of the first one,
    and a list with a mark of UTF-16 is in that. Raises ValueError for one that is not.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16")
    else:
        text = os.fsdecode(data.removeprefix(codecs.BOM_UTF8))
    if null or "\0" in text:  # which no name holds
        return [name for name in text.split("\0") if name]
    return [line for line in (line.removesuffix("\r") for line in text.split("\n")) if line]


def common_folder(names: Sequence[str]) -> str:
    """The innermost folder that holds all files, and is or holds all folders, of these names.

    Raises ValueError for names on several drives.
    """
    absolute = [os.path.abspath(name) for name in names]
    return os.path.commonpath([p if os.path.isdir(p) else os.path.dirname(p) for p in absolute])


def folded(path: str) -> str:
    """What is the same for all paths that some file system takes for one."""
    return unicodedata.normalize("NFC", path.casefold())


def identity(folder: str) -> Callable[[str], str]:
    """How paths in a folder, which need not be there yet, are told apart: a function that gives the
    same for two of them if they lead to one file.

    Found out by making a file in the folder, or where that would be made.
    """
    place = os.path.abspath(folder)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    steps: list[Callable[[str], str]] = []
    try:
        with tempfile.NamedTemporaryFile(
            dir=place, prefix=".rdonet-\u00e9-", suffix=".part"
        ) as file:
            probe = file.name[len(place) :]
            if os.path.exists(place + unicodedata.normalize("NFD", probe)):
                steps.append(lambda path: unicodedata.normalize("NFC", path))
            if os.path.exists(place + probe.upper()):
                steps.append(str.casefold)
    except (OSError, UnicodeError):  # nothing can be written there, as every job will say
        return lambda path: path

    def same_for_all(path: str) -> str:
        for step in steps:
            path = step(path)
        return path

    return same_for_all

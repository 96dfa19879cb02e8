"""Names of files: reading lists of them, and telling whether two of them lead to one file."""

from __future__ import annotations

import codecs
import itertools
import os
import secrets
import unicodedata
from collections.abc import Callable, Sequence

from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import urls


def names_of(data: bytes, null: bool = False) -> list[str]:
    """The names in a list: one per line, or, with `null` or where it holds a NUL, ended by NULs.

    Names are bytes of any encoding. A byte order mark of UTF-8 at the start is left out, and a list
    with one of UTF-16 is decoded as such. Raises ValueError where that fails.
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

    For URLs, it is the innermost one that holds all of them. Raises ValueError for names on several
    drives or in several stores.
    """
    if any(map(urls.is_url, names)):
        return _common_url(names)
    absolute = [os.path.abspath(name) for name in names]
    return os.path.commonpath([p if os.path.isdir(p) else os.path.dirname(p) for p in absolute])


def _common_url(names: Sequence[str]) -> str:
    above = [name.rstrip("/").split("/")[:-1] for name in names]
    pairs = zip(min(above), max(above), strict=False)
    common = [one for one, other in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    if not all(map(urls.is_url, names)) or len(common) < 3:  # protocol, nothing, store
        raise ValueError("the names are in several places, which have no folder in common")
    return "/".join(common)


def folded(path: str) -> str:
    """The same text for all paths that any file system takes for one."""
    return unicodedata.normalize("NFC", path.casefold())


def identity(folder: str) -> Callable[[str], str]:
    """A function that gives the same for two paths in a folder if they lead to one file.

    The folder need not exist yet. A temporary file in it, or in the nearest folder above it that
    exists, shows what its file system takes for the same name.
    """
    existing = os.path.abspath(folder)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    steps: list[Callable[[str], str]] = []
    try:
        probe = os.path.join(existing, f".rdonet-\u00e9-{secrets.token_hex(8)}.part")
        with interrupts.temporary_file(probe):
            probe = probe[len(existing) :]
            if os.path.exists(existing + unicodedata.normalize("NFD", probe)):
                steps.append(lambda path: unicodedata.normalize("NFC", path))
            if os.path.exists(existing + probe.upper()):
                steps.append(str.casefold)
    except (OSError, UnicodeError):  # nothing can be written there, which every job will report
        return lambda path: path

    def same_for_all(path: str) -> str:
        for step in steps:
            path = step(path)
        return path

    return same_for_all

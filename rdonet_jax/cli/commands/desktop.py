"""Entries for file managers: the type of compressed files, and who makes their thumbnails.

What is written follows the shared MIME-info specification of freedesktop.org and the thumbnailer
entries of GNOME, which other desktops read as well.
"""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from rdonet_jax.cli.errors import CommandError
from rdonet_jax.cli.output import say
from rdonet_jax.core.defaults import COMPRESSED_SUFFIX
from rdonet_jax.storage import files

MIME_TYPE = "image/x-rdonet"

MARK = "written by rdonet desktop"
"""Stands in every file, so that nobody else's is overwritten or removed."""

TYPE_ENTRY = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- {mark} -->
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="{mime_type}">
    <comment>RDONet image</comment>
    <magic priority="60">
      <match type="string" offset="0" value="{magic}"/>
    </magic>
    <glob pattern="*{suffix}"/>
    <generic-icon name="image-x-generic"/>
  </mime-type>
</mime-info>
"""

THUMBNAILER_ENTRY = """\
# {mark}
[Thumbnailer Entry]
TryExec={python}
Exec={command} thumbnail --size %s %i %o
MimeType={mime_type};
"""


def run(options: argparse.Namespace) -> None:
    """Writes the entries or takes them away, and prints what was done."""
    prefix = default_prefix() if options.prefix is None else Path(options.prefix)
    say("\n".join(remove(prefix) if options.remove else install(prefix)))


def default_prefix() -> Path:
    """Where the user's own data lies. Raises `CommandError` where there is no home folder."""
    folder = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise CommandError(f"{folder}: {error} Say with --prefix where the entries go") from error


def entries(prefix: Path) -> dict[Path, str]:
    """The files below a prefix, and what stands in them."""
    from rdonet_jax.codec import bitstream

    magic = "".join(f"\\x{byte:02x}" for byte in bitstream.MAGIC)
    # -P: a folder in which the file manager happens to run holds no module that is meant.
    command = shlex.join([sys.executable, "-P", "-m", "rdonet_jax"]).replace("%", "%%")
    known = {"mark": MARK, "mime_type": MIME_TYPE}
    return {
        prefix / "mime" / "packages" / "rdonet.xml": TYPE_ENTRY.format(
            magic=magic, suffix=COMPRESSED_SUFFIX, **known
        ),
        prefix / "thumbnailers" / "rdonet.thumbnailer": THUMBNAILER_ENTRY.format(
            python=sys.executable, command=command, **known
        ),
    }


def install(prefix: Path) -> list[str]:
    """Writes the entries; returns in lines what was done. Raises `CommandError`."""
    texts = entries(prefix)
    _require_own(texts)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, functools.partial(_write, text))
    return [*(f"{path}: written" for path in texts), _update(prefix)]


def _write(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


def remove(prefix: Path) -> list[str]:
    """Takes the entries away again; returns in lines what was done. Raises `CommandError`."""
    present = [path for path in entries(prefix) if path.exists()]
    if not present:
        return [f"{prefix}: there is nothing to remove"]
    _require_own(present)
    for path in present:
        path.unlink()
    return [*(f"{path}: removed" for path in present), _update(prefix)]


def _require_own(paths: dict[Path, str] | list[Path]) -> None:
    """Refuses to touch files of these names that something else wrote."""
    for path in paths:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
            raise CommandError(f"{path}: exists, and was not written by this command")


def _update(prefix: Path) -> str:
    """Lets the desktop know of the types below a prefix, as far as its tool is there."""
    tool, folder = "update-mime-database", prefix / "mime"
    if shutil.which(tool) is None:
        return f"{tool} is not installed; types become known when it is run on {folder}"
    done = subprocess.run([tool, str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise CommandError(f"{folder}: {tool} failed: {done.stderr.strip()}")
    return f"{folder}: database updated"

"""Files that appear under their name whole or not at all, and the folder for caches."""

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rdonet_jax.runtime import interrupts

_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO


def cache_folder() -> Path:
    """The folder for what can be made again: in $XDG_CACHE_HOME or ~/.cache. It may be missing.

    Raises RuntimeError where there is no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rdonet_jax"


def replace(
    path: str | os.PathLike,
    write: Callable[[BinaryIO], object],
    like: os.stat_result | None = None,
) -> None:
    """Let `write` fill a temporary file beside the path, then give it the name in one step.

    An existing file is replaced, and lends its permissions; behind a symbolic link, it is the file
    that the link leads to. `like` is the status of another file, whose times and permissions the
    new one gets instead; it does not get the right to run as another user or group. The data is on
    the disk before the name is. Raises what `write` raises, and OSError; the temporary file is gone
    then, and the old one as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    with interrupts.temporary_file(temporary) as file:
        if like is not None:  # before there is anything that not everybody may read
            os.chmod(temporary, stat.S_IMODE(like.st_mode) & _PERMISSIONS)
        write(file)
        file.flush()
        os.fsync(file.fileno())
        file.close()
        if like is not None:
            os.utime(temporary, ns=(like.st_atime_ns, like.st_mtime_ns))
        elif target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)

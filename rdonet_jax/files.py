"""Files that appear under their name whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from rdonet_jax import interrupts


def replace(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside the path, then give it the name in one step.

    An existing file is replaced, and lends its permissions; behind a symbolic link, it is the file
    that the link leads to. The data is on the disk before the name is. Raises what `write` raises,
    and OSError; the temporary file is gone then, and the old one as it was.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    with interrupts.temporary_file(temporary) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
        file.close()
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)

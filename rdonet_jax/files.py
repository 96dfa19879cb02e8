"""Files that appear under their name whole or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def replace(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside the path, then give it the name in one step.

    An existing file is replaced. Raises what `write` raises, and OSError; the temporary file is
    gone then, and the old one as it was.
    """
    target = Path(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)

"""The processors that this process may use."""

from __future__ import annotations

import os


def usable() -> int:
    """How many of them there are."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1

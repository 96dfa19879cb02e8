"""The memory that is available on Linux."""

from __future__ import annotations

from pathlib import Path

MEMORY_STATE = Path("/proc/meminfo")
"""The file with the memory statistics of the machine."""

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""The folder with the limits of the control group, such as that of a container."""


def available_bytes() -> int | None:
    """The memory that can be had without swapping; None where that is not known."""
    limits = [limit for limit in (_of_machine(), _of_container()) if limit is not None]
    return min(limits, default=None)


def _of_container() -> int | None:
    """The available memory within a control group (version 2); None without a limit."""
    try:
        limit, used = (
            int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        lines = (CONTROL_GROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # ValueError: "max", no limit
        return None
    # The cache of files that were read is given up when memory is needed.
    cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, limit - used + cached)


def _of_machine() -> int | None:
    try:
        lines = MEMORY_STATE.read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemAvailable" not in fields:
        return None
    return 1024 * int(fields["MemAvailable"].split()[0])

"""How much memory the system has left, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

MEMORY_STATE = Path("/proc/meminfo")
"""Where Linux says how much memory there is."""

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where it says how much of that a container may take."""


def available_bytes() -> int | None:
    """The memory that can be had without swapping; None where the system does not tell."""
    known = [found for found in (_of_machine(), _of_container()) if found is not None]
    return min(known, default=None)


def _of_container() -> int | None:
    """What a control group (version 2) leaves; None without a limit."""
    try:
        limit, taken = (
            int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        lines = (CONTROL_GROUP / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # ValueError: "max", no limit
        return None
    # Files that were read are kept in memory as long as nobody else wants it.
    kept = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, limit - taken + kept)


def _of_machine() -> int | None:
    try:
        lines = MEMORY_STATE.read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemAvailable" not in fields:
        return None
    return 1024 * int(fields["MemAvailable"].split()[0])

"""How this thread computes with floats: denormals as zeros, another direction of rounding.

For benchmarks that ask whether files depend on it. Both hold for the thread that sets them, and for
those that it starts from then on.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import mmap
import platform

ROUNDING = {"nearest": 0, "down": 0x400, "up": 0x800, "zero": 0xC00}
"""What `fesetround` of the C library takes on x86."""

_STORE = b"\x0f\xae\x1f\xc3"  # stmxcsr [rdi]; ret
_LOAD = b"\x0f\xae\x17\xc3"  # ldmxcsr [rdi]; ret
_FLUSH = 0x8040
"""The bits of MXCSR for results and for operands."""


def require_x86() -> None:
    """Raises `SystemExit` on other processors."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        raise SystemExit("float modes are set on Linux and x86-64 alone")


def flush_denormals() -> None:
    """Lets denormal results and operands count as zero."""
    require_x86()
    register = ctypes.c_uint32()
    _run(_STORE, register)
    register.value |= _FLUSH
    _run(_LOAD, register)


def _run(code: bytes, register: ctypes.c_uint32) -> None:
    """Runs machine code that takes the address of a 32-bit number."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(start)(ctypes.addressof(register))


def round_to(direction: str) -> None:
    """Rounds in a direction of `ROUNDING`."""
    require_x86()
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    if library.fesetround(ROUNDING[direction]):
        raise SystemExit(f"this system cannot round {direction}")

"""What the C library does with freed memory while a CPU trains.

glibc gives every large tensor back to the kernel and gets it anew, page by page: a third of a fast training
step. Told to keep it, a UA-MT step of the left-atrium protocol took 0.70 of the time and 1 GB more memory
(5.8 instead of 4.8). There is nothing to gain on a GPU, where torch keeps memory by itself.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

from semiseg import settings

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Numbers of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next step; returns whether it now does.

    ``SEMISEG_KEEP_MEMORY=0``, a user's own ``MALLOC_*`` settings and other C libraries are left alone. Every
    later call of the process is affected.
    """
    mallopt = None if why_not() else _mallopt()
    if mallopt is None:
        return False
    done = (mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, 2**31 - 1), mallopt(_TOP_PAD, 64 * 2**20))
    return all(done)


def why_not() -> str | None:
    """What keeps :func:`keep_freed_memory` from doing anything here, or None."""
    if not settings.read().keep_memory:
        return "SEMISEG_KEEP_MEMORY=0"
    own = [name for name in sorted(os.environ) if name.startswith("MALLOC_")]
    if own:
        return f"left to {', '.join(own)}"
    return None if _mallopt() else "not the allocator of glibc"


def _mallopt() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux") or "jemalloc" in os.environ.get("LD_PRELOAD", ""):
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
        library.gnu_get_libc_version  # noqa: B018  # musl has none
        found: Callable[[int, int], int] = library.mallopt
    except (OSError, AttributeError):
        return None
    return found

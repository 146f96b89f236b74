"""Keeping freed memory, so that a training loop does not pay for page faults at every step."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_GIBIBYTE = 1 << 30


@cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed instead of handing it back to the system (once; the whole process is affected).

    A step of training frees and takes the same large buffers again and again. By default glibc returns some of them to
    the system each time, and every page is faulted in anew. The command line calls this; a
    library should leave it to its caller, so importing jetprop does not.

    Returns:
        Whether the allocator could be told (glibc on Linux only).

    Example:
        >>> from jetprop.jets import keep_freed_memory
        >>> keep_freed_memory() in (True, False)
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = {_MMAP_THRESHOLD: _GIBIBYTE, _TRIM_THRESHOLD: 2 * _GIBIBYTE - 1, _TOP_PAD: 1 << 26}
    return all(mallopt(key, value) == 1 for key, value in settings.items())

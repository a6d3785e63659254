"""What a computing process asks of the machine: its number of threads, and that freed memory stays with it.

Belongs here: setting both. Does not belong: how many threads there should be (compute.py, cluster.py), how much memory
work needs (dd_assets/planning/memory.py); torch at module level.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt, malloc.h."""
KEPT = 512 << 20
"""Bytes at the heap's end that stay with the process when they are freed."""
MAPPED = 128 << 20
"""Bytes from which a block comes from the system and goes back to it."""


def set_threads(threads: int) -> None:
    """The number of threads that torch uses in this process, which keeps freed memory from now on."""
    import torch

    torch.set_num_threads(threads)
    _keep_freed_memory()


@cache
def _keep_freed_memory() -> None:
    """Ask glibc to keep what is freed: activations come and go at every step, and the system clears pages anew.

    That was 6 % of a training's CPU time (docs/results/performance.md). Other systems' allocators are left alone.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        library = ctypes.CDLL(None)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
        library.mallopt(M_MMAP_THRESHOLD, MAPPED)

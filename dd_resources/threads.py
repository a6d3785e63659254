"""The number of threads of a process.

Belongs here: setting it. Does not belong: how many there should be (compute.py, cluster.py); torch at module level.
"""

from __future__ import annotations


def set_threads(threads: int) -> None:
    """The number of threads that torch uses in this process."""
    import torch

    torch.set_num_threads(threads)

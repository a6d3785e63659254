"""What a container may use of its machine, as the kernel's control groups say.

Belongs here: reading their limits. Does not belong: what is made of them (compute.py, planning/memory.py).

Docker's --memory and --cpus and the limits of a pod; a machine without limits, or with the first version of control
groups, counts as unlimited.
"""

from __future__ import annotations

import math
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 62


def free_in_container(group: Path = GROUP) -> int:
    """Bytes up to the memory limit, counting as free what the kernel keeps of files; 2^62 without a limit."""
    try:
        limit, used = (int((group / name).read_text("ascii")) for name in ("memory.max", "memory.current"))
        stated = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        return max(0, limit - used + int(stated["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return UNLIMITED


def cpus_of_container(group: Path = GROUP) -> int:
    """Cores that the processor quota pays for, at least 1, rounded up; 2^62 without a quota."""
    try:
        quota, period = map(int, (group / "cpu.max").read_text("ascii").split())
        return max(1, math.ceil(quota / period))
    except (OSError, ValueError, ZeroDivisionError):
        return UNLIMITED

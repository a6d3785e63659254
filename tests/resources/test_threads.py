"""What a computing process asks of the machine.

Belongs here: threads.py. Does not belong: how many threads there should be (test_compute.py).
"""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from dd_resources.threads import set_threads
set_threads(1) if sys.argv[1] == "kept" else torch.set_num_threads(1)
def step():
    torch.ones(10 << 20)
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(torch.get_num_threads(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_activations_stay_with_the_process() -> None:
    def pages(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        threads, faults = map(int, done.stdout.split())
        assert threads == 1
        return faults

    # Ten times 40 MB are 102,400 pages that the system would clear anew: glibc's own limit for keeping is 32 MB.
    assert pages("kept") < 1_000 < pages("given back")

"""Freed memory stays with the process: a large tensor that is made again costs no page faults. A process of its own, as
settings of the C library last."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from frostline.training.allocator import keep_freed_memory
if {keeps}:
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):  # the heap has grown to what it needs
    torch.ones(2**24).add(1)
before = faults()
for _ in range(4):
    torch.ones(2**24).add(1)
print(faults() - before)
"""
PAGES = 4 * 2 * 2**24 * 4 // 4096  # of the tensors in the loop


@pytest.mark.long
@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_large_tensors_are_not_faulted_in_again() -> None:
    counted = {}
    for keeps in (False, True):
        command = [sys.executable, "-c", FAULTS.format(keeps=keeps)]
        counted[keeps] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert counted[True] < 0.02 * PAGES
    assert counted[False] > 10 * counted[True], "without the settings there is something to save"

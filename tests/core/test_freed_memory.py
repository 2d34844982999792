import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from nrpurify.core.precision import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        features = [torch.ones(4_500_000) for _ in range(3)]
        del features
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other rules")
@pytest.mark.parametrize("own", [False, True])
def test_memory_that_is_freed_is_used_again(own):
    """Unless the environment says what glibc keeps."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "1000000"} if own else None
    command = [sys.executable, "-c", STEPS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    before, after = map(int, done.stdout.split())
    if not before:  # by chance another block lies behind those that are freed
        pytest.skip("this process gives no memory back")
    assert after > before / 2 if own else after < before / 4

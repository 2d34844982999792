"""Each public name has an example, and the examples run."""

import subprocess
import sys

CODE = """
import doctest, pathlib, sys, tempfile
import torch
import nrpurify

names = {"torch": torch, "nrpurify": nrpurify, "tempfile": tempfile, "Path": pathlib.Path}
runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder(recurse=False)
for name in nrpurify.__all__:
    (test,) = finder.find(getattr(nrpurify, name), name, globs=dict(names))
    if not test.examples:
        print(f"{name} has no example")
    runner.run(test)
print("failed", runner.failures)
"""


def test_each_public_name_has_an_example_that_runs():
    # in a process of its own: examples register names
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert out.stdout.strip() == "failed 0", out.stdout + out.stderr

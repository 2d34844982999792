"""What ``make audit`` tells of pip-audit's answer."""

import importlib.util
from pathlib import Path

FILE = Path(__file__).parent.parent / "tools" / "audit.py"
SPEC = importlib.util.spec_from_file_location("audit", FILE)
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

OWN = {"name": "nrpurify", "skip_reason": "not found on PyPI"}
GOOD = {"name": "numpy", "version": "2.0.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "not found on PyPI and could not be audited"}
BAD = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


def test_all_checked():
    code, lines = audit.summary({"dependencies": [OWN, GOOD]})
    assert (code, lines) == (0, ["1 of 1 packages were checked", "no known vulnerabilities"])


def test_what_could_not_be_checked_is_no_success():
    code, lines = audit.summary({"dependencies": [OWN, GOOD, SKIPPED]})
    assert code == 2
    assert lines[0] == "1 of 2 packages were checked"
    assert lines[1].startswith("NOT CHECKED: torch; the first: not found on PyPI")


def test_vulnerabilities_are_named():
    code, lines = audit.summary({"dependencies": [BAD, SKIPPED]})
    assert code == 1
    assert lines[1:3] == [
        "pillow 1.0: PYSEC-1, fixed in 1.1",
        "pillow 1.0: PYSEC-2, fixed in no version",
    ]
    assert lines[3].startswith("NOT CHECKED: torch")

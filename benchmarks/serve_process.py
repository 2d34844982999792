"""Starts a server as a separate process, for serve_load.py and serve_abuse.py."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ServerProcess:
    """Starts ``nrpurify serve`` on a free port and waits until it is ready.

    Attributes:
        cold_start: Seconds from the start of the process to the first ready answer.
        lines: What it logged, as JSON objects.
    """

    def __init__(self, *options: str) -> None:
        begun = time.perf_counter()
        words = ["serve", "--port", "0", "--log-format", "json", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nrpurify", *words], stderr=subprocess.PIPE, text=True
        )
        self.texts: list[str] = []
        self.port = 0
        for line in self.process.stderr:
            self.texts.append(line)
            if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        if not self.port:
            raise SystemExit("".join(self.texts))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while self.get("/readyz")[0] != 200:
            time.sleep(0.05)
        self.cold_start = time.perf_counter() - begun

    def _read(self) -> None:
        with contextlib.suppress(ValueError):
            self.texts.extend(self.process.stderr)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(text) for text in list(self.texts) if text.startswith("{")]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def cpu_seconds(self) -> float:
        """Processor time of the process so far."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> float:
        """Resident memory in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * _PAGE / 2**20

    def stop(self) -> int:
        """End it as a supervisor does; returns its exit code."""
        self.process.terminate()
        code = self.process.wait(400)
        self._reader.join(10)
        return code

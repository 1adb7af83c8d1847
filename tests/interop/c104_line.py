"""Starts c104 in a process of its own and talks with it; a test fails, and is not skipped, where it is missing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".venv-interop" / "bin" / "python"
SCRIPT: Final = Path(__file__).with_name("c104_peer.py")
_END_S: Final = 20


class C104:
    """One running c104."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Let it do one thing and return its answer; what c104 raises fails the test."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"{SCRIPT.name} ended with {self._process.wait(_END_S)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            pytest.fail(f"c104, asked to {do}: {answer['error']}")
        return answer


@contextmanager
def c104() -> Iterator[C104]:
    """Start c104, and end it."""
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON.relative_to(ROOT)} is missing: `make setup` makes it")
    with subprocess.Popen([PYTHON, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        peer = C104(process)
        yield peer
        peer.ask("close")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(_END_S) == 0

"""The folder of a running agent: who holds it, and the status that it writes for `gridwitness-agent status`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from kit.exitcodes import DataError, TryAgainError, UnreachableError
from kit.files import MODE_PRIVATE, read_bounded, write_atomic
from wire.anchor import ANCHOR_BYTES_MAX
from wire.types import sha256

STATUS_FILE: Final = "status.json"
LOCK_FILE: Final = "lock"
OUTBOX_FILE: Final = "outbox.sqlite"
HEADERS_FILE: Final = "headers.sqlite"
ANCHOR_FILE: Final = "anchor.cbor"
CONFLICTS_FOLDER: Final = "conflicts"
STATUS_AGE_MS_MAX: Final = 15_000
_STATUS_BYTES_MAX: Final = 4 * 1024 * 1024


class StateFolder:
    """The state folder, held by one agent at a time until `release` or the end of the process.

    Raises:
        TryAgainError: Another agent holds it.
        OSError: It cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE_PRIVATE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise TryAgainError(
                f"another agent uses {path}; stop it first, or give this one its own state_dir"
            ) from None

    @property
    def outbox_path(self) -> Path:
        """Where the outbox lies."""
        return self.path / OUTBOX_FILE

    @property
    def headers_path(self) -> Path:
        """Where the light node keeps what it believes of the ledger."""
        return self.path / HEADERS_FILE

    def given_anchor(self) -> bytes | None:
        """Return the anchor that `gridwitness-agent trust anchor` has put there, or None.

        Raises:
            StorageError: It cannot be read.
        """
        path = self.path / ANCHOR_FILE
        return read_bounded(path, bytes_max=ANCHOR_BYTES_MAX) if path.is_file() else None

    def remove_anchor(self) -> None:
        """Forget an anchor that was taken or refused."""
        (self.path / ANCHOR_FILE).unlink(missing_ok=True)

    def write_conflicts(self, conflicts: Sequence[bytes]) -> None:
        """Write evidence of conflicts into files of its own, for people to hand on; each once.

        Raises:
            OSError: The disk takes nothing.
        """
        folder = self.path / CONFLICTS_FOLDER
        for raw in conflicts:
            path = folder / f"{sha256(raw).hex()[:16]}.cbor"
            if not path.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                write_atomic(path, raw)

    def write_status(self, value: dict[str, object]) -> None:
        """Replace the status file; it may be lost in a power cut, so that flash memory is spared."""
        temporary = self.path / f".{STATUS_FILE}.tmp"
        temporary.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        temporary.replace(self.path / STATUS_FILE)

    def release(self) -> None:
        """Let another agent have the folder."""
        os.close(self._lock)


def read_status(state_dir: Path, now_ms: int) -> dict[str, Any]:
    """Return what a running agent last wrote.

    Raises:
        UnreachableError: No agent runs, or it has not written for 15 s.
        DataError: The file holds something else.
    """
    path = state_dir / STATUS_FILE
    if not path.is_file():
        raise UnreachableError(f"there is no {path}; start the agent with: gridwitness-agent run")
    try:
        value = json.loads(read_bounded(path, bytes_max=_STATUS_BYTES_MAX))
        time_ms, is_running = int(value["time_ms"]), bool(value["is_running"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no status of an agent; it is written anew when the agent runs") from error
    age_ms = now_ms - time_ms
    if not is_running or age_ms > STATUS_AGE_MS_MAX:
        since = f"its last status is {max(0, age_ms) // 1000} s old" if is_running else "it was stopped"
        raise UnreachableError(f"the agent of {state_dir} does not run: {since}; start it with: gridwitness-agent run")
    assert isinstance(value, dict)
    return value

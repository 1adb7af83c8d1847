"""Fault proofs that wait for a block, on disk: whoever broke the protocol gains nothing by everybody's restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kit.exitcodes import StorageError
from kit.files import MODE_PRIVATE, read_bounded, write_atomic
from kit.logs import get_logger
from wire import cbor
from wire.errors import WireError

PROOF_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Much more than the proofs that wait against the validators of many epochs."""

_log = get_logger("proofs")


class ProofFile:
    """One file, a CBOR array of canonical proofs, written anew whenever they change.

    The node goes on whatever happens to it: what is lost here can still be said by others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[bytes, ...]:
        """Return what was written last, of which nothing is proven; none if that cannot be read."""
        try:
            found = cbor.decode(read_bounded(self._path, bytes_max=PROOF_FILE_BYTES_MAX))
        except FileNotFoundError:
            return ()
        except (OSError, StorageError, WireError) as error:
            _log.warning("waiting fault proofs are lost", reason=str(error))
            return ()
        return tuple(raw for raw in found if isinstance(raw, bytes)) if isinstance(found, list) else ()

    def write(self, proofs: Sequence[bytes]) -> None:
        """Bring all that waits to disk; on a full disk they wait in memory alone."""
        try:
            write_atomic(self._path, cbor.encode(list(proofs)), mode=MODE_PRIVATE)
        except OSError as error:
            _log.warning("waiting fault proofs are not on disk", reason=str(error))

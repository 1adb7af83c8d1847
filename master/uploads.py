"""Uploads of blobs on their way to a node: who has a place, and which one ends for another (docs/spec, clause BL-9).

Uploads are not signed: whoever reaches the API may bring what is named. So nobody gets ahead by holding on. A blob may
come several times at once, and the first that is whole ends the others; where places are short, who has gone longest
without a piece ends. Belongs to the event loop, but for `Uploading.write` and `Uploading.finish`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

from kit.clock import Clock
from kit.exitcodes import DataError, StorageError
from master.api.ports import BlobRefusedError
from master.party import Party
from rules.places import has_place
from wire.types import Digest

UPLOADS_MAX: Final = 16
"""At once; nobody takes more of them than are left for others."""
COPIES_MAX: Final = 4
"""Uploads of one blob at once."""
SLOW_MS: Final = 2000
"""Who has gone so long without a piece makes room for another blob."""


class Arriving(Protocol):
    """A blob that is being written."""

    def write(self, data: bytes) -> None:
        """Add bytes."""
        ...

    def finish(self) -> None:
        """Put it in its place, on disk."""
        ...

    def abort(self) -> None:
        """Give it up."""
        ...


class Uploads:
    """Those of one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: list[Uploading] = []

    def begin(self, digest: Digest, party: Party | None, start: Callable[[], Arriving]) -> Uploading:
        """Let an upload begin, if need be in the place of the slowest one.

        Args:
            digest: Of the blob.
            party: On whose account it comes; None for what the ledger names.
            start: Makes room on the disk.

        Raises:
            BlobRefusedError: All uploads of the party go on well, and it has no place for another.
            StorageError: Of ``start``.
        """
        slowest = self._in_the_way(digest, party)
        made = Uploading(digest, party, start(), self._clock)
        if slowest is not None:
            self._end(slowest)
        self._open.append(made)
        return made

    def done(self, upload: Uploading, *, is_here: bool) -> None:
        """Forget an upload that has ended; once its blob is here, nobody needs to bring it any more."""
        if upload in self._open:
            self._open.remove(upload)
        if is_here:
            for other in [one for one in self._open if one.digest == upload.digest]:
                self._end(other)

    def _in_the_way(self, digest: Digest, party: Party | None) -> Uploading | None:
        """Return the upload that has to end for another one, None while there is a place."""
        copies = [one for one in self._open if one.digest == digest]
        if len(copies) >= COPIES_MAX:
            return min(copies, key=_moved_ms)
        own = [one for one in self._open if one.party == party]
        if has_place(len(own), len(self._open), UPLOADS_MAX):
            return None
        slowest = min(own or self._open, key=_moved_ms)
        if self._clock.monotonic_ms() - slowest.moved_ms < SLOW_MS:
            whose = f"{len(own)} blobs of this organisation" if own else "as many blobs as this node takes at once"
            detail = f"{whose} are on their way; bring this one after them"
            raise BlobRefusedError(HTTPStatus.TOO_MANY_REQUESTS, "busy", detail)
        return slowest

    def _end(self, upload: Uploading) -> None:
        self._open.remove(upload)
        upload.over.set()


class Uploading:
    """Implements `master.api.ports.Upload` over a blob that is being written; its owner ends it with `abort`."""

    def __init__(self, digest: Digest, party: Party | None, arriving: Arriving, clock: Clock) -> None:
        self.digest, self.party = digest, party
        self.over = asyncio.Event()
        """Set when it is to end: its place went to another, or its blob is here."""
        self.moved_ms = clock.monotonic_ms()
        """When its newest piece came."""
        self._arriving, self._clock = arriving, clock
        self.on_done: Callable[[Uploading], None] = _nothing

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._do(partial(self._arriving.write, data))
        self.moved_ms = self._clock.monotonic_ms()

    def finish(self) -> None:
        """Put it in its place."""
        self._do(self._arriving.finish)

    def done(self) -> None:
        """Give up what is not whole; let what waited go on."""
        with suppress(StorageError):
            self._arriving.abort()
        self.on_done(self)

    @staticmethod
    def _do(call: Callable[[], None]) -> None:
        try:
            call()
        except DataError as error:
            raise BlobRefusedError(HTTPStatus.BAD_REQUEST, "blob-differs", str(error)) from error
        except StorageError as error:
            raise BlobRefusedError(HTTPStatus.INSUFFICIENT_STORAGE, "blobs-full", str(error)) from error


def _moved_ms(upload: Uploading) -> int:
    return upload.moved_ms


def _nothing(_upload: Uploading) -> None:
    pass

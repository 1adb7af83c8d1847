"""From readings to signed transactions: pure, so that the same readings always give the same bytes.

An item is the record of the read that first found this content. Later reads that find the same content keep the item
and only move the read times, so that its digest stands still while nothing changes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from nacl.signing import SigningKey

from agent.model import DeviceFile, Reading
from wire import cbor
from wire.evidence import Artefact, Clock, Entry, Evidence, Item, SeenBlock
from wire.tx import Transaction
from wire.types import EVIDENCE_BYTES_MAX, EVIDENCE_DEVICES_MAX, Digest

CONTRACT: Final = "consistency"
CONTRACT_VERSION: Final = 1
METHOD: Final = "report"
READS_MAX: Final = 3
"""Reads of one file that a change may take before the file is reported as unstable."""
READS_OF_POLL_MAX: Final = 5
"""Reads of a device in one poll: what is read for the first time late in it is read again, too."""
UNSTABLE: Final = "unstable"

_SPLIT_RESERVE_BYTES: Final = 16
"""Room for counters and the array's length, which may need some bytes more than in the measured evidence."""


# --- items --------------------------------------------------------------------------------------------------------


def to_item(reading: Reading) -> Item:
    """Return the item that a reading of all files gives."""
    return Item(reading.identity, tuple(_artefact(file) for file in reading.files), reading.revision)


def _artefact(file: DeviceFile) -> Artefact:
    return Artefact(
        kind=file.kind,
        name=file.name,
        version=file.version,
        size=file.size,
        read_size=file.digest.size,
        sha256=file.digest.sha256,
        chunk_root=file.digest.chunk_root,
        method=file.method,
        read_from_ms=file.read_from_ms,
        read_to_ms=file.read_to_ms,
        errors=file.errors,
        word=file.word,
        difference=file.difference,
    )


def changed_kinds(before: Item | None, after: Item) -> frozenset[str]:
    """Return the kinds whose content differs, is new or is gone.

    An artefact that was unstable and still is has not changed: what cannot be read twice alike is said once.
    """
    old = {} if before is None else {artefact.kind: _content(artefact) for artefact in before.artefacts}
    new = {artefact.kind: _content(artefact) for artefact in after.artefacts}
    return frozenset(kind for kind in old.keys() | new.keys() if old.get(kind) != new.get(kind))


def same_content(before: Item | None, after: Item) -> bool:
    """Tell whether two items differ in nothing but the times of their reads."""
    return (
        before is not None
        and (before.identity, before.revision) == (after.identity, after.revision)
        and not changed_kinds(before, after)
    )


def _content(artefact: Artefact) -> Artefact:
    plain = replace(artefact, read_from_ms=0, read_to_ms=0)
    if UNSTABLE in artefact.errors:
        blank = replace(plain, version="", size=0, read_size=0, sha256=b"", chunk_root=b"")
        return replace(blank, errors=(UNSTABLE,), word=None, difference=None)
    return plain


# --- a change is read until two reads agree ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """The content differs from what is known: read these kinds once more before believing it."""

    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The reading counts."""

    item: Item
    """The last item itself if nothing has changed."""
    is_change: bool
    read_from_ms: int
    read_to_ms: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Every read said something else about which files there are, or whose they are: nothing can be claimed."""

    detail: str


class Confirmation:
    """Decides about one poll: whether its readings agree, and on what.

    Args:
        last: The device's last item, None before the first.
    """

    def __init__(self, last: Item | None) -> None:
        self._last = last
        self._reading: Reading | None = None
        self._reads = 0
        self._reads_of: Counter[str] = Counter()

    @property
    def reading(self) -> Reading | None:
        """What was read so far, the newest of each file."""
        return self._reading

    def take(self, reading: Reading) -> ReadAgain | Confirmed | Unsettled:
        """Take the next reading of this poll.

        Args:
            reading: All files the first time, then at least the kinds that were asked for.
        """
        self._reads += 1
        self._reads_of.update(file.kind for file in reading.files)
        before = self._reading
        if before is not None:
            now = self._reading = merged(before, reading)
            return self._compare(before, now)
        self._reading = reading
        item = to_item(reading)
        if same_content(self._last, item):
            return self._confirmed(reading, item)
        return ReadAgain(changed_kinds(self._last, item))

    def _compare(self, before: Reading, now: Reading) -> ReadAgain | Confirmed | Unsettled:
        item = to_item(now)
        unread = frozenset(listed.kind for listed in now.listed) - {file.kind for file in now.files}
        disagreed = changed_kinds(to_item(before), item) | unread
        if before.revision != now.revision:
            # it changed in mid-poll: whatever was read before that may be of another time
            disagreed |= frozenset(listed.kind for listed in now.listed)
        if not disagreed and (before.identity, before.revision) == (now.identity, now.revision):
            return self._confirmed(now, item)
        # one change in the midst of a poll makes two reads differ: a file is unstable only if three of its own did
        rarely_read = sorted(kind for kind in disagreed if self._reads_of[kind] < READS_MAX)
        if self._reads < READS_MAX or (rarely_read and self._reads < READS_OF_POLL_MAX):
            return ReadAgain(changed_kinds(self._last, item) | disagreed)
        if before.identity != now.identity:
            detail = f"says each time of {self._reads} that it is another device"
        elif before.revision != now.revision:
            detail = f"says each time of {self._reads} that it changed once more"
        elif unread:
            detail = f"lists each time of {self._reads} other files"
        elif rarely_read:
            detail = f"went on to change {', '.join(rarely_read)} in {self._reads} reads"
        else:
            return self._confirmed(now, _marked_unstable(item, disagreed))
        return Unsettled(detail)

    def _confirmed(self, reading: Reading, item: Item) -> Confirmed:
        span = (reading.read_from_ms, max(reading.read_from_ms, reading.read_to_ms))
        if self._last is not None and same_content(self._last, item):
            return Confirmed(self._last, False, *span)  # noqa: FBT003 - a field
        return Confirmed(item, True, *span)  # noqa: FBT003 - a field


def merged(before: Reading, again: Reading) -> Reading:
    """Take what was read again, and of the rest what the device still lists as before."""
    files = {file.kind: file for file in again.files}
    listed = {entry.kind: entry for entry in again.listed}
    for file in before.files:
        entry = listed.get(file.kind)
        if entry is not None and (entry.name, entry.version, entry.size) == (file.name, file.version, file.size):
            files.setdefault(file.kind, file)
    ordered = tuple(files[kind] for kind in sorted(files))
    return replace(again, files=ordered, read_from_ms=before.read_from_ms)


def _marked_unstable(item: Item, kinds: frozenset[str]) -> Item:
    return replace(
        item,
        artefacts=tuple(
            replace(artefact, errors=tuple(sorted({*artefact.errors, UNSTABLE})), difference=None)
            if artefact.kind in kinds
            else artefact
            for artefact in item.artefacts
        ),
    )


# --- what is known of a device ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What the gateway knows of one device."""

    device: str
    status: str
    """How the newest read ended, one of `wire.evidence.STATUSES`."""
    item: Item | None = None
    item_digest: Digest | None = None
    read_from_ms: int | None = None
    """Start of the last completed read."""
    read_to_ms: int | None = None
    has_receipt: bool = False
    """A verified receipt proves that the ledger holds the item."""


def after_read(before: DeviceState | None, device: str, confirmed: Confirmed) -> DeviceState:
    """Return the state after a completed poll; without a change the item stays the one that is known."""
    span = (confirmed.read_from_ms, confirmed.read_to_ms)
    if before is not None and before.item is not None and not confirmed.is_change:
        return replace(before, status="read", read_from_ms=span[0], read_to_ms=span[1])
    return DeviceState(device, "read", confirmed.item, confirmed.item.digest(), *span)


def after_failure(before: DeviceState | None, device: str, status: str) -> DeviceState:
    """Return the state after a poll that did not come to its end: the last item stays, only the status moves."""
    return DeviceState(device, status) if before is None else replace(before, status=status)


def after_receipt(state: DeviceState, evidence: Evidence) -> DeviceState:
    """Return the state after a receipt: a report that carried the item has settled it."""
    if state.item_digest is None:
        return state
    carried = any(entry.item is not None and entry.item_digest == state.item_digest for entry in evidence.devices)
    return replace(state, has_receipt=True) if carried else state


def without_receipt(state: DeviceState) -> DeviceState:
    """Return the state whose item will be carried whole again."""
    return replace(state, has_receipt=False)


# --- evidence and transactions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signer:
    """Who reports, and signs for it."""

    gateway: str
    chain: str
    key: SigningKey

    def transaction(self, evidence: bytes, seq: int, valid_until_ms: int) -> bytes:
        """Wrap evidence into a signed transaction.

        Args:
            evidence: Canonical evidence of at most 48 KiB.
            seq: The key's next number.
            valid_until_ms: Last block time at which it may be included.
        """
        return Transaction(
            chain=self.chain,
            sender=self.gateway,
            contract=CONTRACT,
            version=CONTRACT_VERSION,
            method=METHOD,
            args={"evidence": evidence},
            seq=seq,
            valid_until_ms=valid_until_ms,
        ).sign(self.key)


def entry_of(state: DeviceState) -> Entry:
    """Return a device's line in a report: the whole item as long as it has no receipt."""
    return Entry(
        device=state.device,
        status=state.status,
        read_from_ms=state.read_from_ms,
        read_to_ms=state.read_to_ms,
        item_digest=state.item_digest,
        item=None if state.has_receipt else state.item,
    )


def build_evidence(
    gateway: str,
    numbers: tuple[int, int],
    clock: Clock,
    block: SeenBlock,
    states: Iterable[DeviceState],
    *,
    devices_max: int = EVIDENCE_DEVICES_MAX,
    nonce: bytes | None = None,
) -> tuple[Evidence, ...]:
    """Return the report about all devices, split where it would be larger than 48 KiB or 64 devices.

    Args:
        gateway: Identifier of the gateway.
        numbers: Boot, and the sequence number of the first part; the others follow it.
        clock: The gateway's clock now.
        block: The newest block that the gateway has verified.
        states: At least one; no device twice.
        devices_max: Devices in one part, 1..64.
        nonce: That of the read order which it answers, if it answers one.
    """
    boot, seq = numbers
    entries = sorted((entry_of(state) for state in states), key=lambda entry: entry.device)
    whole = Evidence(gateway, boot, seq, clock, block, tuple(entries[:1]), nonce)
    empty_bytes = len(whole.encode()) - _entry_bytes(entries[0])
    parts: list[list[Entry]] = [[]]
    room = EVIDENCE_BYTES_MAX - _SPLIT_RESERVE_BYTES - empty_bytes
    left = room
    for entry in entries:
        size = _entry_bytes(entry)
        if parts[-1] and (size > left or len(parts[-1]) >= devices_max):
            parts.append([])
            left = room
        parts[-1].append(entry)
        left -= size
    return tuple(
        Evidence(gateway, boot, number, clock, block, tuple(part), nonce)
        for number, part in zip(itertools.count(seq), parts, strict=False)
    )


def _entry_bytes(entry: Entry) -> int:
    """Return how many bytes an entry takes inside evidence."""
    value: dict[str, cbor.Value] = {name: getattr(entry, name) for name in _ENTRY_NAMES}
    value["item"] = None if entry.item is None else entry.item.to_value()
    return len(cbor.encode(value))


_ENTRY_NAMES: Final = ("device", "status", "read_from_ms", "read_to_ms", "item_digest", "item")

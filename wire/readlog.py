"""Read logs: which restricted data a node gave to whom, as a chain of digests (docs/spec, clauses RD-1 to RD-5).

A log is a row of segments. A segment is a head and entries, each behind its length in four bytes; each entry holds the
digest of the one before it, so that the digest of the newest one, anchored in the ledger, stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.cose import KID_BYTES
from wire.errors import FormatError, ProofError, WireError
from wire.fields import Fields
from wire.types import DIGEST_BYTES, Digest, sha256

TYPE: Final = "gridwitness/reads/1"
START: Final = bytes(DIGEST_BYTES)
"""Stands for the entry before the first."""
ENTRY_BYTES_MAX: Final = 1024
SEGMENT_BYTES_MAX: Final = 4 * 1024 * 1024 + 2 * ENTRY_BYTES_MAX
_LENGTH_BYTES: Final = 4
_HEAD: Final = ("type", "chain", "member", "first", "previous")
_ENTRY: Final = ("index", "time_ms", "height", "account", "kid", "class", "subject", "item", "grant", "previous")


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """How a segment begins."""

    chain: str
    member: str
    first: int
    """Index of its first entry, 1 and up."""
    previous: Digest
    """Digest of the entry before it."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode({"type": TYPE} | {name: getattr(self, name) for name in _HEAD[1:]})


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """One read that a node answered."""

    index: int
    """From 1 on, without a gap."""
    time_ms: int
    """The node's clock, milliseconds since 1970 UTC."""
    height: int
    """Newest block at that time: the state in which the permission counted."""
    account: str
    kid: bytes
    """Key that signed the request."""
    data_class: str
    subject: str
    item: str
    """What was read: the path of the request."""
    grant: str
    """owner, sealer, gateway, or the id of a grant in hex."""
    previous: Digest
    """Digest of the entry before it."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        value: dict[str, cbor.Value] = {name: getattr(self, name) for name in _ENTRY if name != "class"}
        return cbor.encode(value | {"class": self.data_class})

    def digest(self) -> Digest:
        """Return the digest that the next entry holds, and that an anchor names."""
        return sha256(self.encode())


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a node said in the ledger that its log stood."""

    number: int
    entries: int
    head: Digest


@dataclass(frozen=True, slots=True)
class Segment:
    """What a file of a log holds."""

    head: SegmentHead
    entries: tuple[ReadEntry, ...]
    torn_bytes: int
    """Of a last record that is not whole: a write that a crash cut off, before anybody was answered."""


@dataclass(frozen=True, slots=True)
class CheckedLog:
    """A log whose entries follow one another and agree with every anchor."""

    chain: str
    member: str
    first: int
    last: int
    """Index of the newest entry; ``first`` - 1 when there is none."""
    head: Digest
    anchored: int
    """Entries up to which an anchor stands for it; 0 when none does."""


def frame(record: bytes) -> bytes:
    """Return a record as it stands in a segment."""
    return len(record).to_bytes(_LENGTH_BYTES, "big") + record


def read_segment(raw: bytes, name: str) -> Segment:
    """Take a segment apart; that its entries follow one another is `check_log`'s to say.

    Raises:
        FormatError: A record is none of this format; the message names it by the index it should have.
    """
    at = 0
    records: list[bytes] = []
    while len(raw) - at >= _LENGTH_BYTES:
        end = at + _LENGTH_BYTES + int.from_bytes(raw[at : at + _LENGTH_BYTES], "big")
        if end - at > ENTRY_BYTES_MAX + _LENGTH_BYTES:
            raise FormatError(f"{name}: record {len(records)} says it is longer than {ENTRY_BYTES_MAX} bytes")
        if end > len(raw):
            break
        records.append(raw[at + _LENGTH_BYTES : end])
        at = end
    if not records:
        raise FormatError(f"{name}: it does not begin as a segment of a read log does")
    head = _head(records[0], name)
    entries = []
    for place, record in enumerate(records[1:]):
        try:
            entries.append(_entry(record))
        except WireError as error:
            raise FormatError(f"{name}: entry {head.first + place} is damaged: {error}") from error
    return Segment(head, tuple(entries), len(raw) - at)


def check_log(segments: Iterable[Segment], anchors: Sequence[Anchor]) -> CheckedLog:
    """Prove that a log is whole and the one that was anchored.

    Args:
        segments: In their order; the oldest ones may be gone.
        anchors: All of the node's, ascending.

    Raises:
        ProofError: Names the first entry that is not what it should be.
    """
    walk: _Walk | None = None
    for segment in segments:
        if walk is None:
            walk = _Walk(segment.head, {anchor.entries: anchor for anchor in anchors})
        walk.take(segment)
    if walk is None:
        walk = _Walk(SegmentHead("", "", 1, START), {})
    later = next((anchor for anchor in anchors if anchor.entries > walk.index), None)
    if later is not None:
        raise ProofError(f"entry {walk.index + 1}: it is missing; anchor {later.number} names {later.entries} entries")
    return CheckedLog(*walk.owner, walk.first, walk.index, walk.digest, walk.anchored)


class _Walk:
    """Where a check of a log has come to."""

    def __init__(self, head: SegmentHead, named: dict[int, Anchor]) -> None:
        self.owner, self.first, self.named = (head.chain, head.member), head.first, named
        self.index, self.digest = head.first - 1, head.previous
        self.torn_bytes = 0
        if self.index == 0 and self.digest != START:
            raise ProofError("entry 1: the log does not begin with nothing before it")
        self.anchored = _agree(named, self.index, self.digest, 0)

    def take(self, segment: Segment) -> None:
        """Follow one segment.

        Raises:
            ProofError: It does not continue what was before, or is not what was anchored.
        """
        head = segment.head
        found = (head.chain, head.member, head.first, head.previous)
        if found != (*self.owner, self.index + 1, self.digest) or self.torn_bytes:
            raise ProofError(f"entry {self.index + 1}: the next segment does not continue the one before it")
        for entry in segment.entries:
            before, self.index = self.index, self.index + 1
            if entry.index != self.index:
                raise ProofError(f"entry {self.index}: entry {entry.index} stands in its place")
            if entry.previous != self.digest:
                wrong = self.index if self.anchored == before else before
                raise ProofError(f"entry {wrong}: entries {before} and {self.index} do not follow each other")
            self.digest = entry.digest()
            self.anchored = _agree(self.named, self.index, self.digest, self.anchored)
        self.torn_bytes = segment.torn_bytes


def _agree(named: dict[int, Anchor], index: int, digest: Digest, anchored: int) -> int:
    """Return up to where anchors agree.

    Raises:
        ProofError: The one for ``index`` does not.
    """
    anchor = named.get(index)
    if anchor is None:
        return anchored
    if anchor.head != digest:
        raise ProofError(
            f"entry {anchored + 1}: it or one up to {index} is not what anchor {anchor.number} of {index} entries "
            "stands for"
        )
    return index


def _head(record: bytes, name: str) -> SegmentHead:
    try:
        fields = Fields(cbor.decode(record, bytes_max=ENTRY_BYTES_MAX), _HEAD, "read-log")
        fields.choice("type", (TYPE,))
        return SegmentHead(
            fields.identifier("chain"),
            fields.identifier("member"),
            fields.integer("first", 1),
            fields.digest("previous"),
        )
    except WireError as error:
        raise FormatError(f"{name}: it does not begin as a segment of a read log does: {error}") from error


def _entry(record: bytes) -> ReadEntry:
    fields = Fields(cbor.decode(record, bytes_max=ENTRY_BYTES_MAX), _ENTRY, "read-log.entry")
    return ReadEntry(
        fields.integer("index", 1),
        fields.integer("time_ms"),
        fields.integer("height"),
        fields.identifier("account"),
        fields.octets("kid", KID_BYTES, KID_BYTES),
        fields.text("class"),
        fields.text("subject"),
        fields.text("item"),
        fields.text("grant"),
        fields.digest("previous"),
    )

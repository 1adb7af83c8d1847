"""What the contract `consistency` keeps of gateways: which evidence was accepted, and the newest report by device."""

from __future__ import annotations

from itertools import islice
from typing import Final

from master.contracts import alarms, membership
from master.contracts.context import OK, Context, Refused
from rules import gaps
from rules.appraisal import Finding
from rules.severity import EVIDENCE_CONFLICT
from wire.cbor import Value
from wire.evidence import OFFSET_MS_MAX, Entry, Evidence
from wire.fields import Fields
from wire.types import Digest, sha256

COUNTERS: Final = b"counters/"
DUPLICATE: Final = "duplicate"
CONFLICT: Final = "conflict"
Pair = tuple[int, int]
"""(boot, seq) of evidence; pairs are ordered as tuples are."""
FORGOTTEN_MAX: Final = 2
"""Pairs that one report forgets at the most."""
_BEFORE_ALL: Final[Pair] = (0, 0)
_RECORD: Final = ("boot", "seq", "time_ms", "tx", "height", "accepted", "floor", "devices")
_DEVICE: Final = ("boot", "seq", "status", "read_to_ms", "item_digest")
_COUNTER_BYTES: Final = 8


def newest_report(context: Context, gateway: str) -> Report:
    """Return what is kept of a gateway, a fresh copy."""
    return Report(context.get(_gateway_key(gateway)))


def accept(context: Context, newest: Report, evidence: Evidence, raw: bytes) -> str:
    """Remember evidence under its pair, or tell that the pair is taken.

    The ledger remembers the newest ``evidence_window`` pairs of a gateway; what is older than all of them is refused,
    since it could not be told from a repeat.

    Args:
        context: The running call.
        newest: Of the gateway; counts the pair when it is accepted.
        evidence: As decoded.
        raw: Its canonical bytes.

    Returns:
        ok, duplicate or conflict.

    Raises:
        Refused: too-old.
    """
    digest, pair = sha256(raw), (evidence.boot, evidence.seq)
    key = _pair_key(evidence.gateway, pair)
    known = context.get(key)
    if known == digest:
        return DUPLICATE
    if isinstance(known, bytes):
        _tell_conflict(context, evidence, known, digest)
        return CONFLICT
    if pair <= newest.floor:
        raise Refused("too-old")
    context.put(key, digest)
    newest.accepted += 1
    # a window that was made smaller by vote is reached step by step
    too_many = min(newest.accepted - membership.integer_parameter(context, "evidence_window"), FORGOTTEN_MAX)
    for oldest, _ in tuple(islice(context.scan(_pair_key(evidence.gateway, None)), max(0, too_many))):
        context.delete(oldest)
        newest.floor = _pair_of(oldest)
        newest.accepted -= 1
    return OK


def take(context: Context, newest: Report, evidence: Evidence) -> frozenset[str]:
    """Make accepted evidence the newest report of the devices in it, store that, and say so.

    Returns:
        Devices of which newer evidence came before; their entries change nothing.
    """
    pair = (evidence.boot, evidence.seq)
    late = frozenset(entry.device for entry in evidence.devices if newest.pair_of(entry.device) > pair)
    if pair > newest.pair:
        newest.pair, newest.time_ms = pair, evidence.clock.time_ms
        newest.tx, newest.height = context.tx_id, context.height
    context.emit(
        "report_accepted",
        evidence.gateway,
        {
            "seq": evidence.seq,
            "boot": evidence.boot,
            "late": [_told(entry) for entry in evidence.devices if entry.device in late],
            "answer": None if evidence.nonce is None else _answer(context, evidence, evidence.nonce),
            "devices": [_told(entry) for entry in evidence.devices if entry.device not in late],
            "gateway": evidence.gateway,
            "time_ms": evidence.clock.time_ms,
        },
    )
    for entry in evidence.devices:
        if entry.device not in late:
            _record_entry(context, evidence, entry, newest)
    context.put(_gateway_key(evidence.gateway), newest.to_value())
    _count(context, evidence)
    return late


def forget(context: Context, gateway: str, device: str) -> None:
    """Take a device out of the newest report of a gateway."""
    newest = newest_report(context, gateway)
    if newest.devices.pop(device, None) is not None:
        context.put(_gateway_key(gateway), newest.to_value())


def _count(context: Context, evidence: Evidence) -> None:
    """Keep which of the gateway's numbers are in the ledger, so that a gap can be proven (docs/spec GP-1)."""
    key = COUNTERS + evidence.gateway.encode("ascii")
    counters = gaps.decode_counters(context.get(key))
    context.put(key, gaps.taken(counters, evidence.boot, evidence.seq, evidence.clock.time_ms).to_value())


class Report:
    """The newest report of one gateway."""

    __slots__ = ("accepted", "devices", "floor", "height", "pair", "time_ms", "tx")

    def __init__(self, value: Value | None) -> None:
        self.pair = _BEFORE_ALL
        self.time_ms = 0
        self.tx: Digest = b""
        self.height = 0
        self.accepted = 0
        """Pairs that are remembered."""
        self.floor = _BEFORE_ALL
        """Pairs up to this one are forgotten."""
        self.devices: dict[str, Value] = {}
        if value is not None:
            fields = Fields(value, _RECORD, "consistency.gateway")
            self.pair = (fields.integer("boot"), fields.integer("seq"))
            self.time_ms = fields.integer("time_ms")
            self.tx = fields.octets("tx", 0, 32)
            self.height = fields.integer("height")
            self.accepted = fields.integer("accepted")
            floor = Fields(fields.raw("floor"), ("boot", "seq"), "consistency.gateway.floor")
            self.floor = (floor.integer("boot"), floor.integer("seq"))
            self.devices = fields.mapping("devices")

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {
            "tx": self.tx,
            "seq": self.pair[1],
            "boot": self.pair[0],
            "floor": {"seq": self.floor[1], "boot": self.floor[0]},
            "height": self.height,
            "devices": self.devices,
            "time_ms": self.time_ms,
            "accepted": self.accepted,
        }

    def pair_of(self, device: str) -> Pair:
        """Return the pair of the newest evidence about a device."""
        value = self.devices.get(device)
        if value is None:
            return _BEFORE_ALL
        fields = Fields(value, _DEVICE, "consistency.gateway.devices")
        return fields.integer("boot"), fields.integer("seq")

    def status_of(self, device: str) -> str | None:
        """Return how the newest read of a device ended, None before the first report."""
        value = self.devices.get(device)
        return None if value is None else Fields(value, _DEVICE, "consistency.gateway.devices").text("status")


def _record_entry(context: Context, evidence: Evidence, entry: Entry, newest: Report) -> None:
    if newest.status_of(entry.device) != entry.status:
        context.emit(
            "device_state",
            entry.device,
            {
                "device": entry.device,
                "status": entry.status,
                "gateway": evidence.gateway,
                "read_to_ms": entry.read_to_ms,
            },
        )
    newest.devices[entry.device] = {
        "seq": evidence.seq,
        "boot": evidence.boot,
        "status": entry.status,
        "read_to_ms": entry.read_to_ms,
        "item_digest": entry.item_digest,
    }


def _tell_conflict(context: Context, evidence: Evidence, known: Digest, digest: Digest) -> None:
    context.emit(
        "evidence_conflict",
        evidence.gateway,
        {
            "gateway": evidence.gateway,
            "boot": evidence.boot,
            "seq": evidence.seq,
            "accepted_digest": known,
            "evidence_digest": digest,
        },
    )
    where = f"boot {evidence.boot}, seq {evidence.seq}"
    alarms.happened(context, evidence.gateway, Finding("evidence", EVIDENCE_CONFLICT, known, digest, where))


def _told(entry: Entry) -> dict[str, Value]:
    return {
        "device": entry.device,
        "status": entry.status,
        "read_to_ms": entry.read_to_ms,
        "item_digest": entry.item_digest,
        "read_from_ms": entry.read_from_ms,
    }


def _answer(context: Context, evidence: Evidence, nonce: bytes) -> dict[str, Value]:
    """Return what tells when evidence that answers a read order was made (docs/spec, clause OR-6).

    The clock is ahead by what the gateway says of it, and by as much as it is ahead of the block besides.
    """
    clock = evidence.clock
    said_ms = clock.offset_ms if clock.source == "ledger" and clock.offset_ms is not None else 0
    ahead_ms = said_ms + max(0, clock.time_ms - context.time_ms)
    return {"nonce": nonce, "ahead_ms": min(ahead_ms, OFFSET_MS_MAX), "seen_height": evidence.block.height}


def _gateway_key(gateway: str) -> bytes:
    return b"gateway/" + gateway.encode("ascii")


def _pair_key(gateway: str, pair: Pair | None) -> bytes:
    """Return the key of a pair; without one, what the keys of all pairs of the gateway start with."""
    counters = b"" if pair is None else b"".join(number.to_bytes(_COUNTER_BYTES, "big") for number in pair)
    return b"pair/" + gateway.encode("ascii") + b"/" + counters


def _pair_of(key: bytes) -> Pair:
    counters = key[-2 * _COUNTER_BYTES :]
    return int.from_bytes(counters[:_COUNTER_BYTES], "big"), int.from_bytes(counters[_COUNTER_BYTES:], "big")

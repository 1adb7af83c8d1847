"""Corrections of data: a record beside what it corrects, never an edit (docs/spec, clauses GV-10 to GV-12).

State of `governance`: ("corrections/" | SHA-256 of the target in CBOR) -> how many there are of it;
("correction/" | that digest | number, 4 bytes) -> {proposal, target, old, new, reason, stood, height, time_ms}.
A target is {tx} or {namespace, key}; old and new are canonical CBOR; stood is SHA-256 of the entry that was corrected,
null for a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from master.contracts.context import KEY_BYTES_MAX, Context, Entries, Reads, Refused
from wire import cbor
from wire.cbor import Value
from wire.errors import FormatError, WireError
from wire.fields import Fields
from wire.types import Digest, sha256

NAMESPACE: Final = "governance"
CORRECTION: Final = "correction"
VALUE_BYTES_MAX: Final = 2048
"""Longest old or new value, as canonical CBOR."""
REASON_CHARACTERS_MAX: Final = 256
_COUNT: Final = b"corrections/"
_RECORD: Final = b"correction/"


@dataclass(frozen=True, slots=True)
class Target:
    """What is corrected: a transaction, or the entry under a key of a namespace."""

    tx: Digest | None
    namespace: str | None
    key: bytes | None

    def to_value(self) -> dict[str, Value]:
        """Return what proposals and records hold."""
        return {"tx": self.tx} if self.tx is not None else {"namespace": self.namespace, "key": self.key}

    def digest(self) -> Digest:
        """Return what its corrections are kept under."""
        return sha256(cbor.encode(self.to_value()))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The body of a proposal."""

    target: Target
    old: bytes
    """Canonical CBOR of what counted up to now."""
    new: bytes
    """Canonical CBOR of what counts instead."""
    reason: str


def decode_target(value: Value) -> Target:
    """Return what a proposal or record names.

    Raises:
        FormatError: It has another form.
    """
    if isinstance(value, dict) and "tx" in value:
        return Target(Fields(value, ("tx",), "correction.target").digest("tx"), None, None)
    fields = Fields(value, ("namespace", "key"), "correction.target")
    return Target(None, fields.identifier("namespace"), fields.octets("key", 1, KEY_BYTES_MAX))


def decode_wanted(body: Value) -> Wanted:
    """Return what a proposal's body asks for: ``target``, ``old``, ``new``, ``reason``.

    Raises:
        WireError: It has another form, changes nothing, or gives no reason.
    """
    fields = Fields(body, ("target", "old", "new", "reason"), "correction")
    old, new = (fields.octets(name, 1, VALUE_BYTES_MAX) for name in ("old", "new"))
    for raw in (old, new):
        cbor.decode(raw)
    if old == new:
        raise FormatError("correction: old and new are the same")
    reason = fields.text("reason", REASON_CHARACTERS_MAX, characters_min=1)
    return Wanted(decode_target(fields.raw("target")), old, new, reason)


def check_correction(context: Context, body: Mapping[str, Value]) -> None:
    """Refuse a correction of what is not there, or whose old value is not what counts now.

    The ledger's state does not hold transactions: that one exists, and what it said, is for those who vote to check.

    Raises:
        Refused: bad-body; no-such-entry; wrong-old.
    """
    try:
        wanted = decode_wanted(dict(body))
    except WireError:
        raise Refused("bad-body") from None
    counting = _counting(context, wanted.target)
    if counting is None and wanted.target.tx is None:
        raise Refused("no-such-entry")
    if counting is not None and counting != wanted.old:
        raise Refused("wrong-old")


def corrected(state: Reads, namespace: str, key: bytes) -> Value | None:
    """Return what counts as the value of a state entry: as it stands, or as it was corrected since it stands so."""
    raw = _counting(state, Target(None, namespace, key))
    return None if raw is None else cbor.decode(raw)


def newest(state: Reads, target: Target) -> Mapping[str, Value] | None:
    """Return the newest correction of a target, or None."""
    entries = state.namespace(NAMESPACE)
    digest = target.digest()
    count = _count(entries, digest)
    record = entries.get(_record_key(digest, count)) if count else None
    return record if isinstance(record, dict) else None


def record_correction(context: Context, proposal: Digest, body: Mapping[str, Value]) -> dict[str, Value]:
    """Write down an accepted correction; return what the event tells of it."""
    wanted = decode_wanted(dict(body))
    target = wanted.target
    before = newest(context, target)
    digest = target.digest()
    number = _count(context.namespace(NAMESPACE), digest) + 1
    standing = _standing(context, target)
    record: dict[str, Value] = {
        "proposal": proposal,
        "target": target.to_value(),
        "old": wanted.old,
        "new": wanted.new,
        "reason": wanted.reason,
        "stood": None if standing is None else sha256(standing),
        "height": context.height,
        "time_ms": context.time_ms,
    }
    context.put(_COUNT + digest, number)
    context.put(_record_key(digest, number), record)
    return {**record, "number": number, "supersedes": None if before is None else before["proposal"]}


def _standing(state: Reads, target: Target) -> bytes | None:
    """Return the canonical value of a state entry; None of a transaction, and when nothing stands there."""
    if target.namespace is None or target.key is None:
        return None
    value = state.namespace(target.namespace).get(target.key)
    return None if value is None else cbor.encode(value)


def _counting(state: Reads, target: Target) -> bytes | None:
    """Return what counts of a target now; None when nothing is there or, of a transaction, nothing was corrected."""
    standing, record = _standing(state, target), newest(state, target)
    if record is None or (target.tx is None and (standing is None or record["stood"] != sha256(standing))):
        return standing
    new = record["new"]
    assert isinstance(new, bytes)
    return new


def _count(entries: Entries, digest: Digest) -> int:
    value = entries.get(_COUNT + digest)
    return value if isinstance(value, int) else 0


def _record_key(digest: Digest, number: int) -> bytes:
    return _RECORD + digest + b"/" + number.to_bytes(4, "big")

"""Who votes, as the state says: read functions and records of the contract `validators`.

Before the first change the genesis validators, as `membership` keeps them, are the set. The state after block h names
the set that decides block h+2 (docs/spec, clauses VM-1 and VM-2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from master.contracts import membership
from master.contracts.context import Reads
from wire.cbor import Value
from wire.certificate import Validator, ValidatorSet
from wire.fields import Fields
from wire.genesis import CERTIFICATE_BYTES_MAX
from wire.types import Digest, sha256

NAMESPACE: Final = "validators"
MEMBER: Final = b"member/"
LEFT: Final = b"left/"
CHANGED: Final = b"changed"
PENDING: Final = b"pending"
RETIRED: Final = b"retired/"
ADDRESS_CHARACTERS_MAX: Final = 262
_LONG_DER: Final = b"\x30\x82"
_SHORT_DER: Final = b"\x30\x81"
DELAY: Final = 2
"""A change that block h executes is in force from block h + 2 on."""


@dataclass(frozen=True, slots=True)
class Record:
    """One validator."""

    member: str
    """An organisation."""
    vote_key: bytes
    """Ed25519, 32 bytes."""
    tls_certificate: bytes
    """DER."""
    address: str
    """``host:port`` of its peer port; empty when every node is told by its own configuration."""

    def validator(self) -> Validator:
        """Return what goes into the set."""
        return Validator(self.member, self.vote_key, sha256(self.tls_certificate))

    def to_value(self) -> dict[str, Value]:
        """Return what the state holds under the member's name."""
        return {"vote_key": self.vote_key, "tls_certificate": self.tls_certificate, "address": self.address}


@dataclass(frozen=True, slots=True)
class Change:
    """A proposed change of one member."""

    id: Digest
    """Of the transaction that proposed it."""
    kind: str
    """add, remove, rotate or urgent-removal."""
    record: Record
    """As it is to be; of a removal, as it is."""
    by: str
    deadline_ms: int
    """Block time after which it is void."""
    in_favour: tuple[str, ...]
    against: tuple[str, ...]
    is_approved: bool

    def to_value(self) -> dict[str, Value]:
        """Return what the state holds."""
        return {
            "id": self.id,
            "kind": self.kind,
            "member": self.record.member,
            **self.record.to_value(),
            "by": self.by,
            "deadline_ms": self.deadline_ms,
            "in_favour": list(self.in_favour),
            "against": list(self.against),
            "approved": self.is_approved,
        }


@dataclass(frozen=True, slots=True)
class Admitted:
    """A certificate with which a peer may connect."""

    member: str
    tls_certificate: bytes
    address: str


def records(state: Reads) -> tuple[Record, ...]:
    """Return the validators that the state names, sorted by member."""
    entries = state.namespace(NAMESPACE)
    if entries.get(CHANGED) is None:
        return tuple(
            Record(entry.member, entry.vote_key, entry.tls_certificate, "") for entry in membership.validators(state)
        )
    return tuple(decode_record(key[len(MEMBER) :].decode("ascii"), value) for key, value in entries.scan(MEMBER))


def validator_set(state: Reads) -> ValidatorSet:
    """Return the set that decides the next block but one."""
    return ValidatorSet(tuple(record.validator() for record in records(state)))


def pending(state: Reads) -> Change | None:
    """Return the change that is being voted on or awaits its READY; it may be past its deadline."""
    value = state.namespace(NAMESPACE).get(PENDING)
    return None if value is None else decode_change(value)


def admitted(state: Reads, height: int, time_ms: int, grace_blocks: int) -> tuple[Admitted, ...]:
    """Return who may connect beside the validators: an approved joiner, and who left or changed its certificate lately.

    Args:
        state: After block ``height``.
        height: Of the newest block.
        time_ms: Its time.
        grace_blocks: For so many blocks after a change the old certificate is good for following.
    """
    found = []
    change = pending(state)
    if change is not None and change.is_approved and time_ms <= change.deadline_ms:
        found.append(Admitted(change.record.member, change.record.tls_certificate, change.record.address))
    for key, value in state.namespace(NAMESPACE).scan(LEFT):
        fields = Fields(value, ("tls_certificate", "address", "height", "urgent"), "validators.left")
        last = fields.integer("height") + (0 if fields.raw("urgent") else grace_blocks)
        if height <= last:
            certificate = fields.octets("tls_certificate", 1, CERTIFICATE_BYTES_MAX)
            found.append(Admitted(key[len(LEFT) :].decode("ascii"), certificate, fields.text("address")))
    return tuple(found)


def is_validator(state: Reads, member: str) -> bool:
    """Tell whether an organisation runs a validator, as the newest state says."""
    return any(record.member == member for record in records(state))


def is_key_known(state: Reads, key: bytes) -> bool:
    """Tell whether a public key votes, did so once, or may be about to."""
    change = pending(state)
    if change is not None and change.record.vote_key == key:
        return True
    is_retired = state.namespace(NAMESPACE).get(RETIRED + sha256(key)) is not None
    return is_retired or any(record.vote_key == key for record in records(state))


def is_der_sequence(certificate: bytes) -> bool:
    """Tell whether the bytes are one DER sequence; what is in it, each node sees when it loads it."""
    if not 1 <= len(certificate) <= CERTIFICATE_BYTES_MAX:
        return False
    if certificate.startswith(_LONG_DER):
        return int.from_bytes(certificate[2:4], "big") == len(certificate) - 4
    return certificate.startswith(_SHORT_DER) and certificate[2:3] == bytes((len(certificate) - 3,))


def decode_record(member: str, value: Value) -> Record:
    """Return the record that a state entry holds.

    Raises:
        FormatError: It holds something else.
    """
    return _record(member, Fields(value, ("vote_key", "tls_certificate", "address"), "validators.member"))


def decode_change(value: Value) -> Change:
    """Return the change that a state entry holds.

    Raises:
        FormatError: It holds something else.
    """
    names = ("id", "kind", "member", "vote_key", "tls_certificate", "address", "by", "deadline_ms")
    fields = Fields(value, (*names, "in_favour", "against", "approved"), "validators.pending")
    return Change(
        fields.digest("id"),
        fields.text("kind"),
        _record(fields.identifier("member"), fields),
        fields.identifier("by"),
        fields.integer("deadline_ms"),
        _names(fields.sequence("in_favour", 16)),
        _names(fields.sequence("against", 16)),
        fields.raw("approved") is True,
    )


def _record(member: str, fields: Fields) -> Record:
    certificate = fields.octets("tls_certificate", 1, CERTIFICATE_BYTES_MAX)
    return Record(member, fields.digest("vote_key"), certificate, fields.text("address"))


def _names(entries: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(entry) for entry in entries)

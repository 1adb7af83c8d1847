"""The contract `validators` under the toy ledger: its real code on a dictionary, called by special transactions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import Entries, Refused
from master.contracts.validators import VALIDATORS
from wire import cbor
from wire.certificate import ValidatorSet
from wire.types import Digest, sha256

MARK: Final = b"validators "
_EMPTY: Final = b"genesis"


def certificate_of(name: str) -> bytes:
    """Return what stands for a TLS certificate: one DER sequence."""
    return b"\x30\x81\x80" + sha256(name.encode()) * 4


def call(sender: str, method: str, args: dict[str, cbor.Value], number: int) -> bytes:
    """Return a transaction; ``number`` tells it from others of the same content."""
    return MARK + cbor.encode([sender, method, args, number])


@dataclass(slots=True)
class _Rows:
    """Entries of one namespace."""

    rows: dict[bytes, bytes]

    def get(self, key: bytes) -> cbor.Value | None:
        raw = self.rows.get(key)
        return None if raw is None else cbor.decode(raw)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, cbor.Value]]:
        for key in sorted(self.rows):
            if key.startswith(prefix):
                yield key, cbor.decode(self.rows[key])


class Registry:
    """What the ledger knows of validators; one value per block, never changed once made."""

    def __init__(self, validators: ValidatorSet, organisations: tuple[str, ...] = ()) -> None:
        records: dict[bytes, cbor.Value] = {}
        for entry in validators.validators:
            record: dict[str, cbor.Value] = {
                "vote_key": entry.vote_key,
                "tls_certificate": entry.vote_key,  # whose digest the key ring takes for that of a certificate
            }
            records[b"validator/" + entry.member.encode()] = record
        for name in (*organisations, *(entry.member for entry in validators.validators)):
            member = membership.Member(name, "sub-centre", None, None, None, None, None)
            records[membership.organisation_entry(name)] = member.to_value()
        records[b"parameter/ready_blocks_max"] = 100
        records[b"parameter/validator_wait_ms"] = 0
        self._membership = _Rows({key: cbor.encode(value) for key, value in records.items()})
        self._own = _Rows({})
        self.validators = validators
        """The set that decides the next block but one."""

    def namespace(self, name: str) -> Entries:
        """Return the entries of a namespace."""
        return self._membership if name == membership.NAMESPACE else self._own

    @property
    def pending(self) -> validator_records.Change | None:
        """The change that is open."""
        return validator_records.pending(self)

    def after(
        self, transactions: tuple[bytes, ...], height: int, time_ms: int, state_root: Digest
    ) -> tuple[Registry, list[str]]:
        """Return what a block makes of it, and the code of every call in it."""
        calls = [raw for raw in transactions if raw.startswith(MARK)]
        if not calls and validator_records.PENDING not in self._own.rows:
            return self, []
        later = self._copy()
        VALIDATORS.opening(_Call(later, height, time_ms), state_root)  # type: ignore[misc]
        codes = [later._execute(raw, height, time_ms) for raw in calls]
        if later._own.rows != self._own.rows:
            later.validators = validator_records.validator_set(later)
        return later, codes

    def _copy(self) -> Registry:
        later = Registry.__new__(Registry)
        later._membership, later._own, later.validators = self._membership, _Rows(dict(self._own.rows)), self.validators
        return later

    def _execute(self, raw: bytes, height: int, time_ms: int) -> str:
        before = dict(self._own.rows)
        entry = cbor.decode(raw[len(MARK) :])
        assert isinstance(entry, list)
        sender, method, args, _ = entry
        assert isinstance(args, dict)
        context = _Call(self, height, time_ms, str(sender), sha256(raw))
        try:
            return VALIDATORS.methods[str(method)](context, args)
        except Refused as refusal:
            self._own.rows = before
            return refusal.code


@dataclass(slots=True)
class _Call:
    """Implements `master.contracts.context.Context`."""

    registry: Registry
    height: int
    time_ms: int
    sender: str = ""
    tx_id: Digest = _EMPTY
    chain: str = "simulated"
    kid: bytes = bytes(16)

    @property
    def organisation(self) -> str:
        return self.sender

    def namespace(self, name: str) -> Entries:
        return self.registry.namespace(name)

    def get(self, key: bytes) -> cbor.Value | None:
        return self.registry._own.get(key)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, cbor.Value]]:
        return self.registry._own.scan(prefix)

    def put(self, key: bytes, value: cbor.Value) -> None:
        self.put_encoded(key, cbor.encode(value))

    def put_encoded(self, key: bytes, raw: bytes) -> None:
        self.registry._own.rows[key] = raw

    def delete(self, key: bytes) -> None:
        self.registry._own.rows.pop(key, None)

    def emit(self, event_type: str, subject: str, data: dict[str, cbor.Value]) -> None:
        del event_type, subject, data

    def told(self) -> tuple[int, int]:
        return 0, 0

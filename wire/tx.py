"""Transactions: one signed call of one contract method (docs/spec, clauses TX-1 to TX-9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor, cose
from wire.errors import TOO_LARGE, FormatError
from wire.fields import Fields
from wire.types import INT_MAX, TX_BYTES_MAX, Digest, sha256

if TYPE_CHECKING:
    from nacl.signing import SigningKey

TX_AAD: Final = b"gridwitness/tx/1"
TX_VALUES_MAX: Final = 16_384
"""CBOR values in a payload: 64 KiB of empty maps would hold a replica up for 60 ms."""
VERSION_MAX: Final = 65_535
_NAMES: Final = (
    "chain",
    "sender",
    "contract",
    "version",
    "method",
    "args",
    "seq",
    "valid_until_ms",
)


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a member asks the ledger to do."""

    chain: str
    """Name of the ledger, a hyphen and the first 8 hex digits of the genesis digest."""
    sender: str
    """Account that asks; it survives a change of keys."""
    contract: str
    version: int
    """Version of the contract, 1..65535."""
    method: str
    args: dict[str, cbor.Value]
    seq: int
    """Counter of the signing key, 1..2^63-1, never reused."""
    valid_until_ms: int
    """Last block time, milliseconds since 1970 UTC, at which the transaction may be included."""

    def encode(self) -> bytes:
        """Return the canonical payload.

        Raises:
            CborError: ``args`` holds something outside the CBOR profile.
        """
        return cbor.encode({name: getattr(self, name) for name in _NAMES})

    def sign(self, key: SigningKey) -> bytes:
        """Return the signed transaction: the bytes that are sent, ordered and kept.

        Raises:
            FormatError: Longer than 64 KiB, or a field that `open_tx` would refuse.
            CborError: ``args`` holds something outside the CBOR profile.
        """
        payload = self.encode()
        _decode_payload(payload)
        raw = cose.sign1(payload, key, TX_AAD)
        _check_size(raw)
        return raw


@dataclass(frozen=True, slots=True)
class SignedTx:
    """A parsed transaction; its signature counts only after `verify` with the key that the ledger holds."""

    raw: bytes
    """The whole COSE_Sign1 as received."""
    id: Digest
    """SHA-256 of ``raw``."""
    envelope: cose.Sign1
    tx: Transaction

    def verify(self, public_key: bytes) -> None:
        """Prove that ``public_key`` signed it.

        Raises:
            SignatureError: It did not.
        """
        cose.verify1(self.envelope, public_key, TX_AAD)


def open_tx(raw: bytes) -> SignedTx:
    """Parse a signed transaction without verifying its signature.

    Args:
        raw: COSE_Sign1 of at most 65,536 bytes.

    Raises:
        SignatureError: The envelope is not in its one form.
        CborError: The payload is not canonical.
        FormatError: Too long, or a field is missing, unknown or out of range.
    """
    _check_size(raw)
    envelope = cose.parse1(raw)
    return SignedTx(raw, sha256(raw), envelope, _decode_payload(envelope.payload))


def _check_size(raw: bytes) -> None:
    if len(raw) > TX_BYTES_MAX:
        raise FormatError(f"transaction: {len(raw)} bytes, at most {TX_BYTES_MAX} are allowed", code=TOO_LARGE)


def _decode_payload(payload: bytes) -> Transaction:
    fields = Fields(cbor.decode(payload, bytes_max=TX_BYTES_MAX, values_max=TX_VALUES_MAX), _NAMES, "transaction")
    return Transaction(
        chain=fields.identifier("chain"),
        sender=fields.identifier("sender"),
        contract=fields.identifier("contract"),
        version=fields.integer("version", 1, VERSION_MAX),
        method=fields.identifier("method"),
        args=fields.mapping("args"),
        seq=fields.integer("seq", 1, INT_MAX),
        valid_until_ms=fields.integer("valid_until_ms"),
    )

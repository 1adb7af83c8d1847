"""A header with all that proves it final to somebody who has the genesis file (docs/spec, clauses FH-1 to FH-4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.certificate import Certificate, decode_certificate
from wire.epochs import EpochEnd, TrustedEpoch, decode_epochs_field, verify_epochs, verify_header
from wire.errors import FormatError
from wire.fields import Fields
from wire.header import HEADER_BYTES_MAX, Header, decode_header
from wire.types import DIGEST_BYTES, Digest

if TYPE_CHECKING:
    from wire.genesis import Genesis

_NAMES: Final = ("header", "certificate", "epochs")
ITEM_TYPE: Final = "header"
ITEM_VERSION: Final = 1
ITEM_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FinalHeader:
    """A header, its commit certificate and the way to its epoch."""

    header: Header
    certificate: Certificate
    epochs: tuple[EpochEnd, ...]
    """Every epoch end from genesis to the header's epoch."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return it as a CBOR map."""
        return {
            "header": self.header.encode(),
            "certificate": self.certificate.to_value(),
            "epochs": [end.to_value() for end in self.epochs],
        }


def decode_final_header(value: object) -> FinalHeader:
    """Check the form; it proves nothing before `verify_final_header`.

    Raises:
        CborError: A header is not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(value, _NAMES, "final")
    return FinalHeader(
        decode_header(fields.octets("header", 1, HEADER_BYTES_MAX)),
        decode_certificate(fields.raw("certificate")),
        decode_epochs_field(fields),
    )


def encode_header_item(final: FinalHeader) -> bytes:
    """Return what full nodes send down the return road: a final header that stands alone (docs/spec FH-4)."""
    return cbor.encode({"type": ITEM_TYPE, "version": ITEM_VERSION, **final.to_value()})


def decode_header_item(raw: bytes) -> FinalHeader:
    """Decode such an item; it proves nothing before it is verified.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=ITEM_BYTES_MAX), ("type", "version", *_NAMES), "header item")
    fields.choice("type", (ITEM_TYPE,))
    fields.integer("version", ITEM_VERSION, ITEM_VERSION)
    return decode_final_header({name: fields.raw(name) for name in _NAMES})


def verify_final_header(final: FinalHeader, genesis: Genesis) -> TrustedEpoch:
    """Prove with the genesis file alone that the header is final; return its epoch.

    Raises:
        CertificateError: The header or an epoch on the way is not certified.
    """
    epoch = verify_epochs(genesis, final.epochs)
    verify_header(genesis.chain(), epoch, final.header, final.certificate)
    return epoch


def decode_path(fields: Fields, name: str, length_max: int) -> tuple[Digest, ...]:
    """Read an array of at most ``length_max`` digests.

    Raises:
        FormatError: Anything else stands there.
    """
    path = fields.sequence(name, length_max)
    digests = tuple(entry for entry in path if isinstance(entry, bytes) and len(entry) == DIGEST_BYTES)
    if len(digests) != len(path):
        raise FormatError(f"{fields.where(name)}: digests of 32 bytes are due")
    return digests

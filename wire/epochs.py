"""From the genesis file to any later validator set, one epoch at a time (docs/spec, clauses EP-1 to EP-5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire.certificate import (
    Certificate,
    Step,
    ValidatorSet,
    decode_certificate,
    decode_validators,
    verify_certificate,
)
from wire.errors import CertificateError, FormatError
from wire.fields import Fields
from wire.header import HEADER_BYTES_MAX, Header, decode_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wire import cbor
    from wire.genesis import Genesis

EPOCHS_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The last block of an epoch, certified by its validators, and the set that comes after."""

    header: Header
    certificate: Certificate
    validators: ValidatorSet
    """The next epoch's set; its digest is the header's next_validators_hash."""

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the entry as a CBOR map."""
        return {
            "header": self.header.encode(),
            "certificate": self.certificate.to_value(),
            "validators": self.validators.to_value(),
        }


@dataclass(frozen=True, slots=True)
class TrustedEpoch:
    """A validator set and the first height that it decides."""

    number: int
    validators: ValidatorSet
    first_height: int


def decode_epoch_ends(value: Sequence[object]) -> tuple[EpochEnd, ...]:
    """Check the form of a list of epoch ends.

    Raises:
        CborError: A header is not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    ends = []
    for entry in value:
        fields = Fields(entry, ("header", "certificate", "validators"), "epochs")
        ends.append(
            EpochEnd(
                decode_header(fields.octets("header", 1, HEADER_BYTES_MAX)),
                decode_certificate(fields.raw("certificate")),
                decode_validators(fields.raw("validators")),
            )
        )
    return tuple(ends)


def verify_epochs(genesis: Genesis, ends: Sequence[EpochEnd]) -> TrustedEpoch:
    """Walk from the genesis validators over every epoch end and return the last epoch.

    Raises:
        CertificateError: An entry is not certified by the set that was trusted before it, or changes nothing.
    """
    trusted = TrustedEpoch(0, genesis.validator_set(), 1)
    for end in ends:
        verify_header(genesis.chain(), trusted, end.header, end.certificate)
        if end.header.next_validators_hash != end.validators.digest():
            raise CertificateError(f"epochs: the set after height {end.header.height} is not the one its header names")
        if end.header.next_validators_hash == end.header.validators_hash:
            raise CertificateError(f"epochs: height {end.header.height} does not end an epoch")
        trusted = TrustedEpoch(trusted.number + 1, end.validators, end.header.height + 1)
    return trusted


def verify_header(chain: str, epoch: TrustedEpoch, header: Header, certificate: Certificate) -> None:
    """Prove that the trusted epoch's validators made ``header`` final.

    Raises:
        CertificateError: Another chain, epoch, height, digest or step, or too few valid signatures.
    """
    if header.chain != chain:
        raise CertificateError(f"header of chain {header.chain!r}, {chain!r} is due")
    if header.epoch != epoch.number or header.validators_hash != epoch.validators.digest():
        raise CertificateError(f"header {header.height}: its validators are not those trusted for epoch {epoch.number}")
    if header.height < epoch.first_height:
        raise CertificateError(f"header {header.height}: epoch {epoch.number} starts at height {epoch.first_height}")
    claimed = (certificate.step, certificate.epoch, certificate.height, certificate.digest)
    if claimed != (Step.COMMIT, header.epoch, header.height, header.digest()):
        raise CertificateError(f"header {header.height}: the certificate is not a commit of this header")
    verify_certificate(certificate, chain, epoch.validators)


def decode_epochs_field(fields: Fields) -> tuple[EpochEnd, ...]:
    """Read the field ``epochs`` of a receipt or answer.

    Raises:
        FormatError: More than 1,024 entries or a malformed one.
    """
    entries = fields.sequence("epochs", EPOCHS_MAX)
    try:
        return decode_epoch_ends(entries)
    except FormatError as error:
        raise FormatError(f"{fields.where('epochs')}: {error}") from None

"""How organisations tell a light node that slept too long where the ledger stands (docs/spec, clause LC-9).

Past the trusting period a certificate no longer convinces: keys that were given up may be in anybody's hands. An anchor
names one block; more organisations sign it than may be faulty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from wire import cbor, cose
from wire.certificate import VALIDATORS_MAX, faults
from wire.errors import UNKNOWN_SIGNER, CertificateError, FormatError
from wire.fields import Fields
from wire.finality import FinalHeader, decode_final_header, verify_final_header
from wire.types import check_ascending, check_identifier, sha256

if TYPE_CHECKING:
    from wire.genesis import Genesis

TYPE: Final = "anchor"
VERSION: Final = 1
ANCHOR_BYTES_MAX: Final = 4 * 1024 * 1024
_DOMAIN: Final = b"gridwitness/anchor/1"
_NAMES: Final = ("type", "version", "final", "signatures")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A final header, and the organisations that vouch for it."""

    final: FinalHeader
    signatures: tuple[tuple[str, bytes, bytes], ...] = ()
    """(organisation, public key, signature), sorted by organisation."""

    def signed_bytes(self) -> bytes:
        """Return what an organisation signs: chain, height, time and digest of the header."""
        header = self.final.header
        value: cbor.Value = {
            "chain": header.chain,
            "height": header.height,
            "time_ms": header.time_ms,
            "digest": header.digest(),
        }
        return _DOMAIN + sha256(cbor.encode(value))

    def signed(self, organisation: str, public_key: bytes, signature: bytes) -> Anchor:
        """Return it with the signature of one more organisation, or a newer one of the same."""
        others = [entry for entry in self.signatures if entry[0] != organisation]
        return replace(self, signatures=tuple(sorted((*others, (organisation, public_key, signature)))))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "final": self.final.to_value(),
                "signatures": [list(entry) for entry in self.signatures],
            }
        )


def decode_anchor(raw: bytes) -> Anchor:
    """Decode an anchor; it proves nothing before `verify_anchor`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=ANCHOR_BYTES_MAX), _NAMES, TYPE)
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    signatures = []
    for entry in fields.sequence("signatures", VALIDATORS_MAX):
        match entry:
            case [str(organisation), bytes(key), bytes(signature)] if (len(key), len(signature)) == (
                cose.PUBLIC_KEY_BYTES,
                cose.SIGNATURE_BYTES,
            ):
                signatures.append((check_identifier(organisation, "anchor.signatures"), key, signature))
            case _:
                raise FormatError("anchor.signatures: organisation, key of 32 and signature of 64 bytes are due")
    check_ascending((entry[0] for entry in signatures), "anchor.signatures")
    return Anchor(decode_final_header(fields.raw("final")), tuple(signatures))


def root_keys(genesis: Genesis, organisation: str) -> tuple[bytes, ...]:
    """Return the keys with which an organisation that runs a validator speaks for itself.

    They are those of its own account in the genesis file; of all other organisations there are none here.
    """
    if all(validator.member != organisation for validator in genesis.validators):
        return ()
    return tuple(
        entry.key for entry in genesis.keys if entry.sender == organisation and entry.organisation == organisation
    )


def signers_due(genesis: Genesis) -> int:
    """Return how many organisations must sign: one more than may be faulty."""
    return faults(len(genesis.validators)) + 1


def verify_anchor(anchor: Anchor, genesis: Genesis) -> None:
    """Prove that the header is certified and that enough organisations vouch for it.

    Args:
        anchor: As decoded.
        genesis: From the verifier's own disk.

    Raises:
        CertificateError: The header is not certified, or too few organisations signed.
        SignatureError: A signature does not verify.
    """
    verify_final_header(anchor.final, genesis)
    signed = anchor.signed_bytes()
    for organisation, key, signature in anchor.signatures:
        if key not in root_keys(genesis, organisation):
            raise CertificateError(
                f"anchor: {organisation!r} runs no validator or has another key", code=UNKNOWN_SIGNER
            )
        cose.verify_ed25519(key, signed, signature)
    have, due = len(anchor.signatures), signers_due(genesis)
    if have < due:
        raise CertificateError(f"anchor: {have} organisations signed, {due} are due")

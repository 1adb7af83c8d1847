"""Proof of what stands, or does not stand, under one key of the state (docs/spec, clauses SP-1 to SP-6).

The whole bucket of the key, 20 siblings and a final header: the genesis file alone verifies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.errors import FormatError, ProofError
from wire.fields import Fields
from wire.finality import FinalHeader, decode_final_header, decode_path, verify_final_header
from wire.statetree import DEPTH, bucket_digest, bucket_of, leaf_key, path_root
from wire.types import DIGEST_BYTES, Digest, sha256

if TYPE_CHECKING:
    from wire.genesis import Genesis

TYPE: Final = "state-proof"
VERSION: Final = 1
KEY_BYTES_MAX: Final = 446
"""A namespace of 64 characters, its length and the key fit in the 511 bytes of a store's key."""
VALUE_BYTES_MAX: Final = 1024 * 1024
BUCKET_PAIRS_MAX: Final = 16_384
STATE_PROOF_BYTES_MAX: Final = 8 * 1024 * 1024
_PAIR_BYTES: Final = 2 * DIGEST_BYTES
_NAMES: Final = ("type", "version", "namespace", "key", "value", "bucket", "path", "final")


@dataclass(frozen=True, slots=True)
class StateProof:
    """One state entry, or its absence, after the block of a final header."""

    namespace: str
    key: bytes
    value: bytes | None
    """Canonical CBOR; None when nothing stands under the key."""
    bucket: tuple[tuple[Digest, Digest], ...]
    """Leaf key and value digest of every entry in the key's bucket, sorted by leaf key."""
    path: tuple[Digest, ...]
    """20 sibling digests, bucket level first."""
    final: FinalHeader

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode(
            {
                "type": TYPE,
                "version": VERSION,
                "namespace": self.namespace,
                "key": self.key,
                "value": self.value,
                "bucket": b"".join(key + value for key, value in self.bucket),
                "path": list(self.path),
                "final": self.final.to_value(),
            }
        )


def decode_state_proof(raw: bytes) -> StateProof:
    """Decode a state proof; it proves nothing before `verify_state_proof`.

    Args:
        raw: Canonical CBOR of at most 8 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=STATE_PROOF_BYTES_MAX), _NAMES, "state-proof")
    fields.choice("type", (TYPE,))
    fields.integer("version", VERSION, VERSION)
    bucket = fields.octets("bucket", 0, BUCKET_PAIRS_MAX * _PAIR_BYTES)
    if len(bucket) % _PAIR_BYTES:
        raise FormatError(f"{fields.where('bucket')}: pairs of two digests are due")
    return StateProof(
        namespace=fields.identifier("namespace"),
        key=fields.octets("key", 1, KEY_BYTES_MAX),
        value=None if fields.is_null("value") else fields.octets("value", 1, VALUE_BYTES_MAX),
        bucket=tuple(
            (bucket[at : at + DIGEST_BYTES], bucket[at + DIGEST_BYTES : at + _PAIR_BYTES])
            for at in range(0, len(bucket), _PAIR_BYTES)
        ),
        path=decode_path(fields, "path", DEPTH),
        final=decode_final_header(fields.raw("final")),
    )


def check_state(proof: StateProof, state_root: Digest) -> None:
    """Prove that the state under ``state_root`` holds the proof's value, or nothing, under its key.

    Args:
        proof: As decoded.
        state_root: From an already verified header.

    Raises:
        ProofError: The bucket says otherwise, is out of order, or leads to another root.
    """
    keys = [key for key, _ in proof.bucket]
    if keys != sorted(set(keys)):
        raise ProofError("state proof: the bucket is not sorted or not unique")
    place = leaf_key(proof.namespace, proof.key)
    expected = None if proof.value is None else sha256(proof.value)
    if dict(proof.bucket).get(place) != expected:
        raise ProofError("state proof: the bucket holds something else under the key")
    if path_root(bucket_of(place), bucket_digest(proof.bucket), proof.path) != state_root:
        raise ProofError("state proof: the path leads to another state root")


def verify_state_proof(proof: StateProof, genesis: Genesis) -> None:
    """Prove with the genesis file alone what the final header's state holds under the key.

    Raises:
        ProofError: The state holds something else.
        CertificateError: The header or an epoch on the way is not certified.
    """
    verify_final_header(proof.final, genesis)
    check_state(proof, proof.final.header.state_root)

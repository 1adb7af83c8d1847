"""Proofs about blocks long past: that one is in the chain of a final header, that one chain continues another.

docs/spec, clauses HP-1 to HP-6. The tree is that of history_root: leaf number h is the digest of block h, genesis
first, and a header of height H commits to the leaves 0..H-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire import cbor
from wire.errors import ProofError
from wire.fields import Fields
from wire.finality import FinalHeader, decode_final_header, decode_path, verify_final_header
from wire.header import HEADER_BYTES_MAX, Header, decode_header
from wire.merkle import PATH_LENGTH_MAX, verify_consistency, verify_inclusion
from wire.types import Digest

if TYPE_CHECKING:
    from wire.genesis import Genesis

INCLUSION: Final = "history-proof"
CONSISTENCY: Final = "consistency-proof"
VERSION: Final = 1
HISTORY_PROOF_BYTES_MAX: Final = 4 * 1024 * 1024
_NAMES: Final = ("type", "version", "header", "path", "final")


@dataclass(frozen=True, slots=True)
class HistoryProof:
    """An old block is one of those that a final header stands on."""

    header: Header
    """Of the old block; no certificate of its own is needed."""
    path: tuple[Digest, ...]
    """Sibling digests, leaf upward."""
    final: FinalHeader
    """A newer one."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _encode(INCLUSION, self.header, self.path, self.final)


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """All that an older header stands on is also what a final header stands on: nothing was changed, only added."""

    header: Header
    """The older one, which the verifier knows already."""
    path: tuple[Digest, ...]
    """Proof of RFC 9162, 2.1.4."""
    final: FinalHeader
    """The newer one."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _encode(CONSISTENCY, self.header, self.path, self.final)


def decode_history_proof(raw: bytes) -> HistoryProof:
    """Decode a history proof; it proves nothing before `verify_history_proof`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    return HistoryProof(*_decode(raw, INCLUSION))


def decode_consistency_proof(raw: bytes) -> ConsistencyProof:
    """Decode a consistency proof; it proves nothing before `verify_consistency_proof`.

    Args:
        raw: Canonical CBOR of at most 4 MiB.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    return ConsistencyProof(*_decode(raw, CONSISTENCY))


def check_inclusion(old: Header, path: tuple[Digest, ...], newer: Header) -> None:
    """Prove that ``old`` is a block that ``newer`` stands on.

    Args:
        old: Of the same chain, below ``newer``.
        path: Sibling digests, leaf upward.
        newer: Already verified.

    Raises:
        ProofError: It is not.
    """
    if old.chain != newer.chain:
        raise ProofError(f"history proof: a header of chain {old.chain!r}, {newer.chain!r} is due")
    verify_inclusion(old.digest(), old.height, newer.height, path, newer.history_root)


def check_consistency(old: Header, path: tuple[Digest, ...], newer: Header) -> None:
    """Prove that ``newer`` stands on all blocks that ``old`` stands on.

    Args:
        old: Already verified, of the same chain, not above ``newer``.
        path: Proof of RFC 9162, 2.1.4.
        newer: Already verified.

    Raises:
        ProofError: It does not.
    """
    if old.chain != newer.chain:
        raise ProofError(f"consistency proof: a header of chain {old.chain!r}, {newer.chain!r} is due")
    verify_consistency(old.height, newer.height, path, old.history_root, newer.history_root)


def verify_history_proof(proof: HistoryProof, genesis: Genesis) -> None:
    """Prove with the genesis file alone that the old block is in the chain.

    Raises:
        ProofError: The final header does not stand on it.
        CertificateError: The final header or an epoch on the way is not certified.
    """
    verify_final_header(proof.final, genesis)
    check_inclusion(proof.header, proof.path, proof.final.header)


def verify_consistency_proof(proof: ConsistencyProof, known: Header, genesis: Genesis) -> None:
    """Prove that the final header continues the history of a header known already.

    Args:
        proof: As decoded.
        known: The older header as the verifier keeps it; what the proof says of it must be equal.
        genesis: From the verifier's own disk.

    Raises:
        ProofError: It is about another header, or the final header has another history.
        CertificateError: The final header or an epoch on the way is not certified.
    """
    if proof.header != known:
        raise ProofError(f"consistency proof: it is about another header than the known one of height {known.height}")
    verify_final_header(proof.final, genesis)
    check_consistency(known, proof.path, proof.final.header)


def _encode(kind: str, header: Header, path: tuple[Digest, ...], final: FinalHeader) -> bytes:
    return cbor.encode(
        {
            "type": kind,
            "version": VERSION,
            "header": header.encode(),
            "path": list(path),
            "final": final.to_value(),
        }
    )


def _decode(raw: bytes, kind: str) -> tuple[Header, tuple[Digest, ...], FinalHeader]:
    fields = Fields(cbor.decode(raw, bytes_max=HISTORY_PROOF_BYTES_MAX), _NAMES, kind)
    fields.choice("type", (kind,))
    fields.integer("version", VERSION, VERSION)
    return (
        decode_header(fields.octets("header", 1, HEADER_BYTES_MAX)),
        decode_path(fields, "path", PATH_LENGTH_MAX),
        decode_final_header(fields.raw("final")),
    )

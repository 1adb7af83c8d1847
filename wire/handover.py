"""What vote keys sign when the set of validators changes (docs/spec, clauses VM-5 and VM-6)."""

from __future__ import annotations

from typing import Final

from wire import cbor
from wire.types import Digest

_READY_DOMAIN: Final = b"gridwitness/ready/1"
_ROTATION_DOMAIN: Final = b"gridwitness/rotation/1"


def ready_bytes(proposal: Digest, height: int, state_root: Digest) -> bytes:
    """Return what a joiner's vote key signs once its node is up to date.

    Args:
        proposal: Id of the transaction that proposes the joiner; it names the ledger, too.
        height: Of a recent block.
        state_root: Of that block, as the joiner's own node has it.
    """
    return _READY_DOMAIN + proposal + height.to_bytes(8, "big") + state_root


def rotation_bytes(chain: str, member: str, keys: tuple[bytes, bytes], tls_digest: Digest, deadline_ms: int) -> bytes:
    """Return what both the old and the new vote key of a member sign.

    Args:
        chain: Name of the ledger.
        member: Whose keys they are.
        keys: Old and new public key; the same one twice when only the certificate changes.
        tls_digest: SHA-256 of the new TLS certificate in DER.
        deadline_ms: Of the proposal that carries the signatures.
    """
    return _ROTATION_DOMAIN + cbor.encode([chain, member, keys[0], keys[1], tls_digest, deadline_ms])

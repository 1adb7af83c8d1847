"""State entries of a node that the genesis file proves: what is sealed or judged must not rest on a node's word."""

from __future__ import annotations

from urllib.parse import quote

from kit.exitcodes import DataError
from kit.http import NodeClient
from wire.errors import WireError
from wire.genesis import Genesis
from wire.stateproof import StateProof, decode_state_proof, verify_state_proof


def fetch_state_proof(client: NodeClient, namespace: str, key: bytes, height: int | None = None) -> StateProof:
    """Return a node's proof of what stands under a key; it is not verified.

    Args:
        client: Which node to ask.
        namespace: Of the state.
        key: In it.
        height: Of the block after which it stood so; None: the newest one.

    Raises:
        DataError: The answer is another proof than the one that was asked for.
    """
    at = {} if height is None else {"height": str(height)}
    raw = client.get_bytes(f"/v1/state/{namespace}/{quote(key, safe='')}", {"proof": "1", "format": "cbor", **at})
    try:
        proof = decode_state_proof(raw)
    except WireError as error:
        raise DataError(f"{client.node} did not send a state proof: {error}") from error
    if (proof.namespace, proof.key) != (namespace, key) or height not in (None, proof.final.header.height):
        raise DataError(f"{client.node} sent the proof of another entry")
    return proof


def proven_entry(client: NodeClient, genesis: Genesis, namespace: str, key: bytes) -> StateProof:
    """Return the proof, verified, of what stands under a key after the newest block of a node.

    Raises:
        DataError: The answer does not verify.
    """
    proof = fetch_state_proof(client, namespace, key)
    try:
        verify_state_proof(proof, genesis)
    except WireError as error:
        raise DataError(f"the answer of {client.node} does not verify: {error}") from error
    return proof


def proven_value(client: NodeClient, genesis: Genesis, namespace: str, key: bytes) -> bytes | None:
    """Return what stands under a key after the newest block of a node, None when nothing does; proven.

    Raises:
        DataError: The answer does not verify.
    """
    return proven_entry(client, genesis, namespace, key).value

"""gridwitness state: what stands in the ledger's state, on demand with its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from client.commands.verify import load_genesis
from client.options import JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of, when
from client.proof import to_json
from kit.exitcodes import DataError, UsageError
from kit.http import NodeClient
from kit.terminal import Terminal
from kit.terminal import to_json as json_text
from wire import cbor
from wire.errors import WireError
from wire.stateproof import KEY_BYTES_MAX, StateProof, decode_state_proof, verify_state_proof
from wire.types import IDENTIFIER_PATTERN

app = typer.Typer(no_args_is_help=True, help="Read the ledger's state and prove what stands there.")


@app.command()
def get(
    namespace: Annotated[str, typer.Argument(help="Part of the state: membership, sequence or a contract's name.")],
    key: Annotated[str, typer.Argument(help="Key in it, such as gateway/gw-linden.")],
    node: NodeOption,
    genesis: Annotated[
        Path | None, typer.Option("--genesis", metavar="FILE", help="Genesis file from your own disk, for --verify.")
    ] = None,
    height: Annotated[
        int | None, typer.Option("--height", min=1, help="Show what stood there after this block, one of the newest.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the proof.")] = None,
    *,
    force: ForceOption = False,
    verify: Annotated[bool, typer.Option("--verify", help="Believe nothing that the genesis file does not prove.")] = (
        False
    ),
    is_hex: Annotated[bool, typer.Option("--hex", help="The key is written in hex.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what stands under a key after the newest block, or that nothing does; with --height, after an earlier one.

    A node keeps the states of the 64 blocks before the newest; it says which heights can be had when asked for others.

    With --verify the answer counts only when the node's proof leads to a block that a quorum of validators signed:
    exit code 65 says that it does not.

    Example: gridwitness state get membership gateway/gw-linden --verify --genesis genesis.cbor --node http://localhost:8080
    """
    check_out(out, force=force)
    raw_key = _key(namespace, key, is_hex=is_hex)
    if verify and genesis is None:
        raise UsageError("--verify needs --genesis FILE: what is on your own disk is all that is trusted")
    at = {} if height is None else {"height": str(height)}
    path = f"/v1/state/{namespace}/{quote(raw_key, safe='')}"
    with NodeClient([node]) as client:
        raw = client.get_bytes(path, {"proof": "1", "format": "cbor", **at})
    try:
        proof = decode_state_proof(raw)
    except WireError as error:
        raise DataError(f"{node} did not send a state proof: {error}") from error
    if (proof.namespace, proof.key) != (namespace, raw_key):
        raise DataError(f"{node} sent the proof of another key")
    if height not in (None, proof.final.header.height):
        raise DataError(f"{node} sent the proof of height {proof.final.header.height}")
    if verify and genesis is not None:
        try:
            verify_state_proof(proof, load_genesis(genesis))
        except WireError as error:
            raise DataError(f"the answer of {node} does not verify: {error}") from error
    if out is not None:
        write_out(out, raw, force=force)
    shown = _shown(proof, is_verified=verify)
    Terminal(as_json=json).show(shown, lambda: _lines(shown, proof))


def _key(namespace: str, key: str, *, is_hex: bool) -> bytes:
    if IDENTIFIER_PATTERN.fullmatch(namespace) is None:
        raise UsageError(f"{namespace!r} is no namespace; expected such as membership")
    try:
        raw = bytes.fromhex(key) if is_hex else key.encode()
    except ValueError:
        raise UsageError(f"{key!r} is no hex") from None
    if not 1 <= len(raw) <= KEY_BYTES_MAX:
        raise UsageError(f"a key has 1..{KEY_BYTES_MAX} bytes")
    return raw


def _shown(proof: StateProof, *, is_verified: bool) -> dict[str, object]:
    header = proof.final.header
    return {
        "namespace": proof.namespace,
        "key": proof.key.hex(),
        "present": proof.value is not None,
        "value": None if proof.value is None else to_json(cbor.decode(proof.value)),
        "verified": is_verified,
        "chain": header.chain,
        "height": header.height,
        "time_ms": header.time_ms,
        "signers": list(proof.final.certificate.signers),
    }


def _lines(shown: dict[str, object], proof: StateProof) -> list[str]:
    header = proof.final.header
    return lines_of(
        {
            "key": f"{proof.namespace} {_readable(proof.key)}",
            "value": json_text(shown["value"]) if shown["present"] else "nothing stands there",
            "block": f"{header.height} of {when(header.time_ms)}",
            "proof": f"verified; signed by {', '.join(proof.final.certificate.signers)}"
            if shown["verified"]
            else "not checked; use --verify",
        }
    )


def _readable(key: bytes) -> str:
    text = key.decode("utf-8", errors="replace")
    return text if text.isprintable() and "\ufffd" not in text else key.hex()

"""gridwitness anchor: tell gateways that slept too long where the ledger stands, signed by organisations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from client.commands.ledger import newest_final
from client.commands.verify import load_genesis
from client.options import GenesisOption, JsonOption, NodeOption
from client.outfiles import check_out
from client.output import lines_of, when
from kit.exitcodes import DataError, UsageError
from kit.files import read_bounded, write_atomic, write_new
from kit.http import NodeClient
from kit.keystore import load_signing_key
from kit.terminal import Terminal
from wire.anchor import ANCHOR_BYTES_MAX, Anchor, decode_anchor, root_keys, signers_due, verify_anchor
from wire.errors import WireError
from wire.finality import verify_final_header
from wire.genesis import Genesis

app = typer.Typer(no_args_is_help=True, help="Make, sign and check anchors for gateways that slept too long.")


@app.command()
def new(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write; never overwritten.")],
    node: NodeOption,
    genesis: GenesisOption,
    *,
    json: JsonOption = False,
) -> None:
    """Write down the newest block of a node, verified from the genesis file on, for organisations to sign.

    Look at it before you sign: a node of your own, or `gridwitness ledger check`, tells whether it is the ledger's.

    Example: gridwitness anchor new --node http://a:8080 --genesis genesis.cbor --out anchor.cbor
    """
    check_out(out, can_force=False)
    trusted = load_genesis(genesis)
    with NodeClient([node]) as client:
        anchor = Anchor(newest_final(client))
    try:
        verify_final_header(anchor.final, trusted)
    except WireError as error:
        raise DataError(f"what the node says does not verify: {error}") from error
    write_new(out, anchor.encode())
    _show(anchor, trusted, out, as_json=json)


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="Anchor to sign; the signature is added to it.")],
    organisation: Annotated[str, typer.Option("--organisation", help="Organisation that vouches for it.")],
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Its key, of its own account in the genesis file.")
    ],
    genesis: GenesisOption,
    *,
    json: JsonOption = False,
) -> None:
    """Vouch for the block in an anchor with an organisation's own key.

    Example: gridwitness anchor sign anchor.cbor --organisation dispatch --key dispatch.key --genesis genesis.cbor
    """
    trusted = load_genesis(genesis)
    anchor = _read(file)
    signer = load_signing_key(key)
    if signer.public not in root_keys(trusted, organisation):
        raise UsageError(f"{key} is no key with which {organisation} speaks for itself in the genesis file")
    try:
        verify_final_header(anchor.final, trusted)
    except WireError as error:
        raise DataError(f"{file}: {error}") from error
    signature = signer.signing_key.sign(anchor.signed_bytes()).signature
    anchor = anchor.signed(organisation, signer.public, signature)
    write_atomic(file, anchor.encode())
    _show(anchor, trusted, file, as_json=json)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Anchor.")],
    genesis: GenesisOption,
    *,
    json: JsonOption = False,
) -> None:
    """Tell whether gateways would take an anchor; exit code 65 if not.

    Example: gridwitness anchor check anchor.cbor --genesis genesis.cbor
    """
    trusted = load_genesis(genesis)
    anchor = _read(file)
    try:
        verify_anchor(anchor, trusted)
    except WireError as error:
        raise DataError(f"{file}: {error}") from error
    _show(anchor, trusted, file, as_json=json)


def _read(file: Path) -> Anchor:
    try:
        return decode_anchor(read_bounded(file, bytes_max=ANCHOR_BYTES_MAX))
    except WireError as error:
        raise DataError(f"{file} is no anchor: {error}") from error


def _show(anchor: Anchor, genesis: Genesis, file: Path, *, as_json: bool) -> None:
    header = anchor.final.header
    shown: dict[str, Any] = {
        "file": str(file),
        "chain": header.chain,
        "height": header.height,
        "digest": header.digest().hex(),
        "time_ms": header.time_ms,
        "signed_by": [entry[0] for entry in anchor.signatures],
        "signers_due": signers_due(genesis),
    }
    lines = {**shown, "time_ms": when(header.time_ms), "signed_by": ", ".join(shown["signed_by"]) or "nobody yet"}
    Terminal(as_json=as_json).show(shown, lambda: lines_of(lines))

"""gridwitness tx: one transaction, its outcome and its proof."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from client.node import Item
from client.options import JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of
from kit.exitcodes import DataError, UsageError
from kit.http import NodeClient
from kit.terminal import Terminal
from wire.errors import WireError
from wire.receipt import decode_bundle
from wire.types import sha256

_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)

app = typer.Typer(no_args_is_help=True, help="Look up a transaction and fetch its proof.")

IdArgument = Annotated[str, typer.Argument(help="Id of the transaction, 64 hex digits.")]


@app.command()
def show(tx: IdArgument, node: NodeOption, *, json: JsonOption = False) -> None:
    """Say where a transaction stands.

    Example: gridwitness tx show 3f0c...e1 --node http://localhost:8080
    """
    _check(tx)
    with NodeClient([node]) as client:
        found: Item = client.get_json(f"/v1/tx/{tx}")
    if "status" not in found:
        raise DataError(f"{node} does not say where transaction {tx} stands")
    Terminal(as_json=json).show(found, lambda: lines_of(found))


@app.command()
def get(
    tx: IdArgument,
    node: NodeOption,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the bundle.")],
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch a transaction with its receipt: the file that 'gridwitness verify' takes.

    Example: gridwitness tx get 3f0c...e1 --node http://localhost:8080 --out report.bundle
    """
    _check(tx)
    check_out(out, force=force)
    with NodeClient([node]) as client:
        raw = client.get_bytes(f"/v1/bundles/{tx}")
    try:
        bundle = decode_bundle(raw)
    except WireError as error:
        raise DataError(f"{node} did not send a bundle: {error}") from error
    if sha256(bundle.tx).hex() != tx:
        raise DataError(f"{node} sent the bundle of another transaction, {sha256(bundle.tx).hex()}")
    write_out(out, raw, force=force)
    check = f"{out}: {len(raw)} bytes; check it with: gridwitness verify {out} --genesis genesis.cbor"
    shown = {"tx": tx, "file": str(out), "bytes": len(raw), "height": bundle.receipt.header.height}
    Terminal(as_json=json).show(shown, lambda: [check])


def _check(tx: str) -> None:
    if _ID.fullmatch(tx) is None:
        raise UsageError(f"{tx!r} is no transaction id; expected 64 hex digits")

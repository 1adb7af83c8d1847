"""gridwitness members certificates: what the consortium's authority issued, and what of it counts no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from client.members import call
from client.node import items
from client.options import JsonOption, NodeOption
from client.output import show_items
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.terminal import Terminal
from kit.tls import PEM_BYTES_MAX, common_name_of, der_of
from wire import cbor
from wire.topics import node_user
from wire.types import sha256

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

app = typer.Typer(no_args_is_help=True, help="Certificates of the consortium's authority.")


@app.command()
@signed
def add(
    account: Annotated[str, typer.Argument(help="Organisation, operator or gateway for which it was issued.")],
    certificate: Annotated[Path, typer.Argument(help="PEM file of the certificate.")],
    way: Way,
) -> None:
    """Record a certificate in the ledger, as the dispatch centre; what is recorded there can be revoked there.

    Its common name is what the broker knows its holder by: ACCOUNT, or node-ACCOUNT for a full node.

    Example: gridwitness members certificates add gw-linden gw-linden.crt --key dispatch.key
    --node http://localhost:8080
    """
    pem = read_bounded(certificate, bytes_max=PEM_BYTES_MAX)
    der, name = der_of(pem), common_name_of(pem)
    if name not in {account, node_user(account)}:
        due = f"{account} or {node_user(account)}"
        raise DataError(f"{certificate} is for {name or 'nobody by name'}; the common name has to be {due}")
    with way.client() as client:
        args: dict[str, cbor.Value] = {"account": account, "certificate": der}
        outcome = call(client, way, "add-certificate", args)
    way.show("add-certificate", outcome, {"account": account, "certificate": sha256(der).hex()})


@app.command()
@signed
def revoke(
    certificate: Annotated[
        str, typer.Argument(metavar="CERTIFICATE", help="Its digest, 64 hex digits ('list' shows it), or its PEM file.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")],
    way: Way,
) -> None:
    """Say that a certificate counts no more, for ever: its account may, its organisation, and the dispatch centre.

    The broker refuses it once it has the next revocation list: see 'gridwitness-node broker-files'.

    Example: gridwitness members certificates revoke gw-linden.crt --reason 'gateway stolen' --key grid-company.key
    --node http://localhost:8080
    """
    digest = _digest(certificate)
    with way.client() as client:
        args: dict[str, cbor.Value] = {"certificate": digest, "reason": reason}
        outcome = call(client, way, "revoke-certificate", args)
    way.show("revoke-certificate", outcome, {"certificate": digest.hex()})


@app.command("list")
def list_certificates(
    node: NodeOption,
    account: Annotated[str | None, typer.Option("--account", metavar="ID", help="Only those of this account.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those that are active or revoked.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List recorded certificates, newest first.

    Example: gridwitness members certificates list --account gw-linden --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = items(client, "/v1/certificates", {"account": account, "status": status})
    show_items(
        Terminal(as_json=json),
        ("certificate", "account", "status", "recorded in", "revoked in", "by", "reason"),
        found,
        lambda item: (
            item["certificate"],
            item["account"],
            item["status"],
            item["since_height"],
            item["until_height"],
            item["revoked_by"],
            item["reason"],
        ),
        empty="no certificates",
    )


def _digest(text: str) -> bytes:
    if _DIGEST.fullmatch(text) is not None:
        return bytes.fromhex(text)
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"{text!r} is neither a digest of 64 hex digits nor a file; see 'members certificates list'")
    return sha256(der_of(read_bounded(path, bytes_max=PEM_BYTES_MAX)))

"""gridwitness members certificates: what the consortium's authority issued, and what of it counts no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from client.members import call
from client.node import Item, items
from client.options import JsonOption, NodeOption
from client.outfiles import check_out
from client.output import lines_of, show_items
from client.ways import Way, signed, signed_and_waited
from kit.exitcodes import DataError, UsageError
from kit.files import MODE_PRIVATE, read_bounded, write_new
from kit.http import NodeClient
from kit.terminal import Terminal
from kit.tls import (
    PEM_BYTES_MAX,
    Authority,
    common_name_of,
    der_of,
    is_request,
    request_certificate,
    request_of,
    request_pem,
)
from wire import cbor
from wire.topics import node_user
from wire.types import check_identifier, sha256

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

app = typer.Typer(no_args_is_help=True, help="Certificates of the consortium's authority.")


@app.command()
def request(
    name: Annotated[
        str, typer.Argument(help="Common name that the broker is to know the holder by: GATEWAY, or node-MEMBER.")
    ],
    folder: Annotated[Path, typer.Option("--dir", help="Folder for the files.")] = Path(),
    *,
    json: JsonOption = False,
) -> None:
    """Ask for a certificate where its key is to be: NAME.csr to hand to the dispatch centre; NAME.tls.key stays here.

    Nothing is overwritten, and no node is asked. What 'openssl req' writes for a P-256 key does as well.

    Example: gridwitness members certificates request gw-linden --dir /etc/gridwitness/tls
    """
    paths = folder / f"{check_identifier(name, 'common name')}.csr", folder / f"{name}.tls.key"
    check_out(*paths, can_force=False)
    der, key = request_certificate(name)
    write_new(paths[1], key, mode=MODE_PRIVATE)
    write_new(paths[0], request_pem(der))
    value: Item = {"name": name, "request": str(paths[0]), "tls_key": str(paths[1])}
    Terminal(as_json=json).show(value, lambda: lines_of(value))


@app.command()
@signed_and_waited
def add(
    account: Annotated[str, typer.Argument(help="Organisation, operator or gateway for which it is issued.")],
    file: Annotated[
        Path, typer.Argument(help="PEM file: the request of its holder, or a certificate that was issued.")
    ],
    way: Way,
    folder: Annotated[
        Path | None,
        typer.Option("--ca", metavar="DIR", help="Folder with authority.crt and authority.key, to certify a request."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the certificate of a request goes; NAME.crt if not told.")
    ] = None,
) -> None:
    """Certify a request and record its certificate in the ledger, as the dispatch centre; so it can be revoked there.

    The common name is what the broker knows its holder by: ACCOUNT, or node-ACCOUNT for a full node. A certificate that
    the authority issued by other means is recorded as it is, without --ca.

    Example: gridwitness members certificates add gw-linden gw-linden.csr --ca ca --key dispatch.key
    --node http://localhost:8080
    """
    pem = read_bounded(file, bytes_max=PEM_BYTES_MAX)
    wanted, name = request_of(pem) if is_request(pem) else (None, common_name_of(pem))
    if name not in {account, node_user(account)}:
        due = f"{account} or {node_user(account)}"
        raise DataError(f"{file} is for {name or 'nobody by name'}; the common name has to be {due}")
    path = None
    if wanted is not None:
        if folder is None:
            raise UsageError(f"{file} is a request: name the folder of the authority that certifies it with --ca")
        path = out or Path(f"{name}.crt")
        check_out(path, can_force=False)
        pem = Authority.in_folder(folder).certify(wanted, name)
    elif folder is not None or out is not None:
        raise UsageError(f"{file} is a certificate already, which is recorded as it is: without --ca and --out")
    der = der_of(pem)
    with way.client() as client:
        args: dict[str, cbor.Value] = {"account": account, "certificate": der}
        outcome = call(client, way, "add-certificate", args)
    if path is not None:
        write_new(path, pem)
    told = {} if path is None else {"file": str(path)}
    way.show("add-certificate", outcome, {"account": account, "certificate": sha256(der).hex(), **told})


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

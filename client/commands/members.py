"""gridwitness members: who takes part, who asks to, and who may sign."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from client.commands import member_certificates, member_keys, member_places
from client.members import (
    CONTRACT,
    call,
    chain_of,
    in_days,
    read_application,
    send,
    write_application,
)
from client.node import Item, items, listing, looks, state_value
from client.options import JsonOption, NodeOption
from client.outfiles import check_out
from client.output import lines_of, short, show_items, show_listing, when
from client.ways import Way, signed, signed_and_waited
from kit.exitcodes import DataError
from kit.files import MODE_PRIVATE, write_new
from kit.http import NodeClient
from kit.keystore import load_signing_key
from kit.terminal import Terminal
from kit.tls import AUTHORITY_NAME, Authority, der_of, request_certificate
from wire import cbor
from wire.membership import Application, decode_application

app = typer.Typer(no_args_is_help=True, help="Members of the consortium, their keys, stations, gateways and devices.")

NameArgument = Annotated[str, typer.Argument(help="Id of the organisation.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for people.")]
FolderOption = Annotated[Path, typer.Option("--ca", metavar="DIR", help="Folder with authority.crt and authority.key.")]


@app.command("list")
def list_members(
    node: NodeOption,
    role: Annotated[str | None, typer.Option("--role", help="Only this role.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those that are active or suspended.")] = None,
    expiry: Annotated[
        str | None, typer.Option("--expiry", help="Only those that are valid, expiring or expired.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List the members with their roles and places in the jurisdiction.

    Example: gridwitness members list --role laboratory --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/members", {"role": role, "status": status, "expiry": expiry})
    show_listing(
        Terminal(as_json=json),
        ("organisation", "role", "under", "status", "membership", "due", "data centre", "certificate"),
        found,
        lambda item: (
            item["organisation"],
            item["role"],
            item["parent"],
            item["status"],
            item["expiry"],
            when(item["expires_ms"]),
            item["data_centre"],
            short(item["certificate"]),
        ),
        empty="no members",
    )


@app.command("show")
def show_member(organisation: NameArgument, node: NodeOption, *, json: JsonOption = False) -> None:
    """Show one member with its accounts and their keys.

    Example: gridwitness members show grid-company --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        member = client.get_json(f"/v1/members/{quote(organisation, safe='')}")
        accounts = items(client, "/v1/accounts", {"organisation": organisation})
        keys = [
            key for account in accounts for key in items(client, "/v1/account-keys", {"account": account["account"]})
        ]
    value: Item = {**member, "accounts": list(accounts), "keys": keys}
    told = {name: member[name] for name in member if name not in ("head_age_ms", "ledger_stale")}
    told["expires_ms"] = when(member["expires_ms"])
    lines = lines_of(told)
    lines += [f"account {entry['account']}: {entry['kind']}, {entry['status']}" for entry in accounts]
    lines += [f"key {entry['kid']} of {entry['account']}: {entry['status']}" for entry in keys]
    Terminal(as_json=json).show(value, lambda: lines)


@app.command()
def applications(
    node: NodeOption,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only those that are pending, admitted, rejected, withdrawn or expired."),
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List who asked to become a member, and whose reviews are missing.

    Example: gridwitness members applications --status pending --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = items(client, "/v1/applications", {"status": status})
    show_items(
        Terminal(as_json=json),
        ("organisation", "role", "under", "through", "status", "missing", "applied", "waits until"),
        found,
        lambda item: (
            item["organisation"],
            item["role"],
            item["parent"],
            item["data_centre"],
            item["status"],
            ", ".join(item["missing"]) or "-",
            when(item["applied_ms"]),
            when(item["until_ms"]),
        ),
        empty="no applications",
    )


@app.command()
def authority(
    folder: FolderOption,
    name: Annotated[str, typer.Option("--name", help="Common name of its certificate.")] = "gridwitness consortium",
    *,
    json: JsonOption = False,
) -> None:
    """Make the consortium's authority, which certifies members: DIR/authority.crt and DIR/authority.key (P-256).

    Nothing is overwritten. Keep the folder where the super node's people work, and no copy of the key anywhere else.

    Example: gridwitness members authority --ca ca
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, key = folder / f"{AUTHORITY_NAME}.crt", folder / f"{AUTHORITY_NAME}.key"
    Authority.create(name).identity().save(certificate, key)
    value: Item = {"certificate": str(certificate), "key": str(key)}
    Terminal(as_json=json).show(value, lambda: lines_of(value))


@app.command()
def request(
    organisation: NameArgument,
    role: Annotated[str, typer.Option("--role", help="What it does, such as generator.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="NAME.key that would sign for its account.")],
    node: NodeOption,
    title: Annotated[str, typer.Option("--title", help="What people call it; its id if not told.")] = "",
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="ID", help="In whose jurisdiction it would be.")
    ] = None,
    root_key: Annotated[
        Path | None,
        typer.Option("--root-key", metavar="FILE", help="NAME.key that is kept apart, for the loss of all others."),
    ] = None,
    folder: Annotated[Path, typer.Option("--dir", help="Folder for the files.")] = Path(),
    *,
    json: JsonOption = False,
) -> None:
    """Write an application: ORG.application to hand to a data centre, and ORG.tls.key, which stays here.

    Example: gridwitness members request wind --role generator --parent centre-east --key wind.key
    --root-key wind-root.key --node http://localhost:8080
    """
    paths = folder / f"{organisation}.application", folder / f"{organisation}.tls.key"
    check_out(*paths, can_force=False)
    with NodeClient([node]) as client:
        chain = chain_of(client)
    own, root = load_signing_key(key), None if root_key is None else load_signing_key(root_key)
    csr, tls_key = request_certificate(organisation)
    wanted = Application(
        chain, organisation, role, parent, title or organisation, own.public, None if root is None else root.public, csr
    )
    raw = write_application(wanted, own, root)
    write_new(paths[1], tls_key, mode=MODE_PRIVATE)
    write_new(paths[0], raw)
    value: Item = {"organisation": organisation, "application": str(paths[0]), "tls_key": str(paths[1])}
    Terminal(as_json=json).show(value, lambda: lines_of(value))


@app.command()
@signed
def apply(
    file: Annotated[Path, typer.Argument(help="ORG.application as 'gridwitness members request' wrote it.")],
    way: Way,
) -> None:
    """Bring an application into the ledger, as an organisation that runs a validator.

    Example: gridwitness members apply wind.application --key centre-east.key --node http://localhost:8080
    """
    wanted, args = read_application(file)
    with way.client() as client:
        outcome = call(client, way, "apply", args)
    way.show("apply", outcome, {"organisation": wanted.organisation, "role": wanted.role})


@app.command()
@signed
def review(
    organisation: NameArgument,
    reason: ReasonOption,
    way: Way,
    *,
    against: Annotated[bool, typer.Option("--against", help="Be against it, which ends it.")] = False,
) -> None:
    """Say whether an applicant should become a member, as an organisation whose role reviews such members.

    Example: gridwitness members review wind --reason 'licence 17 seen' --key trading.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {"organisation": organisation, "in_favour": not against, "reason": reason}
    send("review", args, way)


@app.command()
@signed
def withdraw(
    organisation: NameArgument,
    way: Way,
) -> None:
    """End an application that your data centre brought in.

    Example: gridwitness members withdraw wind --key centre-east.key --node http://localhost:8080
    """
    send("withdraw", {"organisation": organisation}, way)


@app.command()
@signed_and_waited
def approve(
    organisation: NameArgument,
    folder: FolderOption,
    way: Way,
    out: Annotated[Path | None, typer.Option("--out", help="Where the certificate goes; ORG.crt if not told.")] = None,
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", min=1, max=36_500, help="When its membership is due for renewal.")
    ] = None,
) -> None:
    """Admit an applicant whose reviews are all there: certify its request, write the certificate, and say so.

    Example: gridwitness members approve wind --ca ca --key dispatch.key --node http://localhost:8080
    """
    path = out or Path(f"{organisation}.crt")
    signer = Authority.in_folder(folder)
    check_out(path, can_force=False)
    with way.client() as client:
        _require_reviews(client, organisation)
        pem = signer.certify(_application(client, organisation).request, organisation)
        args: dict[str, cbor.Value] = {
            "organisation": organisation,
            "certificate": der_of(pem),
            "expires_ms": in_days(expires_days),
        }
        outcome = call(client, way, "admit", args)
    write_new(path, pem)
    way.show("admit", outcome, {"organisation": organisation, "certificate": str(path)})


@app.command()
@signed
def renew(
    organisation: NameArgument,
    way: Way,
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", min=1, max=36_500, help="Due in so many days; never if not told.")
    ] = None,
) -> None:
    """Say when a membership is due again.

    Example: gridwitness members renew wind --expires-days 365 --key trading.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {"organisation": organisation, "expires_ms": in_days(expires_days)}
    send("renew", args, way)


@app.command()
@signed
def suspend(
    account: Annotated[str, typer.Argument(help="Organisation, operator or gateway.")],
    reason: ReasonOption,
    way: Way,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=36_500, help="For so long; open if not told.")
    ] = None,
) -> None:
    """Let an account sign nothing; a suspended organisation's gateways go on reporting.

    Example: gridwitness members suspend wind --reason audit --days 7 --key dispatch.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {"account": account, "until_ms": in_days(days), "reason": reason}
    send("suspend", args, way)


@app.command()
@signed
def resume(
    account: Annotated[str, typer.Argument(help="Organisation, operator or gateway.")],
    way: Way,
) -> None:
    """Lift a suspension, as who made it or as the dispatch centre.

    Example: gridwitness members resume wind --key dispatch.key --node http://localhost:8080
    """
    send("resume", {"account": account}, way)


@app.command()
@signed
def attach(
    way: Way,
    data_centre: Annotated[
        str | None, typer.Option("--data-centre", metavar="ID", help="Who runs the full node; none if not told.")
    ] = None,
) -> None:
    """Attach your organisation's clients to a data centre.

    Example: gridwitness members attach --data-centre centre-west --key wind.key --node http://localhost:8080
    """
    send("attach", {"data_centre": data_centre}, way)


def _require_reviews(client: NodeClient, organisation: str) -> None:
    """Name who must still review, before anything is certified; the contract asks again.

    Raises:
        DataError: Reviews are missing.
    """
    missing = ""
    for _ in looks():
        waiting = [item for item in items(client, "/v1/applications", {}) if item["organisation"] == organisation]
        missing = ", ".join(name for item in waiting if item["status"] == "pending" for name in item["missing"])
        if not missing:
            return
    raise DataError(f"{missing} must review {organisation} first: gridwitness members review {organisation}")


def _application(client: NodeClient, organisation: str) -> Application:
    """Return an application as the newest state has it.

    Raises:
        DataError: None waits.
    """
    record = state_value(client, CONTRACT, f"application/{organisation}")
    if record is None:
        raise DataError(f"no application of {organisation} waits; see 'gridwitness members applications'")
    raw = record.get("application") if isinstance(record, dict) else None
    if not isinstance(raw, bytes):
        raise DataError(f"{client.node} does not answer as a node does")
    return decode_application(raw)


app.add_typer(member_certificates.app, name="certificates")
member_keys.add_to(app)
member_places.add_to(app)

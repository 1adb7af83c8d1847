"""gridwitness members: operators and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from client.commands.verify import load_genesis
from client.members import CONTRACT, call, chain_of, in_days, owner_of, word
from client.names import require_organisation
from client.newkeys import SUFFIX, read_new_key, write_word
from client.node import Item, items, state_value
from client.options import GenesisOption, JsonOption, KeyOption, NewKeyOption, NodeOption
from client.outfiles import check_out
from client.output import lines_of, short, show_items, when
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import write_new
from kit.http import NodeClient
from kit.keystore import load_signing_key
from kit.terminal import Terminal
from wire import cbor
from wire.cose import KID_BYTES
from wire.membership import REGISTER, REPLACE, REVOKE, ROOT, ROTATE, recovery_bytes
from wire.types import check_identifier

RECOVERY_DAYS: Final = 7

OwnNewKeyOption = Annotated[Path, typer.Option("--new-key", metavar="FILE", help="NAME.key of the new key.")]


def word_of(
    account: Annotated[str, typer.Argument(help="Id of the operator or gateway that the key is for.")],
    organisation: Annotated[str, typer.Option("--organisation", metavar="ID", help="To which the account belongs.")],
    key: KeyOption,
    genesis: GenesisOption,
    folder: Annotated[Path, typer.Option("--dir", help="Folder for the file.")] = Path(),
    *,
    json: JsonOption = False,
) -> None:
    """Let a new key vouch for itself where it is kept: ACCOUNT.word, to hand to the organisation; no node is asked.

    The organisation gives it to 'members add-gateway', 'add-operator' or 'replace-key' as --new-key. The secret stays.

    Example: gridwitness members word gw-linden --organisation grid-company --key gw-linden.key --genesis genesis.cbor
    """
    path = folder / f"{check_identifier(account, 'account')}{SUFFIX}"
    check_out(path, can_force=False)
    new, chain = load_signing_key(key), load_genesis(genesis).chain()
    write_new(path, write_word(new, chain, check_identifier(organisation, "organisation"), account))
    value: Item = {"account": account, "organisation": organisation, "kid": new.kid.hex(), "word": str(path)}
    Terminal(as_json=json).show(value, lambda: lines_of(value))


@signed
def add_operator(
    account: Annotated[str, typer.Argument(help="Id of the operator's account.")],
    new_key: NewKeyOption,
    way: Way,
) -> None:
    """Give a person or program of your organisation an account of its own.

    Example: gridwitness members add-operator shift-1 --new-key shift-1.key --key grid-company.key
    --node http://localhost:8080
    """
    with way.client() as client:
        new = read_new_key(new_key, client, way, account, REGISTER)
        args: dict[str, cbor.Value] = {"operator": account, "key": new.public, "signature": new.signature}
        outcome = call(client, way, "add-operator", args)
    way.show("add-operator", outcome, {"account": account, "kid": new.kid.hex()})


@signed
def rotate_key(
    new_key: OwnNewKeyOption,
    way: Way,
) -> None:
    """Put a new key in the place of --key; both sign. From the next transaction on the old one signs nothing.

    Example: gridwitness members rotate-key --new-key lab-2.key --key lab.key --sender lab --node http://localhost:8080
    """
    new, old = load_signing_key(new_key), load_signing_key(way.key)
    account = way.account
    with way.client() as client:
        _refuse_gateway(client, account, new_key)
        signature = word(new, chain_of(client), account, ROTATE, (old.public, new.public))
        sign_with = f"--key {new_key}" + ("" if new.name == account else f" --sender {account}")
        outcome = call(client, way, "rotate-key", {"new_key": new.public, "signature": signature})
    way.show("rotate-key", outcome, {"old_kid": old.kid.hex(), "new_kid": new.kid.hex(), "sign_with": sign_with})


def _refuse_gateway(client: NodeClient, account: str, new_key: Path) -> None:
    """Say who changes a gateway's key: how far it has counted its agent alone knows, so a number would be wrong here.

    Raises:
        UsageError: The account is a gateway.
    """
    owner = owner_of(client, "gateway", account)
    if owner is not None:
        raise UsageError(
            f"{account} is a gateway, whose agent alone counts what its key signs; nothing was signed: its "
            f"organisation {owner} changes the key with 'gridwitness members replace-key {account} --new-key {new_key}'"
        )


@signed
def replace_key(
    account: Annotated[str, typer.Argument(help="Operator or gateway of your organisation that has lost its key.")],
    new_key: NewKeyOption,
    way: Way,
) -> None:
    """Put a new key in the place of all that an operator or gateway has.

    Example: gridwitness members replace-key gw-linden --new-key gw-linden-2.key --key grid-company.key
    --node http://localhost:8080
    """
    with way.client() as client:
        new = read_new_key(new_key, client, way, account, REPLACE)
        args: dict[str, cbor.Value] = {"account": account, "new_key": new.public, "signature": new.signature}
        outcome = call(client, way, "replace-key", args)
    way.show("replace-key", outcome, {"account": account, "new_kid": new.kid.hex()})


@signed
def revoke_key(
    kid: Annotated[str, typer.Argument(help="Key id, 32 hex digits; see 'gridwitness members show'.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for people.")],
    way: Way,
    root_key: Annotated[
        Path | None, typer.Option("--root-key", metavar="FILE", help="Root key of the key's organisation.")
    ] = None,
    account: Annotated[
        str, typer.Option("--account", metavar="ID", help="Whose key it is; needed beside --root-key.")
    ] = "",
) -> None:
    """Take a key that others may hold from its account, at once and for ever.

    Example: gridwitness members revoke-key 5f0c... --reason 'laptop stolen' --key grid-company.key
    --node http://localhost:8080
    """
    identifier = _kid(kid)
    if (root_key is None) != (not account):
        raise UsageError("--root-key and --account go together: the root key says whose key it revokes")
    with way.client() as client:
        root_signature: bytes | None = None
        if root_key is not None:
            root_signature = word(load_signing_key(root_key), chain_of(client), account, REVOKE, (identifier, None))
        args: dict[str, cbor.Value] = {"kid": identifier, "reason": reason, "root_signature": root_signature}
        outcome = call(client, way, "revoke-key", args)
    way.show("revoke-key", outcome, {"kid": kid})


@signed
def set_root_key(
    new_key: OwnNewKeyOption,
    way: Way,
    root_key: Annotated[
        Path | None, typer.Option("--root-key", metavar="FILE", help="NAME.key of the one before, if there is one.")
    ] = None,
) -> None:
    """Give your organisation a root key for the loss of all others; keep it apart, offline.

    Example: gridwitness members set-root-key --new-key root.key --key grid-company.key --node http://localhost:8080
    """
    new, old = load_signing_key(new_key), None if root_key is None else load_signing_key(root_key)
    account = way.account
    with way.client() as client:
        chain, keys = chain_of(client), (None if old is None else old.public, new.public)
        args: dict[str, cbor.Value] = {
            "root_key": new.public,
            "signature": word(new, chain, account, ROOT, keys),
            "root_signature": None if old is None else word(old, chain, account, ROOT, keys),
        }
        outcome = call(client, way, "set-root-key", args)
    way.show("set-root-key", outcome, {"kid": new.kid.hex()})


@signed
def recover_key(
    organisation: Annotated[str, typer.Argument(help="Organisation that has lost its keys.")],
    new_key: OwnNewKeyOption,
    root_key: Annotated[Path, typer.Option("--root-key", metavar="FILE", help="NAME.key of its root key.")],
    way: Way,
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How long the proposal stands.")] = RECOVERY_DAYS,
) -> None:
    """Propose a new key for an organisation that has lost its own, as a data centre; data centres vote on it.

    Once it is accepted a time lock runs, in which the organisation may cancel it with a key that it still has. What the
    root key signs counts for this recovery alone, and no longer than the proposal stands.

    Example: gridwitness members recover-key wind --new-key wind-2.key --root-key wind-root.key --key centre-east.key
    --node http://localhost:8080
    """
    new, root = load_signing_key(new_key), load_signing_key(root_key)
    with way.client() as client:
        require_organisation(client, organisation)
        number, deadline_ms = _recoveries(client, organisation) + 1, in_days(days)
        assert deadline_ms is not None
        signed = recovery_bytes(chain_of(client), organisation, new.public, number, deadline_ms)
        body: dict[str, cbor.Value] = {
            "organisation": organisation,
            "new_key": new.public,
            "number": number,
            "expires_ms": deadline_ms,
            "signature": new.signing_key.sign(signed).signature,
            "root_signature": root.signing_key.sign(signed).signature,
        }
        proposal: dict[str, cbor.Value] = {"kind": "key-recovery", "body": body, "deadline_ms": deadline_ms}
        outcome = call(client, way, "propose", proposal, contract="governance")
    way.show("recover-key", outcome, {"proposal": outcome.tx, "new_kid": new.kid.hex()})


def _recoveries(client: NodeClient, organisation: str) -> int:
    """Return how many recoveries of an organisation's keys have begun.

    Raises:
        DataError: The node tells something else.
    """
    count = state_value(client, CONTRACT, f"recoveries/{organisation}") or 0
    if type(count) is not int:
        raise DataError(f"the node does not say how many recoveries of {organisation} there were; ask another one")
    return count


@signed
def complete_recovery(
    organisation: Annotated[str, typer.Argument(help="Organisation whose time lock has run out.")],
    way: Way,
) -> None:
    """Put the recovered key in its place; anybody may.

    Example: gridwitness members complete-recovery wind --key centre-east.key --node http://localhost:8080
    """
    with way.client() as client:
        outcome = call(client, way, "complete-recovery", {"organisation": organisation})
    way.show("complete-recovery", outcome)


@signed
def cancel_recovery(
    way: Way,
) -> None:
    """End a recovery of your own organisation, whose key is not lost.

    Example: gridwitness members cancel-recovery --key wind.key --node http://localhost:8080
    """
    with way.client() as client:
        outcome = call(client, way, "cancel-recovery", {})
    way.show("cancel-recovery", outcome)


def recoveries(node: NodeOption, *, json: JsonOption = False) -> None:
    """List recoveries of lost keys.

    Example: gridwitness members recoveries --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = items(client, "/v1/recoveries", {})
    show_items(
        Terminal(as_json=json),
        ("organisation", "status", "new key", "may be completed from"),
        found,
        lambda item: (item["organisation"], item["status"], short(item["key"]), when(item["opens_ms"])),
        empty="no recoveries",
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("word")(word_of)
    for command in (
        add_operator,
        rotate_key,
        replace_key,
        revoke_key,
        set_root_key,
        recover_key,
        complete_recovery,
        cancel_recovery,
        recoveries,
    ):
        app.command(command.__name__.replace("_", "-"))(command)


def _kid(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != KID_BYTES:
        raise UsageError(f"{text!r} is no key id; expected 32 hex digits, see 'gridwitness members show'")
    return found

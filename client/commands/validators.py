"""gridwitness validators: who votes, and how that is changed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from client.names import require_organisation, require_validator
from client.node import Item, items, listing, octets, state_value
from client.options import JsonOption, NodeOption
from client.output import short, show_items, show_listing, when
from client.proposals import find_proposal
from client.ways import Way, signed
from kit.exitcodes import DataError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.keystore import load_public_key, load_signing_key
from kit.terminal import Terminal
from kit.tls import PEM_BYTES_MAX, der_of
from wire import cbor
from wire.handover import ready_bytes, rotation_bytes
from wire.header import decode_header
from wire.types import sha256

CONTRACT: Final = "validators"
DAYS_DEFAULT: Final = 7
_DAY_MS: Final = 86_400_000
_PROPOSAL: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_WORDS: Final[Mapping[str, str]] = {
    "not-a-voter": "only organisations that run a validator propose and vote, each with its own account's key",
    "change-pending": "another change is open; see 'gridwitness validators proposals'",
    "must-wait": "your last proposal failed; you may propose again after validator_wait_ms, others may at once",
    "too-many-changes": "the ledger has had as many sets as proofs can show; only urgent removals are left",
    "change-under-way": "the last change is not in force yet; try again after two blocks",
    "key-in-use": "a vote key or certificate is never used twice, not even after it was given up; make new ones",
    "not-approved": "not enough organisations are in favour yet; see 'gridwitness validators proposals'",
    "stale": "the node that was asked is too far behind; let it follow the ledger first",
    "no-such-change": "it has been executed or closed; see 'gridwitness validators proposals'",
    "unknown-organisation": "a validator's member is an organisation of the consortium",
    "last-one": "nobody would be left to decide",
}

app = typer.Typer(no_args_is_help=True, help="List validators; propose, vote on and complete changes of them.")

AddressOption = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", help="Where its peer port listens, as others reach it.")
]
DaysOption = Annotated[int, typer.Option("--days", min=1, max=365, help="How long the proposal stands.")]
CertificateOption = Annotated[
    Path,
    typer.Option("--certificate", metavar="FILE", help="MEMBER.crt as 'gridwitness-node certificate' wrote it."),
]


@app.command("list")
def list_validators(
    node: NodeOption,
    *,
    everybody: Annotated[bool, typer.Option("--all", help="Those that were removed, too.")] = False,
    json: JsonOption = False,
) -> None:
    """List the validators of the ledger.

    Example: gridwitness validators list --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/validators", {"status": None if everybody else "validator"})
    show_listing(
        Terminal(as_json=json),
        ("member", "status", "vote key", "certificate", "address", "since", "until"),
        found,
        lambda item: (
            item["member"],
            item["status"],
            short(item["vote_key"]),
            short(item["tls_digest"]),
            item["address"] or "-",
            item["since_height"],
            item["until_height"],
        ),
        empty="no validators",
    )


@app.command()
def proposals(
    node: NodeOption,
    status: Annotated[
        str | None, typer.Option("--status", help="Only those that are pending, approved, executed or closed.")
    ] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List proposed changes of validators and who is in favour, the newest first.

    Example: gridwitness validators proposals --node http://localhost:8080 --status pending
    """
    with NodeClient([node]) as client:
        found = items(client, "/v1/proposals", {"contract": CONTRACT, "status": status})
    show_items(
        Terminal(as_json=json),
        ("proposal", "kind", "member", "status", "in favour", "against", "due", "until"),
        found,
        lambda item: (
            item["proposal"],
            item["kind"],
            item["member"],
            item["reason"] or item["status"],
            item["in_favour"],
            item["against"],
            item["votes_due"],
            when(item["deadline_ms"]),
        ),
        empty="no proposals",
    )


@app.command("propose-add")
@signed
def propose_add(
    member: Annotated[str, typer.Argument(help="Organisation whose node is to vote.")],
    vote_key: Annotated[Path, typer.Option("--vote-key", metavar="FILE", help="NAME.pub of the new node's vote key.")],
    certificate: CertificateOption,
    way: Way,
    address: AddressOption = "",
    days: DaysOption = DAYS_DEFAULT,
) -> None:
    """Propose a new validator; once approved, its node may follow the ledger and says READY.

    Example: gridwitness validators propose-add centre-south --vote-key vote.pub --certificate centre-south.crt
    --address south.example:7400 --key dispatch.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {
        "member": member,
        "vote_key": load_public_key(vote_key).public,
        "tls_certificate": _certificate(certificate),
        "address": address,
        "deadline_ms": _deadline_ms(days),
    }
    with way.client() as client:
        require_organisation(client, member)
    _call("propose-add", args, way)


@app.command("propose-removal")
@signed
def propose_removal(
    member: Annotated[str, typer.Argument(help="Validator to be removed.")],
    way: Way,
    days: DaysOption = DAYS_DEFAULT,
    *,
    urgent: Annotated[
        bool, typer.Option("--urgent", help="Others may hold its key: goes before another change, a quorum decides.")
    ] = False,
) -> None:
    """Propose to remove a validator.

    Example: gridwitness validators propose-removal centre-east --key dispatch.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {"member": member, "urgent": urgent, "deadline_ms": _deadline_ms(days)}
    with way.client() as client:
        require_validator(client, member)
    _call("propose-removal", args, way)


@app.command("propose-rotation")
@signed
def propose_rotation(
    old_vote_key: Annotated[
        Path, typer.Option("--old-vote-key", metavar="FILE", help="NAME.key with which the node votes now.")
    ],
    way: Way,
    new_vote_key: Annotated[
        Path | None,
        typer.Option("--new-vote-key", metavar="FILE", help="NAME.key of the new one; not told: it stays."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="MEMBER.crt of the new one; not told: it stays."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST:PORT", help="Where its peer port listens now; not told: as before."),
    ] = None,
    days: DaysOption = DAYS_DEFAULT,
) -> None:
    """Propose a new vote key, certificate or address for your own validator; both vote keys sign it here.

    What is not told stays as the ledger has it: the node that is asked says so, and the answer shows what was proposed.
    Before it is executed the node must know the new key: [node] vote_key_next in node.toml.

    Example: gridwitness validators propose-rotation --old-vote-key vote.key --new-vote-key vote-2.key
    --key dispatch.key --node http://localhost:8080
    """
    old = load_signing_key(old_vote_key)
    new = old if new_vote_key is None else load_signing_key(new_vote_key)
    deadline_ms = _deadline_ms(days)
    with way.client() as client:
        signer = way.signer(client)
        present = _record(client, signer.sender) if certificate is None or address is None else (b"", "")
    der = present[0] if certificate is None else _certificate(certificate)
    address = present[1] if address is None else address
    signed = rotation_bytes(signer.chain, signer.sender, (old.public, new.public), sha256(der), deadline_ms)
    args: dict[str, cbor.Value] = {
        "member": signer.sender,
        "vote_key": new.public,
        "tls_certificate": der,
        "address": address,
        "deadline_ms": deadline_ms,
        "old_signature": old.signing_key.sign(signed).signature,
        "new_signature": new.signing_key.sign(signed).signature,
    }
    told: Item = {"address": address, "tls_digest": sha256(der).hex()}
    _call("propose-rotation", args, way, told=told)


@app.command()
@signed
def vote(
    proposal: Annotated[str, typer.Argument(help="Id of the proposal: its 64 hex digits, or the first 8 or more.")],
    way: Way,
    *,
    against: Annotated[bool, typer.Option("--against", help="Vote against it.")] = False,
) -> None:
    """Vote on a proposal, as an organisation that runs a validator.

    Example: gridwitness validators vote 5f0c... --key centre-west.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {"proposal": _proposal(proposal, way), "in_favour": not against}
    _call("vote", args, way)


@app.command()
@signed
def ready(
    proposal: Annotated[
        str, typer.Argument(help="Id of the approved proposal: its 64 hex digits, or the first 8 or more.")
    ],
    vote_key: Annotated[Path, typer.Option("--vote-key", metavar="FILE", help="NAME.key of the new node's vote key.")],
    way: Way,
) -> None:
    """Say READY for a joiner: its vote key signs the state that its own node has. Give --node that node.

    Example: gridwitness validators ready 5f0c... --vote-key vote.key --key centre-south.key --node http://localhost:8084
    """
    identifier = _proposal(proposal, way)
    with way.client() as client:
        height, state_root = _newest_state(client)
    signature = load_signing_key(vote_key).signing_key.sign(ready_bytes(identifier, height, state_root)).signature
    args: dict[str, cbor.Value] = {
        "proposal": identifier,
        "height": height,
        "state_root": state_root,
        "signature": signature,
    }
    _call("ready", args, way)


@app.command()
@signed
def withdraw(
    proposal: Annotated[str, typer.Argument(help="Id of the proposal: its 64 hex digits, or the first 8 or more.")],
    way: Way,
) -> None:
    """End a proposal: your own at any time, any one after its deadline.

    Example: gridwitness validators withdraw 5f0c... --key dispatch.key --node http://localhost:8080
    """
    args: dict[str, cbor.Value] = {"proposal": _proposal(proposal, way)}
    _call("withdraw", args, way)


def _call(method: str, args: Mapping[str, cbor.Value], way: Way, told: Item | None = None) -> None:
    """Sign and submit one call, wait for its outcome and show it, and what else is told.

    Raises:
        DataError: The contract refused it.
    """
    with way.client() as client:
        outcome = way.call(client, CONTRACT, method, args, _WORDS)
    way.show(method, outcome, told)


def _newest_state(client: NodeClient) -> tuple[int, bytes]:
    """Return height and state root of a node's newest block.

    Raises:
        DataError: The node does not answer as a node does.
    """
    height = client.get_json("/v1/status").get("height")
    if not isinstance(height, int) or height < 1:
        raise DataError(f"{client.node} has no block yet; let it follow the ledger first")
    page = client.get_json("/v1/headers", {"from": str(height), "limit": "1"}).get("items")
    if not isinstance(page, list) or not page or not isinstance(page[0], dict):
        raise DataError(f"{client.node} does not answer as a node does")
    return height, decode_header(octets(page[0], "header")).state_root


def _record(client: NodeClient, member: str) -> tuple[bytes, str]:
    """Return certificate and address of a validator, as the newest state has them; before any change, the genesis file.

    Raises:
        DataError: The node tells of no such validator.
    """
    for namespace, key in (("validators", f"member/{member}"), ("membership", f"validator/{member}")):
        try:
            record = state_value(client, namespace, key)
        except DataError:
            break
        if isinstance(record, dict):
            certificate, address = record.get("tls_certificate"), record.get("address", "")
            if isinstance(certificate, bytes) and isinstance(address, str):
                return certificate, address
    raise DataError(
        f"{client.node} tells of no validator {member}, so what is to stay is not known; "
        "give --certificate and --address, or ask another node"
    )


def _certificate(path: Path) -> bytes:
    return der_of(read_bounded(path, bytes_max=PEM_BYTES_MAX))


def _deadline_ms(days: int) -> int:
    return time.time_ns() // 1_000_000 + days * _DAY_MS


def _proposal(text: str, way: Way) -> bytes:
    if _PROPOSAL.fullmatch(text) is None:
        with way.client() as client:
            text = str(find_proposal(client, text)["proposal"])
    return bytes.fromhex(text)

"""gridwitness proposals: what organisations vote on; parameters, corrections: what came of it."""

from __future__ import annotations

import json as jsons
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from client.names import require_parameter, require_target
from client.node import Item, listing
from client.options import JsonOption, NodeOption
from client.output import lines_of, short, show_listing, when
from client.proposals import after_vote, body_text, find_proposal, read_policy, standing, value_of, weights
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.terminal import Terminal
from wire import cbor
from wire.errors import WireError
from wire.fields import Fields
from wire.types import DIGEST_BYTES

CONTRACT: Final = "governance"
POLICY: Final = "endorsement-policy"
DAYS_DEFAULT: Final = 7
PLAN_BYTES_MAX: Final = 64 * 1024
_DAY_MS: Final = 86_400_000
_PLAN: Final = ("code", "height", "base_height", "state_root")
_WORDS: Final[Mapping[str, str]] = {
    "no-say": "only organisations with a weight vote on this, on corrections and recoveries of keys those that run a "
    "validator, each with a key of its own account",
    "too-many": "too many proposals are open; withdraw one of yours, or wait until some are decided",
    "bad-value": "a parameter is unknown or its value out of range; see 'gridwitness parameters list'",
    "wrong-old": "the old value is not what counts now: see 'gridwitness corrections list' and give --old",
    "no-such-entry": "nothing stands under this key of the state",
    "too-soon": "the height lies fewer than upgrade_blocks_min blocks ahead, or an older version begins no sooner",
    "old-version": "the ledger knows a version of this contract that is as new; see /v1/code",
    "closed": "it has been decided or closed; see 'gridwitness proposals show'",
    "expired": "its deadline is past",
    "voted": "this organisation has voted on it, and each votes once",
    "not-yours": "only who proposed it withdraws it; after its deadline anybody closes it with 'proposals count'",
}

_POLICY_WORDS: Final[Mapping[str, str]] = dict.fromkeys(
    ("bad-args", "bad-body", "bad-value"), "the ledger takes no such policy; see docs/guides/references.md"
)

app = typer.Typer(no_args_is_help=True, help="List proposals; propose, vote, withdraw, count.")
parameters_app = typer.Typer(no_args_is_help=True, help="List the parameters of the ledger.")
corrections_app = typer.Typer(no_args_is_help=True, help="List corrections of data.")

DaysOption = Annotated[int, typer.Option("--days", min=1, max=365, help="How long the proposal stands.")]
ProposalArgument = Annotated[str, typer.Argument(metavar="PROPOSAL", help="Id of the proposal, or how it begins.")]


@app.command("list")
def list_proposals(
    node: NodeOption,
    status: Annotated[
        str | None, typer.Option("--status", help="pending, approved, executed, closed or expired alone.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Of one kind alone, such as parameters.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List proposals of all kinds, changes of validators too, the newest first.

    Example: gridwitness proposals list --node http://localhost:8080 --status pending
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/proposals", {"status": status, "kind": kind})
    show_listing(
        Terminal(as_json=json),
        ("proposal", "kind", "about", "status", "by", "in favour", "against", "due", "until"),
        found,
        lambda item: (
            item["proposal"],
            item["kind"],
            item["subject"],
            item["reason"] or item["status"],
            item["by"],
            item["weight_in_favour"],
            item["weight_against"],
            item["votes_due"],
            when(item["deadline_ms"]),
        ),
        empty="no proposals",
    )


@app.command()
def show(proposal: ProposalArgument, node: NodeOption, *, json: JsonOption = False) -> None:
    """Show one proposal: what exactly is to change, and who voted how.

    Example: gridwitness proposals show 5f0c... --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        item = find_proposal(client, proposal)
    told = {
        **{name: item[name] for name in ("proposal", "contract", "kind", "subject", "status", "reason", "by")},
        "body": body_text(item),
        "in favour": ", ".join(item["in_favour"]) or "-",
        "against": ", ".join(item["against"]) or "-",
        "weight": weights(item),
        "until": when(item["deadline_ms"]),
        "from height": item["from_height"],
    }
    Terminal(as_json=json).show(item, lambda: lines_of(told))


@app.command("parameters")
@signed
def propose_parameters(
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="New values; JSON for lists.")],
    way: Way,
    days: DaysOption = DAYS_DEFAULT,
) -> None:
    """Propose new values of parameters; all of them or none.

    Example: gridwitness proposals parameters stale_ms=900000 'endorser_roles=["laboratory","manufacturer"]'
    --key dispatch.key --node http://localhost:8080
    """
    found: dict[str, cbor.Value] = {}
    for text in values:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise UsageError(f"{text!r} is no NAME=VALUE, such as stale_ms=900000")
        found[name] = value_of(value)
    with way.client() as client:
        for name in found:
            require_parameter(client, name)
    _propose("parameters", {"values": found}, way, days)


@app.command()
@signed
def upgrade(
    plan: Annotated[Path, typer.Argument(metavar="FILE", help="What 'gridwitness-node dry-run --json' printed.")],
    way: Way,
    days: DaysOption = DAYS_DEFAULT,
) -> None:
    """Propose the contract versions of a plan from its height on, with the state root that its dry run came to.

    Example: gridwitness proposals upgrade plan.json --key dispatch.key --node http://localhost:8080
    """
    _propose("upgrade", _body_of(read_plan(plan)), way, days)


@app.command()
@signed
def policy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON: target, kind and policy; see the guide.")],
    way: Way,
    days: DaysOption = DAYS_DEFAULT,
    *,
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Its device or model comes later: do not look for it in the ledger.")
    ] = False,
) -> None:
    """Propose who must endorse releases: for all, one artefact kind, one model or one device.

    Example: gridwitness proposals policy policy.json --key dispatch.key --node http://localhost:8080
    """
    body = read_policy(file)
    target = body["target"]
    if isinstance(target, dict) and not ahead:
        device, model = (None if name is None else str(name) for name in (target.get("device"), target.get("model")))
        with way.client() as client:
            require_target(client, device, model, f"{file}: ")
    _propose(POLICY, body, way, days)


@app.command()
@signed
def correct(
    new: Annotated[str, typer.Option("--new", metavar="JSON", help="What is to count; bytes as hex:00ff.")],
    reason: Annotated[str, typer.Option("--reason", help="Why the old value is wrong.")],
    way: Way,
    tx: Annotated[str | None, typer.Option("--tx", metavar="ID", help="Transaction that is corrected.")] = None,
    entry: Annotated[
        str | None, typer.Option("--entry", metavar="NAMESPACE/KEY", help="State entry that is corrected.")
    ] = None,
    old: Annotated[
        str | None, typer.Option("--old", metavar="JSON", help="What counts now; of an entry the node is asked.")
    ] = None,
    days: DaysOption = DAYS_DEFAULT,
) -> None:
    """Propose a correction: a record beside what was wrong, which itself stays as it is. Data centres vote on it.

    Example: gridwitness proposals correct --tx 5f0c... --old 490 --new 480 --reason "typing error" --key dispatch.key
    --node http://localhost:8080
    """
    if (tx is None) == (entry is None):
        raise UsageError("give --tx or --entry, one of them")
    if entry is None:
        if old is None:
            raise UsageError("with --tx give --old, too: what the transaction said")
        target: dict[str, cbor.Value] = {"tx": _digest(str(tx))}
        before = cbor.encode(value_of(old))
    else:
        namespace, _, name = entry.partition("/")
        target = {"namespace": namespace, "key": name.encode()}
        with way.client() as client:
            before = standing(client, namespace, name) if old is None else cbor.encode(value_of(old))
    body: dict[str, cbor.Value] = {
        "target": target,
        "old": before,
        "new": cbor.encode(value_of(new)),
        "reason": reason,
    }
    _propose("correction", body, way, days)


@app.command()
@signed
def vote(
    proposal: ProposalArgument,
    way: Way,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Vote only if it says what 'gridwitness-node dry-run' printed."),
    ] = None,
    *,
    against: Annotated[bool, typer.Option("--against", help="Vote against it.")] = False,
) -> None:
    """Vote on a proposal of any kind, changes of validators too.

    Example: gridwitness proposals vote 5f0c... --plan mine.json --key grid.key --node http://localhost:8080
    """
    with way.client() as client:
        item = find_proposal(client, proposal)
        found = str(item["proposal"])
    wanted = item["body"] if plan is None else read_plan(plan)
    if item["body"] != wanted:
        differing = ", ".join(name for name in _PLAN if item["body"].get(name) != wanted[name])
        raise DataError(f"proposal {short(proposal)} differs from {plan} in {differing}; nothing was signed")
    args: dict[str, cbor.Value] = {"proposal": _digest(found), "in_favour": not against}
    _call(str(item["contract"]), "vote", args, way, found)


@app.command()
@signed
def withdraw(
    proposal: ProposalArgument,
    way: Way,
) -> None:
    """End a proposal of your own.

    Example: gridwitness proposals withdraw 5f0c... --key dispatch.key --node http://localhost:8080
    """
    with way.client() as client:
        item = find_proposal(client, proposal)
    args: dict[str, cbor.Value] = {"proposal": _digest(str(item["proposal"]))}
    _call(str(item["contract"]), "withdraw", args, way)


@app.command()
@signed
def count(
    proposal: ProposalArgument,
    way: Way,
) -> None:
    """Have the votes counted anew, after weights have changed, or a proposal closed whose deadline is past.

    Example: gridwitness proposals count 5f0c... --key grid.key --node http://localhost:8080
    """
    with way.client() as client:
        item = find_proposal(client, proposal)
    args: dict[str, cbor.Value] = {"proposal": _digest(str(item["proposal"]))}
    _call(CONTRACT, "count", args, way)


@parameters_app.command("list")
def list_parameters(
    node: NodeOption,
    source: Annotated[str | None, typer.Option("--source", help="default, genesis or vote alone.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List the parameters of the ledger with who set them.

    Example: gridwitness parameters list --node http://localhost:8080 --source vote
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/parameters", {"source": source})
    show_listing(
        Terminal(as_json=json),
        ("name", "value", "set by", "since", "proposal"),
        found,
        lambda item: (
            item["name"],
            jsons.dumps(item["value"]),
            item["source"],
            item["since_height"],
            short(item["proposal"]),
        ),
        empty="no parameters",
    )


@corrections_app.command("list")
def list_corrections(
    node: NodeOption,
    tx: Annotated[str | None, typer.Option("--tx", metavar="ID", help="Of one transaction alone.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List corrections of data, the newest first, with what they correct.

    Example: gridwitness corrections list --node http://localhost:8080 --tx 5f0c...
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/corrections", {"tx": tx})
    show_listing(
        Terminal(as_json=json),
        ("correction", "of", "old", "new", "reason", "superseded by", "time"),
        found,
        lambda item: (
            short(item["correction"]),
            item["tx"] or f"{item['namespace']}/{bytes.fromhex(item['key']).decode(errors='replace')}",
            jsons.dumps(item["old"]),
            jsons.dumps(item["new"]),
            item["reason"],
            short(item["superseded_by"]),
            when(item["time_ms"]),
        ),
        empty="no corrections",
    )


def read_plan(path: Path) -> Item:
    """Read a plan of an upgrade.

    Raises:
        DataError: The file holds something else.
    """
    try:
        found = jsons.loads(read_bounded(path, bytes_max=PLAN_BYTES_MAX))
        _body_of(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, WireError) as error:
        raise DataError(f"{path} is no plan of gridwitness-node dry-run --json: {error}") from error
    plan: Item = found
    return plan


def _body_of(plan: Item) -> dict[str, cbor.Value]:
    Fields(plan, _PLAN, "plan")
    root = plan["state_root"]
    body: dict[str, cbor.Value] = {
        "code": [{**one, "digest": bytes.fromhex(one["digest"])} for one in plan["code"]],
        "height": plan["height"],
        "base_height": plan["base_height"],
        "state_root": None if root is None else bytes.fromhex(root),
    }
    cbor.encode(body)
    return body


def _propose(kind: str, body: dict[str, cbor.Value], way: Way, days: int) -> None:
    deadline_ms = time.time_ns() // 1_000_000 + days * _DAY_MS
    args: dict[str, cbor.Value] = {"kind": kind, "body": body, "deadline_ms": deadline_ms}
    _call(CONTRACT, "propose", args, way)


def _call(contract: str, method: str, args: Mapping[str, cbor.Value], way: Way, proposal: str | None = None) -> None:
    """Sign and submit one call, wait for its outcome and show it, and how ``proposal`` stands after the vote.

    The id of a proposal is that of its transaction.

    Raises:
        DataError: The contract refused it.
    """
    words = _WORDS if args.get("kind") != POLICY else {**_WORDS, **_POLICY_WORDS}
    told: Item = {}
    with way.client() as client:
        outcome = way.call(client, contract, method, args, words)
        if method == "propose":
            told["proposal"] = outcome.tx
        if proposal is not None and not way.no_wait:
            told |= after_vote(client, proposal, way.account)
    way.show(method, outcome, told)


def _digest(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES:
        raise UsageError(f"{text!r} is no id of 64 hex digits; see 'gridwitness proposals list'")
    return found

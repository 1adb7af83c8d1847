"""gridwitness access: who may read restricted data, who could, and what a node's log of reads says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from client.commands.verify import load_genesis
from client.node import Outcome, listing
from client.options import GenesisOption, JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.output import lines_of, short, show_listing, when
from client.proof import access_to_json, lines_for
from client.proven import fetch_state_proof, proven_value
from client.times import moment_ms
from client.ways import Way, signed
from kit.exitcodes import DataError, UsageError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.sealing import create_reading_key, load_reading_key
from kit.terminal import Terminal
from wire import cbor
from wire.accessproof import PAST_PAGES_MAX, AccessProof, verify_access_proof
from wire.errors import WireError
from wire.fields import Fields
from wire.genesis import Genesis
from wire.grants import (
    NAMESPACE,
    PAGE_GRANTS,
    PAGES_MAX,
    check_class,
    decode_page,
    decode_past,
    page_key,
    past_count_key,
    past_key,
    split_reader,
    split_subject,
)
from wire.historyproof import decode_history_proof
from wire.readlog import SEGMENT_BYTES_MAX, Anchor, Segment, check_log, read_segment
from wire.stateproof import StateProof
from wire.types import IDENTIFIER_PATTERN

_HEX_DIGITS: Final = 64

ClassArgument = Annotated[str, typer.Argument(metavar="CLASS", help="settings, measurements or contracts.")]
SubjectArgument = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="device/ID, station/ID, organisation/ID or all.")
]

app = typer.Typer(no_args_is_help=True, help="Grant, revoke and prove who may read restricted data.")


@app.command()
@signed
def grant(
    data_class: ClassArgument,
    subject: SubjectArgument,
    reader: Annotated[str, typer.Argument(metavar="READER", help="organisation/ID, account/ID or role/ROLE.")],
    way: Way,
    from_ms: Annotated[
        int | None, typer.Option("--from", metavar="TIME", parser=moment_ms, help="Block time from which on it counts.")
    ] = None,
    until_ms: Annotated[
        int | None, typer.Option("--until", metavar="TIME", parser=moment_ms, help="Block time at which it ends.")
    ] = None,
) -> None:
    """Let somebody read a class of a subject, as the organisation that owns it; what is part of it goes with it.

    Times are such as 2027-01-01T06:00+01:00. About 'all' the dispatch centre alone decides.

    Example: gridwitness access grant settings device/linden-sc-1 role/auditor --key grid-company.key
    """
    try:
        check_class(data_class)
        split_subject(subject)
        split_reader(reader)
    except WireError as error:
        raise UsageError(str(error)) from error
    args: dict[str, cbor.Value] = {"class": data_class, "subject": subject, "reader": reader}
    args |= {"from_ms": from_ms, "until_ms": until_ms}
    outcome = _send(way, "grant", args)
    _show(way, f"{reader} may read {data_class} of {subject}", outcome)


@app.command()
@signed
def revoke(
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="Id of the grant, 64 hex digits.")],
    way: Way,
) -> None:
    """End a grant from the block on that takes the revocation; that it was given stays known.

    Example: gridwitness access revoke 5d0c...e1 --key grid-company.key --node http://localhost:8080
    """
    try:
        wanted = bytes.fromhex(grant_id)
    except ValueError:
        wanted = b""
    if len(grant_id) != _HEX_DIGITS or not wanted:
        raise UsageError(f"{grant_id} is no grant; 64 hex digits are due, see 'gridwitness access list'")
    outcome = _send(way, "revoke", {"grant": wanted})
    _show(way, f"grant {short(grant_id)} is revoked", outcome)


@app.command("list")
def list_grants(
    node: NodeOption,
    state: Annotated[
        str | None, typer.Option("--state", help="Only those that are in-force, waiting, over or revoked.")
    ] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Only those on exactly this subject.")] = None,
    reader: Annotated[str | None, typer.Option("--reader", help="Only those of exactly this reader.")] = None,
    *,
    json: JsonOption = False,
) -> None:
    """List grants, newest first.

    Example: gridwitness access list --state in-force --node http://localhost:8080
    """
    with NodeClient([node]) as client:
        found = listing(client, "/v1/grants", {"state": state, "subject": subject, "reader": reader})
    show_listing(
        Terminal(as_json=json),
        ("grant", "class", "subject", "reader", "state", "until", "by"),
        found,
        lambda item: (
            item["id"],
            item["class"],
            item["subject"],
            item["reader"],
            item["state"],
            "" if item["until_ms"] is None else when(item["until_ms"]),
            item["by"],
        ),
        empty="no grants",
    )


@app.command()
def who(
    data_class: ClassArgument,
    subject: SubjectArgument,
    node: NodeOption,
    genesis: GenesisOption,
    height: Annotated[
        int | None, typer.Option("--height", min=1, help="After which block; the newest one if not told.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write the proof, for 'gridwitness verify'.")
    ] = None,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Prove who had a grant for a class and exactly this subject after a block, and that nobody else had one.

    The owner, the gateways of the station and the sealer of a content read without a grant. Grants on what the subject
    is part of (its station, its organisation, all) are asked for by their own names.

    Example: gridwitness access who settings device/linden-sc-1 --height 120 --genesis genesis.cbor
    """
    try:
        check_class(data_class)
        split_subject(subject)
    except WireError as error:
        raise UsageError(str(error)) from error
    check_out(out, force=force)
    trusted = load_genesis(genesis)
    with NodeClient([node]) as client:
        proof = fetch_access_proof(client, data_class, subject, height)
    try:
        found = verify_access_proof(proof, trusted)
    except WireError as error:
        raise DataError(f"the answer of {node} does not verify: {error}") from error
    if height not in (None, found.height):
        raise DataError(f"{node} proved block {found.height}, not {height}")
    if out is not None:
        write_out(out, proof.encode(), force=force)
    shown = access_to_json(found)
    Terminal(as_json=json).show(shown, lambda: lines_for(shown) or [])


@app.command("new-key")
def new_key(
    name: Annotated[str, typer.Argument(help="Name of the key; best that of the account.")],
    folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write NAME.reading.")] = Path(),
    *,
    json: JsonOption = False,
) -> None:
    """Make an X25519 key to which others can seal contents; make it known with 'access register'.

    Example: gridwitness access new-key grid-company --out keys
    """
    made = create_reading_key(folder, name)
    value = {"file": str(folder / f"{name}.reading"), "key": made.public.hex(), "kid": made.kid.hex()}
    Terminal(as_json=json).show(value, lambda: lines_of(value))


@app.command()
@signed
def register(
    reading_key: Annotated[Path, typer.Argument(metavar="FILE", help="NAME.reading of 'access new-key'.")],
    way: Way,
) -> None:
    """Make a reading key the one of an organisation or gateway; the key before it retires.

    What was sealed to the retired key opens with it as before; 'gridwitness sealed rewrap' wraps it for the new one.

    Example: gridwitness access register keys/grid-company.reading --key grid-company.key --node http://localhost:8080
    """
    public = load_reading_key(reading_key).public
    outcome = _send(way, "register", {"key": public})
    _show(way, f"reading key {public.hex()}", outcome)


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(help="The node's folder 'reads', or a copy of it.")],
    member: Annotated[str, typer.Option("--member", metavar="ID", help="Whose node it is.")],
    node: NodeOption,
    genesis: GenesisOption,
    *,
    json: JsonOption = False,
) -> None:
    """Check a node's log of restricted reads against its anchors in the ledger, which any node can prove.

    Exit code 65 names the first entry that is missing or not what was anchored.

    Example: gridwitness access audit /var/lib/gridwitness/node/reads --member dispatch --genesis genesis.cbor
    """
    if IDENTIFIER_PATTERN.fullmatch(member) is None:
        raise UsageError(f"{member!r} is no member")
    trusted = load_genesis(genesis)
    files = sorted(path for path in folder.glob("*.reads")) if folder.is_dir() else []
    try:
        segments = [read_segment(read_bounded(path, bytes_max=SEGMENT_BYTES_MAX), path.name) for path in files]
        first = segments[0].head.first if segments else 1
        with NodeClient([node]) as client:
            anchors = _anchors(client, trusted, member, first)
        found = check_log(segments, anchors)
        _check_owner(segments, trusted, member)
    except WireError as error:
        raise DataError(f"the read log in {folder} is not what it should be: {error}") from error
    value = {
        "member": member,
        "first": found.first,
        "last": found.last,
        "anchored": found.anchored,
        "anchors": len(anchors),
        "reads": [_entry(segment, place) for segment in segments for place in range(len(segment.entries))],
    }
    line = f"entries {found.first} to {found.last} follow one another and agree with {len(anchors)} anchors"
    rest = f"; {found.last - found.anchored} are not anchored yet" if found.last > found.anchored else ""
    Terminal(as_json=json).show(value, lambda: [line + rest])


def fetch_access_proof(client: NodeClient, data_class: str, subject: str, height: int | None) -> AccessProof:
    """Collect what proves who could read; it is not verified.

    Raises:
        DataError: The node's answers are no proofs.
    """
    pages = [fetch_state_proof(client, NAMESPACE, page_key(data_class, subject, 0))]
    newest = pages[0].final.header.height
    try:
        while len(pages) < PAGES_MAX and (value := pages[-1].value) is not None:
            if len(decode_page(cbor.decode(value))) < PAGE_GRANTS:
                break
            pages.append(fetch_state_proof(client, NAMESPACE, page_key(data_class, subject, len(pages)), newest))
        history = None
        if height not in (None, newest):
            raw = client.get_bytes(f"/v1/headers/{height}/proof", {"in": str(newest), "format": "cbor"})
            history = decode_history_proof(raw)
    except WireError as error:
        raise DataError(f"{client.node} did not send what was asked: {error}") from error
    past = _fetch_past(client, data_class, subject, pages[-1], newest if height is None else height)
    return AccessProof(data_class, subject, tuple(pages), past, history)


def _fetch_past(
    client: NodeClient, data_class: str, subject: str, last: StateProof, height: int
) -> tuple[StateProof, ...]:
    """Return the pages of the past that may hold a grant which counted after a block; none while a place is free.

    Raises:
        DataError: The node's answers are no proofs, or they are more than one proof holds.
    """
    newest = last.final.header.height
    try:
        is_full = last.key == page_key(data_class, subject, PAGES_MAX - 1) and last.value is not None
        if not is_full or len(decode_page(cbor.decode(last.value or b""))) < PAGE_GRANTS:
            return ()
        counted = fetch_state_proof(client, NAMESPACE, past_count_key(data_class, subject), newest).value
        count = 0 if counted is None else cbor.decode(counted)
        number = count // PAGE_GRANTS if isinstance(count, int) else 0
        pages = [fetch_state_proof(client, NAMESPACE, past_key(data_class, subject, number), newest)]
        while number and (pages[0].value is None or decode_past(cbor.decode(pages[0].value))[0].left_height > height):
            number -= 1
            pages.insert(0, fetch_state_proof(client, NAMESPACE, past_key(data_class, subject, number), newest))
            if len(pages) > PAST_PAGES_MAX:
                raise DataError(f"too many grants of {subject} gave up their places since block {height} for one proof")
    except WireError as error:
        raise DataError(f"{client.node} did not send what was asked: {error}") from error
    return tuple(pages)


def _entry(segment: Segment, place: int) -> dict[str, object]:
    entry = segment.entries[place]
    names = ("index", "time_ms", "height", "account", "subject", "item", "grant")
    return {**{name: getattr(entry, name) for name in names}, "class": entry.data_class, "kid": entry.kid.hex()}


def _anchors(client: NodeClient, genesis: Genesis, member: str, first: int) -> list[Anchor]:
    """Return the proven anchors of a log from the entry before ``first`` on, ascending."""
    last = proven_value(client, genesis, NAMESPACE, f"anchors/{member}".encode("ascii"))
    if last is None:
        return []
    number = Fields(cbor.decode(last), ("number", "entries"), "anchors").integer("number", 1)
    found: list[Anchor] = []
    while number and (not found or found[-1].entries >= first):
        value = proven_value(client, genesis, NAMESPACE, f"anchor/{member}/{number}".encode("ascii"))
        if value is None:
            raise DataError(f"anchor {number} of {member} is not in the state, though it is counted")
        fields = Fields(cbor.decode(value), ("entries", "head", "height", "time_ms"), "anchor")
        found.append(Anchor(number, fields.integer("entries", 1), fields.digest("head")))
        number -= 1
    kept = [anchor for anchor in found if anchor.entries >= first - 1]
    return kept[::-1]


def _check_owner(segments: list[Segment], genesis: Genesis, member: str) -> None:
    if segments and (segments[0].head.chain, segments[0].head.member) != (genesis.chain(), member):
        head = segments[0].head
        raise DataError(f"it is the log of {head.member} on {head.chain}, not of {member} on {genesis.chain()}")


def _send(way: Way, method: str, args: dict[str, cbor.Value]) -> Outcome:
    with way.client() as client:
        return way.call(client, NAMESPACE, method, args)


def _show(way: Way, what: str, outcome: Outcome) -> None:
    way.terminal().show(outcome.to_json(), lambda: [f"{what}: {outcome.said()}, transaction {outcome.tx}"])

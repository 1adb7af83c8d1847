"""gridwitness bundles: all that proves an alarm, a device or a gateway's period, in one file."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from client.commands.verify import load_genesis
from client.evidencebundles import (
    alarm_events,
    alarm_key,
    carries,
    incomplete,
    judge,
    report_of,
    show_judged,
    state_keys,
)
from client.gapwords import NAMESPACE
from client.node import Item, items
from client.options import GenesisOption, JsonOption, NodeOption
from client.outfiles import ForceOption, check_out, write_out
from client.proof import REPORT, Proof, open_proven
from client.proven import fetch_state_proof
from client.times import time_ms
from kit.exitcodes import DataError, UsageError
from kit.http import NodeClient
from kit.terminal import Terminal
from rules.gaps import Counters, read_counters
from wire import cbor
from wire.block import BLOCK_BYTES_MAX, decode_block
from wire.errors import ProofError, WireError
from wire.evidence import Evidence, decode_evidence
from wire.evidencebundle import ALARM, DEVICE, GATEWAY, RECEIPTS_MAX, EvidenceBundle, Subject
from wire.genesis import Genesis
from wire.header import Header, decode_header
from wire.receipt import Bundle, decode_bundle, verify_receipt
from wire.stateproof import StateProof, verify_state_proof
from wire.tx import open_tx
from wire.types import IDENTIFIER_PATTERN, sha256

_ATTEMPTS: Final = 3
"""The ledger goes on while a bundle is put together; one whose parts do not fit is put together anew."""
_CANDIDATES_MAX: Final = 16
_HEADERS: Final = 100
_EARLY_MS: Final = 86_400_000
"""A report may be in a block older than its gateway's clock says: so much earlier the search begins."""
_ALARM_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
Reports = dict[tuple[int, int], tuple[Evidence, list[str]]]
"""Evidence by boot and seq, and the transactions that hold it."""

app = typer.Typer(no_args_is_help=True, help="Put what proves an alarm, a device or a period into one file.")

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the bundle.")]


@app.command()
def alarm(
    alarm: Annotated[str, typer.Argument(help="Id of the alarm, 32 hex digits.")],
    node: NodeOption,
    genesis: GenesisOption,
    out: OutOption,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch every transaction that opened, changed, acknowledged or closed an alarm, and how it stands.

    The file is written only when it verifies; anybody checks it with 'gridwitness verify' and the genesis file.

    Example: gridwitness bundles alarm 5b1f...09 --node URL --genesis genesis.cbor --out alarm.bundle
    """
    if _ALARM_ID.fullmatch(alarm) is None:
        raise UsageError(f"{alarm!r} is no alarm; expected 32 hex digits as in 'gridwitness alarms list'")
    _write(Subject(ALARM, alarm), _alarm, node, genesis, out, force=force, as_json=json)


@app.command()
def device(
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    node: NodeOption,
    genesis: GenesisOption,
    out: OutOption,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch what the ledger holds of a device: nameplate, verdicts, reference values, and the report they rest on.

    Of a device that has retired: when and why, its last verdicts, and the report that they rest on.

    The file is written only when it verifies; anybody checks it with 'gridwitness verify' and the genesis file.

    Example: gridwitness bundles device linden-sc-1 --node URL --genesis genesis.cbor --out device.bundle
    """
    _check(device, "device")
    _write(Subject(DEVICE, device), _device, node, genesis, out, force=force, as_json=json)


@app.command()
def gateway(
    gateway: Annotated[str, typer.Argument(help="Id of the gateway.")],
    node: NodeOption,
    genesis: GenesisOption,
    begin: Annotated[str, typer.Option("--from", metavar="TIME", help="Begin of the period, by the gateway's clock.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="End of the period.")],
    out: OutOption,
    *,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch every report of a gateway in a period, and the proof of which of its numbers the ledger never took.

    The file is written only when it verifies; anybody checks it with 'gridwitness verify' and the genesis file.

    Example: gridwitness bundles gateway gw-linden --from 2026-11-01 --to 2026-11-02 --node URL --genesis genesis.cbor \
--out november-1.bundle
    """
    _check(gateway, "gateway")
    from_ms, to_ms = time_ms(begin, "--from"), time_ms(end, "--to")
    if not 0 <= from_ms <= to_ms:
        raise UsageError("--from has to be before --to, and neither before 1970")
    _write(Subject(GATEWAY, gateway, from_ms, to_ms), _gateway, node, genesis, out, force=force, as_json=json)


def _write(
    subject: Subject,
    make: Callable[[NodeClient, Genesis, Subject], EvidenceBundle],
    node: str,
    genesis: Path,
    out: Path,
    *,
    force: bool,
    as_json: bool,
) -> None:
    check_out(out, force=force)
    trusted = load_genesis(genesis)
    with NodeClient([node]) as client:
        for left in reversed(range(_ATTEMPTS)):
            try:
                raw = make(client, trusted, subject).encode()
                found = judge(raw, trusted)
                break
            except ProofError as error:
                if not left:
                    raise DataError(f"what {node} sent does not verify: {error}") from error
            except WireError as error:
                raise DataError(f"what {node} sent does not verify: {error}") from error
    write_out(out, raw, force=force)
    terminal = Terminal(as_json=as_json)
    if as_json:
        terminal.show({"file": str(out), "bytes": len(raw), **found}, list)
        return
    show_judged(terminal, found)
    terminal.say(f"{out}: {len(raw)} bytes; check it with: gridwitness verify {out} --genesis genesis.cbor")


def _alarm(client: NodeClient, genesis: Genesis, subject: Subject) -> EvidenceBundle:
    past = items(client, "/v1/alarm-transitions", {"alarm": subject.id})
    ids = {str(entry["tx"]) for entry in past}
    if not ids:
        raise DataError(f"{client.node} knows no alarm {subject.id}; see 'gridwitness alarms list'")
    if len(ids) > RECEIPTS_MAX:
        raise DataError(f"alarm {subject.id} was moved {len(ids)} times, a bundle holds {RECEIPTS_MAX} transactions")
    found = [_fetch(client, genesis, tx) for tx in sorted(ids)]
    parts = sorted((bundle for bundle, _ in found), key=_place)
    events = [event for _, proof in found for event in alarm_events(proof, subject.id)]
    if not events:
        raise DataError(f"{client.node} sent transactions that did nothing to alarm {subject.id}")
    return EvidenceBundle(subject, (fetch_state_proof(client, *alarm_key(events[0])),), tuple(parts))


def _device(client: NodeClient, genesis: Genesis, subject: Subject) -> EvidenceBundle:
    states: dict[tuple[str, bytes], StateProof] = {}
    height = None
    for _ in range(2):  # the device's own record says which entries there are
        for key in state_keys(subject, {key: state.value for key, state in states.items()}):
            if key not in states:
                states[key] = fetch_state_proof(client, *key, height)
                height = states[key].final.header.height
    own = states[NAMESPACE, b"device/" + subject.id.encode("ascii")].value
    parts = () if own is None else (_origin(client, genesis, subject.id, cbor.decode_map(own).get("item")),)
    return EvidenceBundle(subject, tuple(states[key] for key in sorted(states)), parts)


def _origin(client: NodeClient, genesis: Genesis, device: str, item: cbor.Value) -> Bundle:
    """Return the newest report that holds an item of a device whole."""
    if not isinstance(item, bytes):
        raise DataError(f"{client.node} did not send the record of {device}")
    past: list[Item] = [
        entry for entry in items(client, "/v1/verdicts", {"device": device}) if entry["item_digest"] == item.hex()
    ]
    for entry in past[:_CANDIDATES_MAX]:
        bundle, proof = _fetch(client, genesis, str(entry["tx"]))
        if carries(proof, device, item):
            return bundle
    raise DataError(f"{client.node} has no report that holds the item of {device}; another node may have it")


def _gateway(client: NodeClient, genesis: Genesis, subject: Subject) -> EvidenceBundle:
    (key,) = state_keys(subject, {})
    state = fetch_state_proof(client, *key)
    verify_state_proof(state, genesis)
    counters, head = read_counters(state.value), state.final.header.height
    near = _height_at(client, head, (subject.from_ms or 0) - _EARLY_MS)
    known: Reports = {}
    for first, last in ((near, head), (1, near - 1)):  # reports that were very late are older than the period
        _walk(client, first, last, subject, counters, known)
    lacking = incomplete(counters, [evidence for evidence, _ in known.values()], subject)
    if lacking is not None:
        raise DataError(f"{client.node} does not have all reports of {subject.id} in the period: {lacking}")
    wanted = _needed(known, subject)
    if len(wanted) > RECEIPTS_MAX:
        raise DataError(f"{len(wanted)} reports are of the period, a bundle holds {RECEIPTS_MAX}; choose a shorter one")
    parts = [_accepted(client, genesis, known[pair][1], subject.id) for pair in wanted]
    return EvidenceBundle(subject, (state,), tuple(sorted((part for part in parts if part is not None), key=_place)))


def _walk(client: NodeClient, first: int, last: int, subject: Subject, counters: Counters, known: Reports) -> None:
    """Gather a gateway's reports from blocks, page by page, until none of the period lacks."""
    while first <= last:
        if incomplete(counters, [evidence for evidence, _ in known.values()], subject) is None:
            return
        headers = _headers(client, first, min(_HEADERS, last - first + 1))
        for header in headers:
            if header.tx_count:
                for tx, evidence in _reports(client, header.height, subject.id):
                    known.setdefault((evidence.boot, evidence.seq), (evidence, []))[1].append(tx)
        first += len(headers)


def _reports(client: NodeClient, height: int, gateway: str) -> Iterator[tuple[str, Evidence]]:
    raw = client.get_bytes(f"/v1/blocks/{height}", {"format": "cbor"})
    block = cbor.decode_map(raw, bytes_max=2 * BLOCK_BYTES_MAX).get("block")
    if not isinstance(block, bytes):
        raise DataError(f"{client.node} did not send block {height}")
    for tx in decode_block(block).transactions:
        call = open_tx(tx).tx
        evidence = call.args.get("evidence")
        if call.sender == gateway and (call.contract, call.method) == REPORT and isinstance(evidence, bytes):
            try:
                yield sha256(tx).hex(), decode_evidence(evidence)
            except WireError:
                continue  # the contract refused it


def _needed(known: Reports, subject: Subject) -> list[tuple[int, int]]:
    """Return the pairs of the period, and of each boot the one before it and the one after it."""
    assert subject.from_ms is not None
    assert subject.to_ms is not None
    before: dict[int, int] = {}
    after: dict[int, int] = {}
    wanted: set[tuple[int, int]] = set()
    for (boot, seq), (evidence, _) in known.items():
        if evidence.clock.time_ms < subject.from_ms:
            before[boot] = max(seq, before.get(boot, seq))
        elif evidence.clock.time_ms > subject.to_ms:
            after[boot] = min(seq, after.get(boot, seq))
        else:
            wanted.add((boot, seq))
    inside = {boot for boot, _ in wanted} | (before.keys() & after.keys())
    beside = {(boot, seq) for boot, seq in (*before.items(), *after.items()) if boot in inside}
    return sorted(wanted | beside)


def _accepted(client: NodeClient, genesis: Genesis, ids: list[str], gateway: str) -> Bundle | None:
    """Return the transaction by which the ledger took evidence, of all that hold it; None when it took it by none."""
    for tx in ids:
        bundle, proof = _fetch(client, genesis, tx)
        if report_of(proof, gateway) is not None:
            return bundle
    return None


def _height_at(client: NodeClient, head: int, time_ms: int) -> int:
    """Return the first block up to the newest that is not older than a time."""
    return bisect_left(range(1, head), time_ms, key=lambda at: _headers(client, at, 1)[0].time_ms) + 1


def _headers(client: NodeClient, first: int, limit: int) -> list[Header]:
    page = client.get_json("/v1/headers", {"from": str(first), "limit": str(limit)}).get("items")
    try:
        headers = [decode_header(bytes.fromhex(str(entry["header"]))) for entry in page or ()]
    except (KeyError, TypeError, ValueError):
        headers = []
    if [header.height for header in headers] != list(range(first, first + len(headers))) or not headers:
        raise DataError(f"{client.node} did not send the headers from {first} on")
    return headers


def _fetch(client: NodeClient, genesis: Genesis, tx: str) -> tuple[Bundle, Proof]:
    bundle = decode_bundle(client.get_bytes(f"/v1/bundles/{tx}"))
    if sha256(bundle.tx).hex() != tx:
        raise DataError(f"{client.node} sent the bundle of another transaction than {tx}")
    verify_receipt(bundle.receipt, bundle.tx, genesis)
    return bundle, open_proven(bundle, genesis)


def _place(bundle: Bundle) -> tuple[int, int]:
    return bundle.receipt.header.height, bundle.receipt.index


def _check(name: str, what: str) -> None:
    if IDENTIFIER_PATTERN.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no {what}; expected an id such as {'gw-linden' if what == GATEWAY else name!r}")

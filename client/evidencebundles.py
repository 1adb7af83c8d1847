"""What an evidence bundle proves about its subject, and what it does not (docs/spec, clauses EB-5 to EB-8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from client.gapwords import NAMESPACE, NOT_SHOWN, PREFIX, gap_lines, unknown_parts
from client.output import when
from client.proof import Proof, open_proven, to_json
from kit.terminal import Terminal
from rules.appraisal import claim
from rules.gaps import Counters, Run, gaps, read_counters
from wire import cbor
from wire.errors import FormatError, ProofError
from wire.evidence import KINDS, Evidence
from wire.evidencebundle import (
    ALARM,
    DEVICE,
    GATEWAY,
    TYPE,
    EvidenceBundle,
    Subject,
    decode_evidence_bundle,
    verify_evidence_bundle,
)
from wire.genesis import Genesis
from wire.receipt import Event
from wire.types import Digest, sha256

Entry = Mapping[str, Any]
"""A value that a quorum certified."""
ALWAYS: Final = (
    "that a gateway read what the device runs by: a verdict says no more than the method it names",
    "anything of later blocks: whoever needs to know it asks for a newer bundle",
)
_ALARM_ID_BYTES: Final = 16
_COUNTED: Final = ("appear", "change")
_CLOSED_DIFFERS: Final = ("present", "shelf")
"""Of a closed alarm, evidence keeps up whether its cause is there, and no shelf that has ended."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a bundle says of its subject."""

    proves: tuple[str, ...]
    not_proven: tuple[str, ...]


def state_keys(subject: Subject, known: Mapping[tuple[str, bytes], bytes | None]) -> tuple[tuple[str, bytes], ...]:
    """Return the state entries that a device's or a gateway's bundle holds, sorted.

    Args:
        subject: Device or gateway.
        known: The entries that are known already; more are named once the device's own record is.
    """
    if subject.kind == GATEWAY:
        return ((NAMESPACE, (PREFIX + subject.id).encode("ascii")),)
    name = subject.id.encode("ascii")
    record, own = ("membership", b"device/" + name), (NAMESPACE, b"device/" + name)
    if record not in known:
        return (own, record)
    if known[record] is None:
        return (own, record, ("membership", b"retired-device/" + name))
    plate = _entry(known[record], "the device's record")
    model, gateway = _text(plate, "model"), _text(plate, "gateway")
    slots = [
        ("references", b"slot/" + target + b"/" + kind.encode("ascii"))
        for target in (b"d/" + name, b"m/" + sha256(model.encode()))
        for kind in KINDS
    ]
    return tuple(sorted((own, record, (NAMESPACE, b"gateway/" + gateway.encode("ascii")), *slots)))


def alarm_key(event: Event) -> tuple[str, bytes]:
    """Return where an alarm stands in the state, from an event of it."""
    table = "gateway_alarm" if event.data.get("device") is None else "alarm"
    return NAMESPACE, f"{table}/{event.subject}/{_text(event.data, 'cause')}".encode()


def alarm_events(proof: Proof, alarm: str) -> list[Event]:
    """Return what a transaction did to an alarm."""
    events = proof.receipt.outcome.events
    return [event for event in events if event.contract == NAMESPACE and event.data.get("alarm_id") == alarm]


def report_of(proof: Proof, gateway: str | None = None) -> Evidence | None:
    """Return the evidence that a transaction brought and the ledger accepted, None if it is no such report."""
    evidence = proof.evidence
    if evidence is None or proof.receipt.outcome.code != "ok" or evidence.gateway != (gateway or proof.tx.tx.sender):
        return None
    return evidence


def judge(raw: bytes, genesis: Genesis) -> dict[str, object]:
    """Verify an evidence bundle; return what it proves as plain JSON values.

    Args:
        raw: The file.
        genesis: From the verifier's own disk.

    Raises:
        WireError: A part does not verify, is missing, or is about something else.
    """
    bundle = decode_evidence_bundle(raw)
    verify_evidence_bundle(bundle, genesis)
    proofs = [open_proven(part, genesis) for part in bundle.receipts]
    judged = _JUDGES[bundle.subject.kind](bundle, proofs)
    header, subject = bundle.header, bundle.subject
    return {
        "verified": True,
        "type": TYPE,
        "subject": {"kind": subject.kind, "id": subject.id, "from_ms": subject.from_ms, "to_ms": subject.to_ms},
        "chain": header.chain,
        "height": header.height,
        "time_ms": header.time_ms,
        "signers": list(bundle.states[0].final.certificate.signers),
        "proves": list(judged.proves),
        "does_not_prove": [*judged.not_proven, *ALWAYS],
        "states": [
            {
                "namespace": state.namespace,
                "key": state.key.hex(),
                "value": None if state.value is None else to_json(cbor.decode(state.value)),
            }
            for state in bundle.states
        ],
        "receipts": [proof.to_json() for proof in proofs],
    }


def show_judged(terminal: Terminal, found: Mapping[str, Any]) -> None:
    """Print what `judge` returned."""
    subject = found["subject"]
    terminal.show(
        found,
        lambda: [
            f"{subject['kind']} {subject['id']}: proven with the genesis file of {found['chain']} alone",
            f"as of block {found['height']} of {when(found['time_ms'])}, signed by {', '.join(found['signers'])}",
            "proven:",
            *(f"  {line}" for line in found["proves"]),
            "not proven:",
            *(f"  {line}" for line in found["does_not_prove"]),
        ],
    )


def _alarm(bundle: EvidenceBundle, proofs: Sequence[Proof]) -> Judged:
    name = bundle.subject.id
    moves: list[tuple[Proof, Event]] = []
    for proof in proofs:
        events = alarm_events(proof, name)
        if not events:
            raise ProofError(f"evidence bundle: transaction {proof.tx.id.hex()} did nothing to alarm {name}")
        moves += [(proof, event) for event in events]
    if not moves:
        raise ProofError(f"evidence bundle: the transaction that opened alarm {name} is missing")
    opener, opening = moves[0]
    cause = _text(opening.data, "cause")
    if sha256(cbor.encode([opening.subject, cause, opener.tx.id]))[:_ALARM_ID_BYTES].hex() != name:
        raise ProofError(f"evidence bundle: the transaction that opened alarm {name} is missing")
    state, count = None, 0
    for _, event in moves:
        count += event.data.get("move") in _COUNTED
        if event.data.get("from_state") != state or event.data.get("count") != count:
            raise ProofError(f"evidence bundle: a transaction that moved alarm {name} is missing")
        state = event.data.get("state")
    stored = _only(bundle, (alarm_key(opening),))[alarm_key(opening)]
    newest: Entry = moves[-1][1].data
    present = _stands(_entry(stored, "the alarm's record"), newest, name)
    subject = "gateway" if opening.data.get("device") is None else "device"
    lines = [f"alarm {name}: {cause} at {subject} {opening.subject}, severity {_text(newest, 'severity')}"]
    lines += [_move_line(proof, event) for proof, event in moves]
    lines += [_finding_line(finding) for finding in _entries(newest.get("artefacts"))]
    at = f"block {bundle.header.height} of {when(bundle.header.time_ms)}"
    lines.append(f"as of {at} {present}")
    return Judged(
        tuple(lines),
        (
            "that nobody shelved the alarm, took it off the shelf, or acknowledged it before a shelf, in between",
            "that the cause was there before the gateway read it, or went when it read that it was gone",
        ),
    )


def _stands(record: Entry, newest: Entry, name: str) -> str:
    """Say how an alarm stands, when its newest event and its record agree."""
    is_closed = newest.get("state") == "closed"
    if record.get("alarm_id") != name:
        if not is_closed:
            raise ProofError(f"evidence bundle: the transaction that closed alarm {name} is missing")
        return f"it stays closed, and a newer alarm of the same cause stands in its place: {record.get('alarm_id')}"
    skipped = _CLOSED_DIFFERS if is_closed else ()
    if any(newest.get(field) != value for field, value in record.items() if field not in skipped):
        raise ProofError(f"evidence bundle: the newest transaction that moved alarm {name} is missing")
    return f"it is {record['state']}"


def _device(bundle: EvidenceBundle, proofs: Sequence[Proof]) -> Judged:
    name = bundle.subject.id
    found = {(state.namespace, state.key): state.value for state in bundle.states}
    states = _only(bundle, state_keys(bundle.subject, found))
    lines, not_proven, reader = _nameplate(bundle, states, name)
    raw = states[NAMESPACE, b"device/" + name.encode()]
    if raw is None:
        if proofs:
            raise ProofError(f"evidence bundle: the ledger holds no item of device {name}, so no report can be its")
        return Judged((*lines, "the ledger never took a read of it"), not_proven)
    record = _entry(raw, "the device's item")
    item = record.get("item")
    if len(proofs) != 1 or not isinstance(item, bytes) or not carries(proofs[0], name, item):
        raise ProofError(f"evidence bundle: the one report that brought the item of device {name} is due")
    lines += [_report_line(proofs[0], item), *map(_finding_line, _entries(record.get("findings")))]
    lines += _slot_lines(states)
    if not record.get("clock_trusted"):
        lines.append("the gateway's clock was not trusted")
    if reader is not None:
        lines += _newest_lines(_entry(states[NAMESPACE, b"gateway/" + reader.encode()], "the gateway's record"), name)
    return Judged(tuple(lines), not_proven)


def _nameplate(
    bundle: EvidenceBundle, states: Mapping[tuple[str, bytes], bytes | None], name: str
) -> tuple[list[str], tuple[str, ...], str | None]:
    """Say what the ledger knows a device as, what that leaves open, and which gateway reads it, None for none."""
    at = f"block {bundle.header.height} of {when(bundle.header.time_ms)}"
    clock = "whether the gateway's clock was right"
    raw = states["membership", b"device/" + name.encode()]
    if raw is not None:
        plate = _entry(raw, "the device's record")
        reader = _text(plate, "gateway")
        line = f"as of {at} device {name} is registered as {_words(plate)}, read by gateway {reader}"
        return [line], ("what the device did between two reads, or since the newest one", clock), reader
    plate = _entry(states["membership", b"retired-device/" + name.encode()], f"device {name}")
    lines = [
        (
            f"as of {at} device {name} has retired: {_text(plate, 'organisation')} took it out of use in block "
            f"{plate.get('height')}, {_text(plate, 'reason')}"
        ),
        f"until then it was registered as {_words(plate)}, read by gateway {_text(plate, 'gateway')}",
    ]
    between = "what the device did between two reads, or since the newest one that the ledger took before it retired"
    return lines, (between, "which reference values count today, after it retired", clock), None


def _words(plate: Entry) -> str:
    return " ".join(str(plate.get(field)) for field in ("vendor", "model", "serial"))


def _newest_lines(gateway: Entry, name: str) -> list[str]:
    devices = gateway.get("devices")
    newest = devices.get(name) if isinstance(devices, dict) else None
    if not isinstance(newest, dict):
        return []
    return [
        (
            f"the newest report of its gateway that names it is boot {newest['boot']} seq {newest['seq']}: status "
            f"{newest['status']}, last read {when(newest['read_to_ms'])} by the gateway's clock"
        )
    ]


def carries(proof: Proof, device: str, item: Digest) -> bool:
    """Return whether a transaction is an accepted report that holds this item of a device whole."""
    evidence = report_of(proof)
    entries = () if evidence is None else evidence.devices
    return any(entry.device == device and entry.item is not None and entry.item_digest == item for entry in entries)


def _gateway(bundle: EvidenceBundle, proofs: Sequence[Proof]) -> Judged:
    subject = bundle.subject
    assert subject.from_ms is not None
    assert subject.to_ms is not None
    key = (NAMESPACE, (PREFIX + subject.id).encode())
    counters = read_counters(_only(bundle, (key,))[key])
    reports = []
    for proof in proofs:
        evidence = report_of(proof, subject.id)
        if evidence is None:
            raise ProofError(f"evidence bundle: transaction {proof.tx.id.hex()} is no report of gateway {subject.id}")
        reports.append(evidence)
    lacking = incomplete(counters, reports, subject)
    if lacking is not None:
        raise ProofError(f"evidence bundle: {lacking}")
    found = gaps(counters, subject.from_ms, subject.to_ms)
    inside = [report for report in reports if subject.from_ms <= report.clock.time_ms <= subject.to_ms]
    at = f"block {bundle.header.height} of {when(bundle.header.time_ms)}"
    period = f"{when(subject.from_ms)} to {when(subject.to_ms)} by its clock"
    extent = _extent(counters, reports, subject)
    lines = [f"as of {at} gateway {subject.id}, {period}: {len(inside)} reports that the ledger took; {extent}"]
    lines += [f"as of {at}: {line}" for line in gap_lines(found)]
    lines += [f"report boot {one.boot} seq {one.seq} of {when(one.clock.time_ms)}: {_statuses(one)}" for one in inside]
    unknown = unknown_parts(found, subject.from_ms, subject.to_ms, counters.before_boot)
    return Judged(tuple(lines), (*unknown, NOT_SHOWN))


def _extent(counters: Counters, reports: Sequence[Evidence], subject: Subject) -> str:
    """Say of which part of the period these are all the reports that the ledger took."""
    if counters.before_boot and counters.before_ms >= (subject.from_ms or 0):
        return f"whether it took others up to {when(counters.before_ms)} is not kept any more, after that they are all"
    holes = 0
    for boot in counters.boots:
        for run in boot.runs:
            known = [one.seq for one in reports if one.boot == boot.number and run.first <= one.seq <= run.last]
            holes += max(known) - min(known) + 1 - len(known) if known else 0
    if holes:
        return f"of {holes} numbers among them the ledger no longer tells which it took, the others are all"
    return "they are all that it took of the period"


def incomplete(counters: Counters, reports: Sequence[Evidence], subject: Subject) -> str | None:
    """Say which reports lack that the ledger took and that may be of the period, None when none does.

    Of each run of numbers that touches the period every number must be there, up to one that was signed before it and
    one that was signed after it: a gateway's clock is taken not to go back within one start.
    """
    assert subject.from_ms is not None
    assert subject.to_ms is not None
    for boot in counters.boots:
        known = {one.seq: one.clock.time_ms for one in reports if one.boot == boot.number}
        for run in boot.runs:
            if run.last_ms < subject.from_ms or run.first_ms > subject.to_ms:
                continue
            lacking = _lacking(run, known, subject.from_ms, subject.to_ms)
            if lacking is not None:
                return f"a report of boot {boot.number} {lacking} is missing, which the ledger took"
    return None


def _lacking(run: Run, known: Mapping[int, int], from_ms: int, to_ms: int) -> str | None:
    numbers = sorted(number for number in known if run.first <= number <= run.last)
    if not numbers:
        return f"seq {run.first}..{run.last}"
    first, last = numbers[0], numbers[-1]
    if first != run.first and known[first] >= from_ms:
        return f"before seq {first}"
    if last != run.last and known[last] <= to_ms:
        return f"after seq {last}"
    if last - first + 1 - len(numbers) > run.lost:
        return f"between seq {first} and {last}"
    return None


def _only(bundle: EvidenceBundle, keys: tuple[tuple[str, bytes], ...]) -> dict[tuple[str, bytes], bytes | None]:
    """Return the values of exactly these entries."""
    found = {(state.namespace, state.key): state.value for state in bundle.states}
    for namespace, key in keys:
        if (namespace, key) not in found:
            raise ProofError(f"evidence bundle: the state proof of {namespace} {key!r} is missing")
    for namespace, key in found:
        if (namespace, key) not in keys:
            raise ProofError(f"evidence bundle: a state proof is of another subject: {namespace} {key!r}")
    return found


def _entry(raw: bytes | None, what: str) -> Entry:
    if raw is None:
        raise ProofError(f"evidence bundle: {what} is not in the ledger's state")
    return cbor.decode_map(raw)


def _text(data: Entry, name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise FormatError(f"evidence bundle: {name} is no text")
    return value


def _entries(value: cbor.Value) -> list[Entry]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _move_line(proof: Proof, event: Event) -> str:
    header, data = proof.receipt.header, cast("Entry", event.data)
    call = proof.tx.tx
    said = "".join(f", {name}: {data[name]}" for name in ("reason", "action") if data.get(name) is not None)
    return (
        f"{data['move']} -> {data['state']} in block {header.height} of {when(header.time_ms)} by transaction "
        f"{proof.tx.id.hex()}, {call.contract} {call.method} of {call.sender}{said}; block "
        f"signed by {', '.join(proof.receipt.certificate.signers)}"
    )


def _report_line(proof: Proof, item: Digest) -> str:
    header = proof.receipt.header
    return (
        f"its item {item.hex()} came with the report in block {header.height} of {when(header.time_ms)}, signed by "
        f"gateway {proof.tx.tx.sender}; block signed by {', '.join(proof.receipt.certificate.signers)}"
    )


def _finding_line(finding: Entry) -> str:
    verdict, method = str(finding.get("verdict")), finding.get("method")
    said = claim(verdict, method if isinstance(method, str) else None)
    basis = "nothing was read of it" if said is None else f"by method {method}: {said}"
    digests = "".join(
        f", {word} {value.hex()}"
        for word, value in (("read", finding.get("read_sha256")), ("reference", finding.get("expected_sha256")))
        if isinstance(value, bytes)
    )
    return f"{finding.get('kind')} {verdict}{digests}; {basis}"


def _slot_lines(states: Mapping[tuple[str, bytes], bytes | None]) -> list[str]:
    lines = []
    for (namespace, key), raw in states.items():
        if namespace != "references" or raw is None:
            continue
        slot, kind = _entry(raw, "a reference value"), key.rsplit(b"/", 1)[1].decode("ascii")
        digest, content = slot.get("digest"), slot.get("sha256")
        if isinstance(digest, bytes) and isinstance(content, bytes):
            whose = "the device's own" if key.startswith(b"slot/d/") else "its model's"
            lines.append(
                f"{whose} reference value of {kind} is {content.hex()}, of release {digest.hex()}"
                f"{', which was revoked' if slot.get('is_revoked') else ''}"
            )
    return lines


def _statuses(evidence: Evidence) -> str:
    return ", ".join(f"{entry.device} {entry.status}" for entry in evidence.devices)


_JUDGES: Final[Mapping[str, Callable[[EvidenceBundle, Sequence[Proof]], Judged]]] = {
    ALARM: _alarm,
    DEVICE: _device,
    GATEWAY: _gateway,
}

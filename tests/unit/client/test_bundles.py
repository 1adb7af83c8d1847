"""gridwitness bundles: everything about one alarm, device or period in a file that the genesis file alone proves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rules.gaps import Counters, taken
from tests.unit.client.nodes import FakeNode, call, use_node
from tests.unit.wire.samples import CHAIN, EVIDENCE, GENESIS, HEADER, ITEM, certify, key_of
from tests.unit.wire.statetrees import Tree
from wire import cbor
from wire.block import Block
from wire.evidence import Evidence
from wire.evidencebundle import EvidenceBundle, Subject, decode_evidence_bundle
from wire.finality import FinalHeader
from wire.header import Header, tx_root
from wire.merkle import tree_head
from wire.receipt import Bundle, Event, Outcome, Receipt, decode_bundle
from wire.stateproof import decode_state_proof
from wire.tx import Transaction
from wire.types import sha256

HEAD = 60
DEVICE, GATEWAY = "sps-1", "gw-1"
ENTRY = EVIDENCE.devices[0]
FINDING = {"kind": "firmware", "verdict": "mismatch", "read_sha256": bytes(32), "method": "vendor-checksum"}


def header_at(height: int, **changes: bytes) -> Header:
    return replace(HEADER, height=height, time_ms=HEADER.time_ms + 1000 * height, tx_count=0, **changes)  # type: ignore[arg-type]


class Ledger:
    """Blocks of one transaction or none, and a state after the newest."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.bundles: dict[str, Bundle] = {}
        self.node = FakeNode()
        self.node.answers["/v1/headers"] = self.headers

    def commit(self, height: int, raw: bytes, *events: Event, code: str = "ok") -> str:
        outcome = Outcome(sha256(raw), code, events)
        roots = {"tx_root": tx_root([raw]), "outcome_root": tree_head([outcome.encode()])}
        header = replace(header_at(height, **roots), tx_count=1)
        tx = sha256(raw).hex()
        receipt = Receipt(sha256(raw), header, certify(header), 0, 1, (), outcome, (), ())
        self.bundles[tx] = Bundle(raw, receipt)
        self.blocks[height] = Block(header, (raw,))
        self.node.files[f"/v1/bundles/{tx}"] = self.bundles[tx].encode()
        block: dict[str, Any] = {
            "type": "block",
            "version": 1,
            "block": self.blocks[height].encode(),
            "certificate": b"",
        }
        self.node.files[f"/v1/blocks/{height}"] = cbor.encode(block)
        return tx

    def report(self, height: int, evidence: Evidence = EVIDENCE, *events: Event, code: str = "ok") -> str:
        return self.commit(height, signed(height, "report", {"evidence": evidence.encode()}), *events, code=code)

    def settle(self, entries: Mapping[tuple[str, str], Any], *absent: tuple[str, str]) -> None:
        """Make these what the newest block's state holds."""
        tree = Tree({(namespace, key.encode()): cbor.encode(value) for (namespace, key), value in entries.items()})
        header = header_at(HEAD, state_root=tree.root)
        final = FinalHeader(header, certify(header), ())
        for namespace, key in (*entries, *absent):
            path = f"/v1/state/{namespace}/{key.replace('/', '%2F')}"
            self.node.files[path] = tree.prove(namespace, key.encode(), final).encode()

    def headers(self, params: Mapping[str, str]) -> dict[str, Any]:
        first, limit = int(params["from"]), int(params["limit"])
        heights = range(first, min(HEAD, first + limit - 1) + 1)
        made = [self.blocks[at].header if at in self.blocks else header_at(at) for at in heights]
        return {"items": [{"header": header.encode().hex()} for header in made], "next": None}


def signed(seq: int, method: str, args: dict[str, Any], sender: str = GATEWAY, key: str = "gw-1") -> bytes:
    return Transaction(CHAIN, sender, "consistency", 1, method, args, seq, HEADER.time_ms + 10**9).sign(key_of(key))


def listed(*found: dict[str, Any]) -> dict[str, Any]:
    return {"items": list(found), "next": None}


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    made = Ledger()
    use_node(monkeypatch, "bundles", made.node)
    return made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "genesis.cbor").write_bytes(GENESIS.encode())
    return tmp_path / "out.bundle"


def make(out: Path, *words: str) -> int:
    genesis = str(out.with_name("genesis.cbor"))
    return call("bundles", *words, "--node", "http://node", "--genesis", genesis, "--out", str(out), "--force")


def verify(out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = call("verify", str(out), "--genesis", str(out.with_name("genesis.cbor")))
    said = capsys.readouterr()
    return code, said.out + said.err


def refused(out: Path, changed: EvidenceBundle, capsys: pytest.CaptureFixture[str]) -> str:
    """Return why a changed bundle does not verify."""
    out.write_bytes(changed.encode())
    code, said = verify(out, capsys)
    assert code == 65, said
    return said


def told(name: str, move: str, before: str | None, after: str, count: int, **more: str) -> Event:
    data: dict[str, Any] = {
        "alarm_id": name,
        "device": DEVICE,
        "gateway": GATEWAY,
        "cause": "mismatch",
        "severity": "high",
        "artefacts": [FINDING],
        "move": move,
        "from_state": before,
        "state": after,
        "present": after in {"raised", "acknowledged"},
        "shelf": None,
        "count": count,
        "by": None,
        **more,
    }
    return Event("consistency", f"alarm_{move}", DEVICE, data)


RECORD = ("alarm_id", "state", "present", "severity", "artefacts", "count", "shelf")


def alarm_of(ledger: Ledger, *, moves: int = 4, changes: bool = False) -> str:
    """Open an alarm, acknowledge it, take it back and close it, or the first of these."""
    raw = signed(10, "report", {"evidence": EVIDENCE.encode()})
    name = sha256(cbor.encode([DEVICE, "mismatch", sha256(raw)]))[:16].hex()
    events = [
        told(name, "appear", None, "raised", 1),
        told(name, "acknowledge", "raised", "acknowledged", 1, by="office", reason="work"),
        told(name, "return", "acknowledged", "returned_acknowledged", 1),
        told(name, "close", "returned_acknowledged", "closed", 1, by="office", reason="work"),
    ][:moves]
    if changes:
        noted = told(name, "acknowledge", "raised", "acknowledged", 2, by="office", reason="work")
        events = [events[0], told(name, "change", "raised", "raised", 2), noted]
    txs = [ledger.commit(10, raw, events[0])]
    txs += [
        ledger.commit(10 + at, signed(10 + at, "act", {}, "office", "office"), event)
        for at, event in enumerate(events[1:], 1)
    ]
    ledger.node.answers["/v1/alarm-transitions"] = listed(*({"tx": tx} for tx in reversed(txs)))
    record = {field: events[-1].data[field] for field in RECORD}
    ledger.settle({("consistency", f"alarm/{DEVICE}/mismatch"): record})
    return name


# holds EB-5 EB-8
@pytest.mark.parametrize("moves", [1, 2, 3, 4])
def test_bundle_of_an_alarm_tells_its_whole_life(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str], moves: int
) -> None:
    name = alarm_of(ledger, moves=moves)
    assert make(out, "alarm", name) == 0
    assert len(decode_evidence_bundle(out.read_bytes()).receipts) == moves
    code, said = verify(out, capsys)
    assert code == 0
    assert f"alarm {name}: mismatch at device {DEVICE}" in said
    assert "the checksum that the device names; no content was read" in said
    assert "signed by dispatch, sub-east, sub-north" in said
    assert f"as of block {HEAD}" in said
    assert "not proven:" in said
    assert ("consistency act of office, reason: work" in said) == (moves > 1)


# holds EB-5
def test_bundle_of_an_alarm_that_lacks_a_part_or_is_of_another_is_refused(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = alarm_of(ledger)
    assert make(out, "alarm", name, "--json") == 0
    whole = decode_evidence_bundle(out.read_bytes())
    parts = whole.receipts
    assert "that opened alarm" in refused(out, replace(whole, receipts=()), capsys)
    assert "that opened alarm" in refused(out, replace(whole, receipts=parts[1:]), capsys)
    assert "that moved alarm" in refused(out, replace(whole, receipts=(parts[0], *parts[2:])), capsys)
    assert "the newest transaction that moved" in refused(out, replace(whole, receipts=parts[:-1]), capsys)
    assert "did nothing to alarm" in refused(out, replace(whole, subject=Subject("alarm", "ab" * 16)), capsys)
    ledger.settle({("consistency", f"alarm/{DEVICE}/other"): 1})
    other = decode_state_proof(ledger.node.files[f"/v1/state/consistency/alarm%2F{DEVICE}%2Fother"])
    assert "is missing" in refused(out, replace(whole, states=(other,)), capsys)
    record = cbor.decode(whole.states[0].value or b"")
    keys = [f"alarm/{DEVICE}/{cause}" for cause in ("mismatch", "other")]
    ledger.settle({("consistency", key): record for key in keys})
    files = [ledger.node.files[f"/v1/state/consistency/{key.replace('/', '%2F')}"] for key in keys]
    both = tuple(map(decode_state_proof, files))
    assert "is of another subject" in refused(out, replace(whole, states=both), capsys)
    assert verify(out, capsys)[0] == 65


# holds EB-5
def test_bundle_of_an_alarm_that_lacks_a_change_of_what_it_lists_is_refused(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = alarm_of(ledger, changes=True)
    assert make(out, "alarm", name) == 0
    assert verify(out, capsys)[0] == 0
    whole = decode_evidence_bundle(out.read_bytes())
    first, _, last = whole.receipts
    assert "a transaction that moved" in refused(out, replace(whole, receipts=(first, last)), capsys)


# holds EB-5
def test_bundle_of_an_alarm_whose_place_a_newer_one_took_has_to_be_closed(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = alarm_of(ledger)
    newer = {("consistency", f"alarm/{DEVICE}/mismatch"): {"alarm_id": "cd" * 16, "state": "raised"}}
    ledger.settle(newer)
    assert make(out, "alarm", name) == 0
    assert "it stays closed, and a newer alarm" in capsys.readouterr().out
    alarm_of(ledger, moves=3)
    ledger.settle(newer)
    assert make(out, "alarm", name) == 65
    assert "that closed alarm" in capsys.readouterr().err


OWN = (("consistency", "device"), ("membership", "device"), ("membership", "retired-device"))
DEVICE_STATES: dict[tuple[str, str], dict[str, Any]] = {
    ("membership", f"device/{DEVICE}"): {"gateway": GATEWAY, "vendor": "V", "model": "SC-9000", "serial": "1"},
    ("consistency", f"device/{DEVICE}"): {"item": ITEM.digest(), "findings": [FINDING], "clock_trusted": False},
    ("consistency", f"gateway/{GATEWAY}"): {
        "devices": {DEVICE: {"boot": 3, "seq": 17, "status": "read", "read_to_ms": HEADER.time_ms}}
    },
}


def device_of(ledger: Ledger, entries: Mapping[tuple[str, str], Any]) -> str:
    """Let a device's item come with a report, and name it in a later one by its digest."""
    first = ledger.report(20, replace(EVIDENCE, devices=(ENTRY,)))
    later = ledger.report(21, replace(EVIDENCE, seq=18, devices=(replace(ENTRY, item=None),)))
    ledger.node.answers["/v1/verdicts"] = listed(
        *({"tx": tx, "item_digest": digest.hex()} for tx, digest in ((later, ITEM.digest()), (first, ITEM.digest())))
    )
    slot: dict[str, Any] = {"digest": bytes(32), "size": 4, "sha256": bytes(32), "is_revoked": True}
    tables = {("references", f"slot/d/{DEVICE}/{kind}".encode()): None for kind in ("settings", "strategy")}
    model = b"slot/m/" + sha256(b"SC-9000") + b"/"
    tables |= {("references", model + kind): None for kind in (b"firmware", b"settings", b"strategy")}
    raw = {(space, key.encode()): cbor.encode(value) for (space, key), value in entries.items()}
    raw["references", f"slot/d/{DEVICE}/firmware".encode()] = cbor.encode(slot)
    made = Tree(raw)
    header = header_at(HEAD, state_root=made.root)
    final = FinalHeader(header, certify(header), ())
    own = [(space, f"{table}/{DEVICE}".encode()) for space, table in OWN]
    proofs = {at: made.prove(*at, final).encode() for at in {*raw, *tables, *own}}
    ledger.node.files.update(states_by_path(proofs))
    return first


def states_by_path(proofs: Mapping[tuple[str, bytes], bytes]) -> dict[str, bytes]:
    return {f"/v1/state/{space}/{quote(key, safe='')}": raw for (space, key), raw in proofs.items()}


# holds EB-6 EB-8
def test_bundle_of_a_device_holds_its_record_its_references_and_the_report_of_its_item(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = device_of(ledger, DEVICE_STATES)
    assert make(out, "device", DEVICE) == 0
    whole = decode_evidence_bundle(out.read_bytes())
    assert len(whole.states) == 9
    code, said = verify(out, capsys)
    assert code == 0
    for words in (
        "registered as V SC-9000 1",
        "no content was read",
        "the device's own reference value of firmware",
        "which was revoked",
        "boot 3 seq 17: status read",
        "clock was not trusted",
    ):
        assert words in said
    assert "is due" in refused(out, replace(whole, receipts=()), capsys)
    report = decode_bundle(ledger.node.files[f"/v1/bundles/{first}"])
    (later,) = (bundle for bundle in ledger.bundles.values() if bundle != report)
    assert "is due" in refused(out, replace(whole, receipts=(later,)), capsys)
    assert "is missing" in refused(out, replace(whole, states=whole.states[1:]), capsys)
    assert "is missing" in refused(out, replace(whole, subject=Subject("device", "sps-2")), capsys)
    del ledger.node.files[f"/v1/bundles/{first}"]
    ledger.node.answers["/v1/verdicts"] = listed()
    assert make(out, "device", DEVICE) == 65
    assert "no report that holds the item" in capsys.readouterr().err


# holds EB-6
def test_bundle_of_a_device_that_was_never_read_says_so(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {at: value for at, value in DEVICE_STATES.items() if at != ("consistency", f"device/{DEVICE}")}
    first = device_of(ledger, entries)
    assert make(out, "device", DEVICE) == 0
    whole = decode_evidence_bundle(out.read_bytes())
    assert "the ledger never took a read of it" in verify(out, capsys)[1]
    more = replace(whole, receipts=(ledger.bundles[first],))
    assert "no report can be its" in refused(out, more, capsys)


RETIRED_STATES = {
    ("membership", f"retired-device/{DEVICE}"): {
        **DEVICE_STATES["membership", f"device/{DEVICE}"],
        "organisation": "grid",
        "reason": "replaced by sps-9",
        "height": 40,
    },
    ("consistency", f"device/{DEVICE}"): {**DEVICE_STATES["consistency", f"device/{DEVICE}"], "clock_trusted": True},
}


# holds EB-6 EB-8
def test_bundle_of_a_device_that_retired_tells_its_end_and_its_last_verdicts(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device_of(ledger, RETIRED_STATES)
    assert make(out, "device", DEVICE) == 0
    whole = decode_evidence_bundle(out.read_bytes())
    assert len(whole.states) == 3
    code, said = verify(out, capsys)
    assert code == 0
    for words in (
        "has retired: grid took it out of use in block 40, replaced by sps-9",
        f"registered as V SC-9000 1, read by gateway {GATEWAY}",
        "no content was read",
        "before it retired",
    ):
        assert words in said
    assert "the newest report of its gateway" not in said
    assert "is due" in refused(out, replace(whole, receipts=()), capsys)
    for place in range(3):
        states = tuple(state for at, state in enumerate(whole.states) if at != place)
        assert "is missing" in refused(out, replace(whole, states=states), capsys)


# holds EB-6
def test_bundle_of_a_device_that_never_was_is_not_written(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device_of(ledger, {})
    assert make(out, "device", DEVICE) == 65
    assert f"device {DEVICE} is not in the ledger's state" in capsys.readouterr().err
    assert not out.exists()


def evidence_at(boot: int, seq: int) -> Evidence:
    clock = replace(EVIDENCE.clock, time_ms=when_ms(boot, seq))
    return replace(EVIDENCE, boot=boot, seq=seq, clock=clock)


def when_ms(boot: int, seq: int) -> int:
    return HEADER.time_ms + 1_000_000 * boot + 1000 * seq


def period_of(ledger: Ledger, *numbers: tuple[int, int]) -> None:
    counters = Counters()
    for height, (boot, seq) in enumerate(numbers, 2):
        evidence = evidence_at(boot, seq)
        ledger.report(2 * height, evidence, code="duplicate")
        ledger.commit(2 * height + 1, signed(500 + height, "report", {"evidence": evidence.encode()}))
        counters = taken(counters, boot, seq, evidence.clock.time_ms)
    ledger.settle({("consistency", f"counters/{GATEWAY}"): counters.to_value()})


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


# holds EB-7 EB-8
def test_bundle_of_a_period_holds_every_report_of_it_and_names_what_is_missing(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    period_of(ledger, (1, 1), (1, 2), (1, 3), (1, 4), (1, 6), (1, 7), (1, 8), (2, 1))
    words = ("gateway", GATEWAY, "--from", iso(when_ms(1, 3)), "--to", iso(when_ms(1, 6)))
    assert make(out, *words) == 0
    whole = decode_evidence_bundle(out.read_bytes())
    assert len(whole.receipts) == 5, "3, 4, 6 of the period, 2 and 7 beside it"
    code, said = verify(out, capsys)
    assert code == 0
    assert "3 reports that the ledger took; they are all that it took of the period" in said
    assert "missing: boot 1 seq 5" in said
    assert "whether its clock was right" in said
    parts = whole.receipts
    assert "before seq 3" in refused(out, replace(whole, receipts=parts[1:]), capsys)
    assert "after seq 6" in refused(out, replace(whole, receipts=parts[:-1]), capsys)
    assert "between seq 2 and 4" in refused(out, replace(whole, receipts=(parts[0], *parts[2:])), capsys)
    assert "seq 6..8 is missing" in refused(out, replace(whole, receipts=parts[:3]), capsys)
    elsewhere = replace(whole, subject=replace(whole.subject, id="gw-2"))
    assert "is missing" in refused(out, elsewhere, capsys)
    duplicate = next(part for part in ledger.bundles.values() if part.receipt.outcome.code == "duplicate")
    assert "is no report of gateway" in refused(out, replace(whole, receipts=(duplicate, *parts)), capsys)


# holds EB-7 EB-8
def test_bundle_of_a_period_never_claims_to_be_whole_where_the_ledger_no_longer_knows(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    period_of(ledger, (3, 1), (3, 3))
    words = ("gateway", GATEWAY, "--from", iso(when_ms(3, 1)), "--to", iso(when_ms(3, 3)))
    run = [1, 3, 1, when_ms(3, 1), when_ms(3, 3)]
    value = {"before_boot": 0, "before_ms": 0, "boots": [[3, [run]]]}
    ledger.settle({("consistency", f"counters/{GATEWAY}"): value})
    assert make(out, *words) == 0
    assert "of 1 numbers among them the ledger no longer tells which it took" in capsys.readouterr().out
    ledger.settle({("consistency", f"counters/{GATEWAY}"): {**value, "before_boot": 2, "before_ms": when_ms(3, 1)}})
    assert make(out, *words) == 0
    assert "is not kept any more, after that they are all" in capsys.readouterr().out


# holds EB-7
def test_bundle_of_a_period_from_a_node_that_sends_no_headers_is_not_written(ledger: Ledger, out: Path) -> None:
    period_of(ledger, (1, 1))
    ledger.node.answers["/v1/headers"] = {"items": [{"header": "no hex"}]}
    words = ("gateway", GATEWAY, "--from", iso(when_ms(1, 1)), "--to", iso(when_ms(1, 1)))
    assert make(out, *words) == 65
    assert not out.exists()


# holds EB-7
def test_bundle_of_a_period_that_the_node_has_not_whole_is_not_written(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    period_of(ledger, (1, 1), (1, 2), (1, 3))
    for height in (6, 7):
        del ledger.blocks[height]
    words = ("gateway", GATEWAY, "--from", iso(when_ms(1, 1)), "--to", iso(when_ms(1, 3)))
    assert make(out, *words) == 65
    assert "does not have all reports of gw-1" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("alarm", "xyz"),
        ("device", "NO DEVICE"),
        ("gateway", "gw-1", "--from", "2027-01-02", "--to", "2027-01-01"),
        ("gateway", "gw-1", "--from", "soon", "--to", "2027-01-01"),
    ],
)
def test_bundle_that_is_asked_wrongly_exits_64(ledger: Ledger, out: Path, words: tuple[str, ...]) -> None:
    assert ledger.node.asked == []
    assert make(out, *words) == 64


def test_bundle_of_an_alarm_that_nobody_knows_exits_65(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.node.answers["/v1/alarm-transitions"] = listed()
    assert make(out, "alarm", "ab" * 16) == 65
    assert "knows no alarm" in capsys.readouterr().err


# holds EB-8
def test_bundle_as_json_says_what_is_proven_and_what_is_not(
    ledger: Ledger, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(out, "alarm", alarm_of(ledger), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["verified"], value["height"], value["signers"]) == (True, HEAD, ["dispatch", "sub-east", "sub-north"])
    assert value["proves"]
    assert value["does_not_prove"]
    assert len(value["receipts"]) == 4

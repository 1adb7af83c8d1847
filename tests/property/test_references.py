"""No sequence of calls reaches a state of releases that must not be: many steps over a state in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from master.contracts import member_owners, references, references_effect
from master.contracts.parameters import DAY_MS
from master.contracts.references import REFERENCES
from master.contracts.references_policy import Jury
from master.contracts.references_records import Record, read_record, slot_key, target_of
from tests.unit.contracts.direct import DirectLedger
from tests.unit.contracts.reports import release
from tests.unit.ledger.worlds import make_genesis
from wire.cbor import Value
from wire.genesis import Genesis, Organisation
from wire.receipt import Event
from wire.release import EffectiveFrom, Release, decode_release
from wire.types import Digest, sha256

REPORT = sha256(b"report")
LABORATORIES = ("lab", "lab-b")
OTHERS = ("regulator", "office", "grid", "dispatch", "maker-b")
TARGETS: tuple[dict[str, str], ...] = ({"device": "dev-1"}, {"device": "dev-2"}, {"model": "SC-2"})
CONTENTS = (b"one", b"two", b"three")
ROLES = {
    "dispatch": "dispatch-centre",
    "grid": "grid-company",
    "lab": "laboratory",
    "lab-b": "laboratory",
    "maker-a": "manufacturer",
    "maker-b": "manufacturer",
    "office": "regulator",
    "regulator": "regulator",
}
POLICIES: tuple[tuple[dict[str, int], int, tuple[str, ...]], ...] = (
    ({"laboratory": 1, "manufacturer": 1, "regulator": 1}, 3, ()),
    ({"laboratory": 1, "manufacturer": 0, "regulator": 1}, 2, ("same-organisation",)),
    ({"dispatch-centre": 0, "grid-company": 0, "laboratory": 1, "regulator": 1}, 3, ("owner-of-device",)),
    ({"dispatch-centre": 0, "laboratory": 2, "regulator": 0}, 3, ("under-jurisdiction-of-target",)),
)
Names = st.integers(0, 30)


@cache
def decoded(raw: bytes) -> Release:
    return decode_release(raw)


def release_of(record: Record) -> Release:
    return decoded(record.raw)


def genesis() -> Genesis:
    """Return the test's consortium with a second regulator, in the jurisdiction of the dispatch centre."""
    known = make_genesis()
    office = Organisation("office", "regulator", parent="dispatch")
    named = {entry.id: entry for entry in (*known.organisations, office)}
    return replace(known, organisations=tuple(named[name] for name in sorted(named)))


class References(RuleBasedStateMachine):
    """Manufacturers, laboratories, regulators and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = DirectLedger(REFERENCES, genesis())
        self.made: list[Release] = []
        self.ended: dict[Digest, str] = {}
        """Releases that failed or were revoked: nothing ever brings them back."""
        self.counted: dict[Digest, str] = {}
        """Releases that were ever effective."""
        self.left: list[tuple[int, str]] = []
        """When who gave up the first station."""
        self.submitted_ms: dict[Digest, int] = {}
        self.known: dict[Digest, tuple[bytes, Record]] = {}
        """Records as they were read last, with their bytes: reading all of them anew takes most of the time."""

    @initialize(number=st.integers(0, 2), kind=st.sampled_from([None, "firmware", "settings"]))
    def decide(self, number: int, kind: Value) -> None:
        """Let there be a policy for each kind before anything is submitted, and another for one kind."""
        self.put_policy(0, None)
        self.put_policy(number + 1, kind)

    @rule(number=st.integers(0, 3), kind=st.sampled_from([None, "firmware", "settings"]))
    def change_policy(self, number: int, kind: Value) -> None:
        self.put_policy(number, kind)

    @rule(
        place=st.sampled_from(TARGETS),
        content=st.sampled_from(CONTENTS),
        kinds=st.sampled_from([("firmware",), ("settings",), ("firmware", "settings")]),
        ahead=st.one_of(st.none(), st.tuples(st.booleans(), st.integers(-3, 12))),
    )
    def submit(
        self, place: dict[str, str], content: bytes, kinds: tuple[str, ...], ahead: tuple[bool, int] | None
    ) -> None:
        start = None
        if ahead is not None:
            by_height, more = ahead
            height, time_ms = self.ledger.height + more, self.ledger.time_ms + 1000 * more
            start = EffectiveFrom(max(1, height), None) if by_height else EffectiveFrom(None, time_ms)
        number = len(self.made)
        maker = ("maker-a", "maker-b")[number % 2]
        made = release(f"r-{number}", manufacturer=maker, start=start, **place, **dict.fromkeys(kinds, content))  # type: ignore[arg-type]
        code, events = self.ledger.call(maker, "submit", {"release": made.encode()})
        if code == "ok":
            self.made.append(made)
            self.submitted_ms[made.digest()] = self.ledger.time_ms
            again, _ = self.ledger.call(maker, "submit", {"release": made.encode()})
            assert again == "already-submitted"
        elif code == "conflicting-release":
            assert events[-1].type == "release_conflict"
        else:
            assert code == "too-many-waiting"
        self.look(events)

    @rule(index=Names, sender=st.sampled_from(LABORATORIES), verdict=st.sampled_from(["pass"] * 4 + ["fail"]))
    def test(self, index: int, sender: str, verdict: str) -> None:
        if made := self.pick(index):
            args: dict[str, Value] = {"release": made.digest(), "report": REPORT, "verdict": verdict}
            code, events = self.ledger.call(sender, "test", args)
            self.check_ended(made, code)
            if code == "ok" and verdict == "fail":
                assert made.digest() not in self.counted
                self.ended[made.digest()] = "failed"
            self.look(events)

    @rule(index=Names, sender=st.sampled_from(OTHERS))
    def endorse(self, index: int, sender: str) -> None:
        if made := self.pick(index):
            code, events = self.ledger.call(sender, "endorse", {"release": made.digest(), "report": None})
            self.check_ended(made, code)
            self.look(events)

    @rule(index=Names)
    def endorse_by_all(self, index: int) -> None:
        for sender in LABORATORIES:
            self.test(index, sender, "pass")
        for sender in OTHERS:
            self.endorse(index, sender)

    @rule(index=Names, sender=st.sampled_from(["regulator", "maker-a", "lab", "grid"]))
    def revoke(self, index: int, sender: str) -> None:
        if made := self.pick(index):
            code, events = self.ledger.call(sender, "revoke", {"release": made.digest(), "reason": "a flaw"})
            self.check_ended(made, code)
            if code == "ok":
                self.ended[made.digest()] = "revoked"
            self.look(events)

    @rule(name=st.sampled_from(["lab", "office", "grid"]))
    def suspend(self, name: str) -> None:
        value: Value = {"until_ms": None, "by": "dispatch", "reason": "", "height": self.ledger.height}
        self.ledger.put("membership", f"suspended/{name}".encode(), value)

    @rule(name=st.sampled_from(["lab", "office", "grid"]))
    def resume(self, name: str) -> None:
        self.ledger.state.delete("membership", f"suspended/{name}".encode())

    @rule(owner=st.sampled_from(["grid", "dispatch"]))
    def sell_station(self, owner: str) -> None:
        if self.station_owners()["st-1"] != owner:
            self.left.append((self.ledger.time_ms, self.station_owners()["st-1"]))
        self.ledger.sell("st-1", owner)

    @rule(days=st.sampled_from([1, 50, 100]))
    def wait_long(self, days: int) -> None:
        self.ledger.time_ms += days * DAY_MS
        self.ledger.block()

    @rule(blocks=st.integers(1, 4))
    def wait(self, blocks: int) -> None:
        for _ in range(blocks):
            self.ledger.block()

    @rule()
    def report(self) -> None:
        self.look(self.ledger.react(Event("consistency", "report_accepted", "gw-1", {})))

    # invariants

    @invariant()
    def state_is_one_that_may_be(self) -> None:
        records = self.records()
        self.check_slots(records)
        self.check_claims(records)
        self.check_dates(records)
        for digest, status in self.ended.items():
            assert (records[digest].status, records[digest].kinds, records[digest].claims) == (status, (), ())

    def check_slots(self, records: Mapping[Digest, Record]) -> None:
        """There is one effective release for a slot, and every effective one has its slots."""
        given: dict[bytes, list[Digest]] = defaultdict(list)
        for digest, record in records.items():
            for kind in record.kinds:
                given[slot_key(target_of(release_of(record)), kind)].append(digest)
            assert bool(record.kinds) == (record.status == "effective")
            assert bool(record.claims) == (record.status in ("pending", "approved"))
        slots = self.ledger.entries(b"slot/")
        live = {key: value for key, value in slots.items() if isinstance(value, dict) and not value["is_revoked"]}
        assert {key: [value["digest"]] for key, value in live.items()} == given

    def check_claims(self, records: Mapping[Digest, Record]) -> None:
        """Releases of one manufacturer, and approved ones of all, that wait for one slot have an order."""
        waiting: dict[bytes, list[EffectiveFrom | None]] = defaultdict(list)
        for record in records.values():
            made = release_of(record)
            for kind in record.claims:
                slot = target_of(made) + b"/" + kind.encode()
                waiting[b"claim/" + slot + b"/" + made.manufacturer.encode()].append(made.effective_from)
                if record.status == "approved":
                    waiting[b"awaiting/" + slot].append(made.effective_from)
        claims = {**self.ledger.entries(b"claim/"), **self.ledger.entries(b"awaiting/")}
        assert claims.keys() == waiting.keys()
        for key, starts in waiting.items():
            claim = claims[key]
            assert isinstance(claim, list)
            assert len(claim) == len(starts) <= 8
            for place, start in enumerate(starts):
                assert place == 0 or start is not None
                assert start is None or all(start.is_comparable(other) for other in starts[:place])

    def check_dates(self, records: Mapping[Digest, Record]) -> None:
        """What waits for a date is on the list, and its date has not come."""
        listed = {key[:6] + key[-32:] for key in self.ledger.entries(b"due/")}
        waiting = set()
        for digest, record in records.items():
            if record.status == "approved":
                start = release_of(record).effective_from
                assert start is not None
                assert not start.has_come(self.ledger.height, self.ledger.time_ms)
                waiting.add((b"due/t/" if start.height is None else b"due/h/") + digest)
        assert listed == waiting
        assert bool(self.ledger.entries(b"due")) == bool(waiting)

    # parts

    def put_policy(self, number: int, kind: Value) -> None:
        roles, due, excluded = POLICIES[number]
        rows: list[Value] = [{"role": role, "count": roles[role]} for role in sorted(roles)]
        policy: Value = {"roles": rows, "endorsements_due": due, "excluded": list(excluded)}
        self.ledger.put("references", b"policy//" + (b"" if kind is None else str(kind).encode()), policy)

    def pick(self, index: int) -> Release | None:
        return self.made[-1 - index % len(self.made)] if self.made else None

    def records(self) -> dict[Digest, Record]:
        found = {}
        for made in self.made:
            digest = made.digest()
            raw = self.ledger.state.get("references", b"release/" + digest)
            assert raw is not None
            if self.known.get(digest, (b"",))[0] != raw:
                record = read_record(self.ledger.context(), digest)
                assert record is not None
                self.known[digest] = (raw, record)
            found[digest] = self.known[digest][1]
        return found

    def check_ended(self, made: Release, code: str) -> None:
        """Make sure that nothing is done with a release that ended."""
        if made.digest() in self.ended:
            assert code in (f"release-{self.ended[made.digest()]}", "wrong-role")

    def look(self, events: list[Event]) -> None:
        """Check each approval against policies that are worked out here from the text of the clauses."""
        for event in events:
            digest = event.data.get("digest")
            assert isinstance(digest, bytes)
            if event.type == "release_effective":
                self.counted[digest] = str(event.data["release"])
        approved = [event for event in events if event.type in ("release_approved", "release_effective")]
        endorsed = [event for event in events if event.type == "release_endorsed"]
        for event in approved:
            if endorsed and event.data["digest"] == endorsed[-1].data["digest"]:
                self.check_policy(endorsed[-1].data["digest"])

    def check_policy(self, digest: Value) -> None:
        assert isinstance(digest, bytes)
        record = self.records()[digest]
        suspended = {key[len(b"suspended/") :].decode() for key, _ in self.scan(b"suspended/")}
        behind = [entry.organisation for entry in record.endorsements if entry.organisation not in suspended]
        assert len(set(behind)) == len(behind)
        for policy in record.policies:
            assert isinstance(policy, dict)
            excluded, rows = policy["excluded"], policy["roles"]
            assert isinstance(excluded, list)
            assert isinstance(rows, list)
            asked = {str(row["role"]): row["count"] for row in rows if isinstance(row, dict)}
            counting = [
                name
                for name in behind
                if ROLES[name] in asked and not any(self.is_related(str(one), name, record) for one in excluded)
            ]
            for role, count in asked.items():
                assert isinstance(count, int)
                assert sum(ROLES[name] == role for name in counting) >= count
            assert isinstance(policy["endorsements_due"], int)
            assert len(counting) >= policy["endorsements_due"]

    def is_related(self, relation: str, name: str, record: Record) -> bool:
        made = release_of(record)
        if relation == "same-organisation":
            return name == made.manufacturer
        owned, since_ms = self.station_owners(), self.submitted_ms[record.digest] - 90 * DAY_MS
        owners = {owned["st-1"], *(owner for left_ms, owner in self.left if left_ms >= since_ms)}
        if made.device is None:
            owners.add(owned["st-2"])
        if relation == "owner-of-device":
            return name in owners
        return name == "office" and "dispatch" in owners

    def station_owners(self) -> dict[str, str]:
        stations = self.scan(b"station/")
        return {key[len(b"station/") :].decode(): str(value["organisation"]) for key, value in stations}  # type: ignore[call-overload,index]

    def scan(self, prefix: bytes) -> list[tuple[bytes, Value]]:
        return list(self.ledger.context().namespace("membership").scan(prefix))


# holds RF-5 RF-8
def test_references_machine() -> None:
    run_state_machine_as_test(References, settings=settings(max_examples=100, stateful_step_count=100, deadline=None))


# The twins: the machine's checks see a contract that breaks a rule.


def begun() -> References:
    machine = References()
    machine.decide(1, None)  # the grid company's own devices: it does not count
    return machine


def check(machine: References) -> None:
    machine.state_is_one_that_may_be()


def test_references_machine_sees_an_excluded_party_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_broken in (False, True):
        machine = begun()
        machine.submit(TARGETS[0], b"one", ("firmware",), None)
        machine.test(0, "lab", "pass")
        machine.endorse(0, "dispatch")
        machine.sell_station("dispatch")
        check(machine)
        if is_broken:
            monkeypatch.setattr(Jury, "counts", lambda *_: True)
            with pytest.raises(AssertionError):
                machine.endorse(0, "regulator")
        else:
            machine.endorse(0, "regulator")
            assert not machine.counted


def test_references_machine_sees_a_former_owner_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_broken in (False, True):
        machine = begun()
        machine.sell_station("dispatch")
        machine.sell_station("grid")
        machine.submit(TARGETS[0], b"one", ("firmware",), None)
        machine.test(0, "lab", "pass")
        machine.endorse(0, "dispatch")
        check(machine)
        if is_broken:
            monkeypatch.setattr(member_owners, "has_left", lambda *_: False)
            machine.endorse(0, "dispatch")
            with pytest.raises(AssertionError):
                machine.endorse(0, "regulator")
        else:
            machine.endorse(0, "regulator")
            assert not machine.counted


def test_references_machine_sees_a_conflict_that_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = begun()
    monkeypatch.setattr(references, "conflicts", lambda *_: {})
    for content in (b"one", b"two", b"three"):  # the first and the last are of one manufacturer
        check(machine)
        machine.submit(TARGETS[0], content, ("firmware",), None)
    with pytest.raises(AssertionError):
        check(machine)


def test_references_machine_sees_approved_rivals_without_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = begun()
    monkeypatch.setattr(references, "check_rivals", lambda *_: None)
    for number in (0, 1):
        check(machine)
        machine.submit(TARGETS[0], b"one", ("firmware",), (number == 0, 9))
        machine.endorse_by_all(0)
    with pytest.raises(AssertionError):
        check(machine)


def test_references_machine_sees_a_release_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = begun()
    machine.submit(TARGETS[0], b"one", ("firmware",), (True, 9))
    machine.endorse_by_all(0)
    check(machine)
    monkeypatch.setattr(references_effect, "unschedule", lambda *_: None)
    machine.revoke(0, "regulator")
    with pytest.raises(AssertionError):
        check(machine)


def test_references_machine_sees_two_releases_in_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = begun()
    for content in (b"one", b"two"):
        check(machine)
        machine.submit(TARGETS[0], content, ("firmware",), None)
        machine.endorse_by_all(0)
        monkeypatch.setattr(references_effect, "_give_up", lambda *_: False)
    with pytest.raises(AssertionError):
        check(machine)

"""Any sequence of reports, work orders, fills, read orders and hours: what holds after each of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from master.contracts import orders, read_orders
from master.contracts.consistency import DUE_MAX
from master.contracts.context import OK, Refused
from master.contracts.orders import WINDOWS_MAX
from master.contracts.read_orders import INSPECTIONS_MAX
from master.contracts.table import CONTRACTS
from master.ledger.call import CallContext, StateReads, Surroundings, decode_entry
from master.ledger.state import Overlay
from rules.gaps import decode_counters, gaps
from tests.unit.contracts.desk import MINUTE_MS, PLANNED, PLANNED_FIRMWARE, Desk
from tests.unit.contracts.reports import STRATEGY, entry, evidence, item, make_effective, release
from tests.unit.ledger.worlds import World, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.cose import Sign1
from wire.evidence import Clock, Evidence
from wire.receipt import Event
from wire.tx import SignedTx, Transaction
from wire.types import Digest, sha256

ORGANISATION: Final = {"gw-1": "grid", "gw-2": "grid"}
DEVICES: Final = {"dev-1": "gw-1", "dev-2": "gw-1", "dev-3": "gw-2"}
FOREIGN: Final = b"of dev-4"
CONTENTS: Final = (b"firmware 1", PLANNED_FIRMWARE, b"half", FOREIGN)
RELEASES_MAX: Final = 2
"""That come into effect in one run: each costs three calls."""
NONCES: Final = tuple(sha256(f"nonce {number}".encode()) for number in range(12))
SENDERS: Final = ("grid", "grid", "dispatch", "regulator", "maker-a", "lab", "gw-1")
JUDGE: Final = {"grid": "dispatch", "dispatch": "regulator"}
"""Who approves, by the owner of the device: never the owner itself, and there is one dispatch centre alone."""


class Flat:
    """A state in memory that finds a prefix without looking at everything."""

    def __init__(self, entries: dict[tuple[str, bytes], bytes]) -> None:
        self.values = dict(entries)
        self.order = sorted(entries)

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self.values.get((namespace, key))

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        start = bisect_left(self.order, (namespace, prefix))
        for name, key in list(islice(self.order, start, None)) if len(self.order) - start < 64 else self.order[start:]:
            if name != namespace or not key.startswith(prefix):
                return
            yield key, self.values[name, key]

    def take(self, overlay: Overlay) -> None:
        for write in overlay.writes():
            place = (write.namespace, write.key)
            if write.value is None:
                del self.values[place]
                self.order.remove(place)
            else:
                if place not in self.values:
                    insort(self.order, place)
                self.values[place] = write.value


SKEW_MS = 1_000


def start() -> tuple[dict[tuple[str, bytes], bytes], str, int]:
    desk = Desk(World(make_genesis({"reappraise_devices_max": 1})))
    make_effective(desk.world, release("r-7", manufacturer="maker-b", device="dev-4", firmware=FOREIGN))
    return desk.world.state.entries, desk.world.genesis.chain(), desk.world.head.time_ms


ENTRIES, CHAIN, START_MS = start()


@dataclass
class Work:
    """What the model knows of a work order."""

    device: str
    from_ms: int
    to_ms: int
    asked: int
    """Block of the request."""
    by: str
    state: str = "requested"

    def covers(self, time_ms: int) -> bool:
        return self.state == "approved" and self.from_ms <= time_ms <= self.to_ms


class Orders(RuleBasedStateMachine):
    """Calls by anybody, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Flat(ENTRIES)
        self.time_ms = START_MS
        self.height = 100
        self.works: dict[Digest, Work] = {}
        self.fills: dict[str, Digest] = {}
        self.content: dict[str, bytes] = {}
        self.newest: dict[str, tuple[int, int]] = {}
        """Number of the newest evidence of a device."""
        self.numbers: dict[str, set[tuple[int, int]]] = {"gw-1": set(), "gw-2": set()}
        self.asked: dict[bytes, tuple[str, set[str], int]] = {}
        """Gateway, devices that are not answered, and the time of the order, by nonce."""
        self.excused: dict[str, int] = {}
        """Until when the last verdict of a device was excused."""
        self.owners = {"gw-1": "grid", "gw-2": "grid"}
        self.strategy = STRATEGY
        """Reference value of the model's strategy; every device has the first one."""
        self.releases, self.changes = 0, 1

    # --- driving the contracts --------------------------------------------------------------------------------------

    def call(self, sender: str, contract: str, method: str, args: dict[str, Value]) -> tuple[str, Digest, list[Event]]:
        self.time_ms += 1
        self.height += 1
        tx_id = sha256(f"call {self.height}".encode())
        tx = Transaction(CHAIN, sender, contract, 1, method, args, 1, self.time_ms)
        signed = SignedTx(b"", tx_id, Sign1(bytes(16), b"", b""), tx)
        around = Surroundings(signed, ORGANISATION.get(sender, sender), self.height, self.time_ms)
        above, events = Overlay(self.state), list[Event]()
        try:
            code = CONTRACTS[contract, 1].methods[method](CallContext(around, contract, above, events), args)
        except Refused as refusal:
            return refusal.code, tx_id, []
        if code == OK:
            for event in tuple(events):
                for name, version in sorted(CONTRACTS):
                    reaction = CONTRACTS[name, version].reactions.get((event.contract, event.type))
                    if reaction is not None:
                        reaction(CallContext(around, name, above, events), event)
        self.state.take(above)
        return code, tx_id, events

    def value(self, namespace: str, key: bytes) -> dict[str, Value] | None:
        raw = self.state.get(namespace, key)
        value = None if raw is None else decode_entry(raw)
        assert value is None or isinstance(value, dict)
        return value

    def findings(self, device: str) -> dict[str, dict[str, Value]]:
        record = self.value("consistency", b"device/" + device.encode())
        found = [] if record is None else record["findings"]
        assert isinstance(found, list)
        return {str(one["kind"]): one for one in found if isinstance(one, dict)}

    def owner(self, device: str) -> str:
        return self.owners[DEVICES[device]]

    def window(self, device: str) -> list[Work]:
        return [work for work in self.works.values() if work.device == device and work.covers(self.time_ms)]

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(
        device=st.sampled_from(sorted(DEVICES)),
        content=st.sampled_from(CONTENTS),
        skip=st.sampled_from((1, 1, 1, 2, 5)),
        boot=st.sampled_from((1, 1, 1, 2)),
        nonce=st.one_of(st.none(), st.sampled_from(NONCES)),
        status=st.sampled_from(("read", "read", "unreachable")),
        age_ms=st.sampled_from((0, 0, 2_000, MINUTE_MS)),
    )
    def report(
        self, device: str, content: bytes, skip: int, boot: int, nonce: bytes | None, status: str, age_ms: int
    ) -> None:
        gateway = DEVICES[device]
        seq = max((seq for number, seq in self.numbers[gateway] if number == boot), default=0) + skip
        made = item(f"s-{device[-1]}", firmware=content) if status == "read" else None
        began_ms, clock = self.time_ms - age_ms, Clock(self.time_ms, "system", None, "unknown")
        line = entry(device, made, status=status, read_from_ms=began_ms, read_to_ms=began_ms)
        about = evidence(line, gateway=gateway, pair=(boot, seq), height=self.height, clock=clock)
        code, events = self.send(about, nonce)
        assert code == OK
        self.numbers[gateway].add((boot, seq))
        is_newest = (boot, seq) > self.newest.get(device, (0, 0))
        self.newest[device] = max((boot, seq), self.newest.get(device, (0, 0)))
        if made is not None and is_newest:
            self.content[device] = content
            self.check_verdict(device)
        if device in self.content and (made is None or is_newest):
            assert self.follows(device), "a report that names a device has it follow its reference values"
        if nonce in self.asked and self.asked[nonce][0] == gateway:
            told = [event for event in events if event.type == "inspection_answered"]
            assert bool(told) == (device in self.asked[nonce][1])
            if made is None or began_ms >= self.asked[nonce][2] - 2 * SKEW_MS:
                self.asked[nonce][1].discard(device)
        overdue = [name for name, until_ms in self.excused.items() if until_ms < self.time_ms]
        if len(overdue) <= DUE_MAX:
            for name in overdue:
                del self.excused[name]
                self.check_verdict(name)

    def send(self, made: Evidence, nonce: bytes | None) -> tuple[str, list[Event]]:
        raw = replace(made, nonce=nonce).encode()
        code, _, events = self.call(made.gateway, "consistency", "report", {"evidence": raw})
        return code, events

    def check_verdict(self, device: str) -> None:
        """Compare the verdict of a device's firmware with what its content and the model's work orders say."""
        finding, content, windows = self.findings(device)["firmware"], self.content[device], self.window(device)
        if content == b"firmware 1":
            expected = "match"
        elif content == FOREIGN:
            expected = "misfilled"
        else:
            expected = "pending" if windows else "mismatch"
        assert finding["verdict"] == expected
        raised = {
            str(value["cause"] if "cause" in value else key.rsplit(b"/", 1)[-1].decode())
            for key, value in self.alarms(device)
            if value["state"] in ("raised", "acknowledged")
        }
        causes = {expected, str(self.findings(device)["strategy"]["verdict"])}
        assert raised == causes & {"mismatch", "misfilled", "superseded"}
        if expected == "misfilled":
            fill = finding["fill"]
            assert (fill["record"] if isinstance(fill, dict) else None) == self.fills.get(device)
        if windows:
            self.excused[device] = max(work.to_ms for work in windows)
        else:
            self.excused.pop(device, None)

    def alarms(self, device: str) -> Iterator[tuple[bytes, dict[str, Value]]]:
        for key, raw in self.state.scan("consistency", b"alarm/" + device.encode() + b"/"):
            value = decode_entry(raw)
            assert isinstance(value, dict)
            yield key, value

    @rule(
        sender=st.sampled_from(SENDERS),
        device=st.sampled_from(sorted(DEVICES)),
        begin=st.sampled_from((-5, -1, 0, 0, 10)),
        minutes=st.sampled_from((2, 6, 8, 30)),
        approver=st.sampled_from(("dispatch", "dispatch", "regulator", "lab", "grid")),
    )
    def ask(self, sender: str, device: str, begin: int, minutes: int, approver: str) -> None:
        from_ms = self.time_ms + begin * MINUTE_MS
        args: dict[str, Value] = {"device": device, "release": PLANNED.digest(), "from_ms": from_ms}
        args |= {"to_ms": from_ms + minutes * MINUTE_MS, "approver": approver, "reason": ""}
        code, order, _ = self.call(sender, "orders", "open", args)
        if sender != self.owner(device):
            assert code == "not-yours"
        elif approver != JUDGE[sender]:
            assert code in ("wrong-approver", "bad-window")
        else:
            assert (code == OK) == (from_ms + minutes * MINUTE_MS > self.time_ms)
        if code == OK:
            self.works[order] = Work(device, from_ms, from_ms + minutes * MINUTE_MS, self.height, sender)

    @rule(device=st.sampled_from(sorted(DEVICES)), minutes=st.sampled_from((2, 6, 8, 30)))
    def plan(self, device: str, minutes: int) -> None:
        """Have a work order that begins now approved."""
        judge = JUDGE[self.owner(device)]
        self.ask(self.owner(device), device, 0, minutes, judge)
        order = max(self.works, key=lambda one: self.works[one].asked)
        code, _, _ = self.call(judge, "orders", "approve", {"order": order})
        assert code in (OK, "too-many-orders")
        if code == OK:
            self.works[order].state = "approved"
            if device in self.content:
                self.check_verdict(device)

    @precondition(lambda self: self.works)
    @rule(
        sender=st.sampled_from(SENDERS), data=st.data(), method=st.sampled_from(("approve", "approve", "close", "fill"))
    )
    def decide(self, sender: str, data: st.DataObject, method: str) -> None:
        order = data.draw(st.sampled_from(sorted(self.works)[-8:]))
        work = self.works[order]
        args: dict[str, Value] = {"order": order}
        if method == "fill":
            args |= {"device": work.device, "release": PLANNED.digest()}
        before = work.state
        code, record, _ = self.call(sender, "orders", method, args)
        if code != OK:
            return
        if method == "approve":
            assert (sender, before) == (JUDGE[work.by], "requested")
            assert work.by == self.owner(work.device)
            assert work.to_ms >= self.time_ms
            work.state = "approved"
        elif method == "close":
            assert sender in (work.by, JUDGE[work.by], self.owner(work.device))
            assert before != "closed"
            work.state = "closed"
        else:
            assert sender in (self.owner(work.device), "maker-a")
            assert work.covers(self.time_ms)
            self.fills[work.device] = record
        if work.device in self.content:
            self.check_verdict(work.device)

    @rule(
        sender=st.sampled_from(("dispatch", "grid", "lab", "gw-1")),
        gateway=st.sampled_from(("gw-1", "gw-2")),
        devices=st.sets(st.sampled_from(sorted(DEVICES)), min_size=1),
        nonce=st.sampled_from(NONCES),
    )
    def inspect(self, sender: str, gateway: str, devices: set[str], nonce: bytes) -> None:
        args: dict[str, Value] = {"gateway": gateway, "devices": [*sorted(devices)], "nonce": nonce}
        code, _, _ = self.call(sender, "orders", "inspect", {**args, "deadline_ms": self.time_ms + 5 * MINUTE_MS})
        if code == OK:
            assert sender in ("dispatch", self.owners[gateway])
            assert nonce not in self.asked
            assert {DEVICES[device] for device in devices} == {gateway}
            self.asked[nonce] = (gateway, set(devices), self.time_ms)

    @precondition(lambda self: self.releases < RELEASES_MAX)
    @rule(content=st.sampled_from((STRATEGY, b"strategy 2")))
    def bring_into_effect(self, content: bytes) -> None:
        """Give the model's strategy a value; the transaction that does so appraises the first device alone."""
        self.releases += 1
        made = release(f"s-{self.releases}", strategy=content)
        tested: dict[str, Value] = {"release": made.digest(), "report": bytes(32)}
        for sender, method, args in (
            ("maker-a", "submit", {"release": made.encode()}),
            ("lab", "test", {**tested, "verdict": "pass"}),
            ("regulator", "endorse", tested),
        ):
            code, _, events = self.call(sender, "references", method, args)  # type: ignore[arg-type]
            assert code == OK
        self.changes += content != self.strategy
        self.strategy = content
        assert "dev-1" not in self.content or self.follows("dev-1")
        assert {event.subject for event in events if event.type == "verdict_changed"} <= {"dev-1"}

    @rule(owner=st.sampled_from(sorted(JUDGE)))
    def hand_over(self, owner: str) -> None:
        """Sell the station behind whose gateway the third device is."""
        self.owners["gw-2"] = owner
        station: dict[str, Value] = {"area": "north", "organisation": owner}
        self.state.values["membership", b"station/st-2"] = cbor.encode(station)

    @rule(minutes=st.sampled_from((1, 7, 45)))
    def wait(self, minutes: int) -> None:
        self.time_ms += minutes * MINUTE_MS

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_pending_but_under_an_approved_order(self) -> None:
        for device in self.content:
            if self.findings(device)["firmware"]["verdict"] == "pending":
                assert any(work.device == device and work.state == "approved" for work in self.works.values())
                assert device in self.excused

    def follows(self, device: str) -> bool:
        """Tell whether the findings of a device were made with the reference values that count."""
        record = self.value("consistency", b"device/" + device.encode())
        assert record is not None
        if record["reference_changes"] != self.changes:
            return False
        assert self.findings(device)["strategy"]["verdict"] == ("match" if self.strategy == STRATEGY else "superseded")
        return True

    @invariant()
    def orders_are_bounded_and_lists_agree_with_their_records(self) -> None:
        for device in DEVICES:
            value = self.value("orders", b"device/" + device.encode())
            windows = [] if value is None else value["windows"]
            assert isinstance(windows, list)
            assert len(windows) <= WINDOWS_MAX
            for entry_ in windows:
                assert isinstance(entry_, dict)
                order = entry_["order"]
                assert isinstance(order, bytes)
                assert self.works[order].state == "approved"
            window, _ = orders.of_device(StateReads(self.state), device, self.time_ms)
            assert (window is None) == (not self.window(device))
        for gateway in ("gw-1", "gw-2"):
            open_now = read_orders.open_inspections(StateReads(self.state), gateway, self.time_ms)
            assert len(open_now) <= INSPECTIONS_MAX
        for nonce, (_, waiting, _) in self.asked.items():
            record = self.value("orders", b"inspection/" + nonce)
            assert record is not None
            assert record["waiting"] == sorted(waiting)

    @invariant()
    def every_number_is_there_or_missing(self) -> None:
        for gateway, numbers in self.numbers.items():
            raw = self.state.get("consistency", b"counters/" + gateway.encode())
            found = gaps(decode_counters(None if raw is None else decode_entry(raw)), 0, 2**62)
            lost = sum(one.count for one in found.missing)
            newest = {boot: max(seq for number, seq in numbers if number == boot) for boot, _ in numbers}
            assert lost == sum(newest.values()) - len(numbers)


# holds RF-7 OR-6
def test_any_calls_of_reports_and_orders_keep_what_must_hold() -> None:
    run_state_machine_as_test(Orders, settings=settings(max_examples=100, stateful_step_count=100, deadline=None))

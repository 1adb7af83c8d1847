"""Alarms under any order of reports, people's calls and time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from master.contracts import alarms
from master.contracts.alarms import Site
from master.contracts.consistency import CONSISTENCY
from master.contracts.context import Context
from master.contracts.findings import finding_value
from rules.appraisal import Finding
from rules.severity import EVIDENCE_CONFLICT
from tests.property.direct import Direct
from tests.unit.contracts.operators import ACTION, jurisdiction
from wire.cbor import Value
from wire.receipt import Event
from wire.types import sha256

DEVICES: Final = ("dev-1", "dev-2")
CAUSES: Final = ("mismatch", "missing", "altered_between_polls")
KINDS: Final = ("firmware", "settings")
MAY: Final = ("grid", "agency", "sub", "dispatch")
ACCOUNTS: Final = (*MAY, "agency-2", "lab", "gw-1")
METHODS: Final = ("acknowledge-alarm", "close-alarm", "shelve-alarm", "unshelve-alarm")
FOUND: Final = st.dictionaries(
    st.sampled_from(CAUSES), st.lists(st.sampled_from(KINDS), min_size=1, unique=True).map(tuple), max_size=2
)
Found = dict[str, tuple[str, ...]]


def findings(found: Found) -> dict[str, list[Value]]:
    return {
        cause: [finding_value(Finding(kind, cause, None, sha256(kind.encode()), None)) for kind in kinds]
        for cause, kinds in found.items()
    }


class Alarms(RuleBasedStateMachine):
    """Whatever happens, the promises of docs/spec AL-1 to AL-7 hold."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Direct(jurisdiction({"alarm_flood_alarms": 2, "alarm_flood_ms": 5000}), "consistency")
        self.found: dict[str, Found] = {}
        self.open: dict[tuple[str, str], str] = {}
        """Id of the open alarm by subject and cause, from events alone."""
        self.counts: dict[str, int] = {}
        self.shelved: dict[str, tuple[int, object]] = {}
        """End of the shelf and what was found when it began, by alarm."""

    @rule(device=st.sampled_from(DEVICES), found=FOUND)
    def report(self, device: str, found: Found) -> None:
        self.found[device] = found
        self._evidence(lambda context: alarms.update(context, Site(context, "gw-1"), device, findings(found)))

    @rule(device=st.sampled_from(DEVICES), found=FOUND)
    def report_late(self, device: str, found: Found) -> None:
        late = {cause: kinds for cause, kinds in found.items() if cause != "altered_between_polls"}
        self._evidence(lambda context: alarms.raise_missed(context, Site(context, "gw-1"), device, findings(late)))

    @rule(number=st.integers(0, 12))
    def contradict(self, number: int) -> None:
        finding = Finding("evidence", EVIDENCE_CONFLICT, bytes(32), sha256(b"%d" % number), f"boot 1, seq {number}")
        self._evidence(lambda context: alarms.happened(context, "gw-1", finding))

    @rule(milliseconds=st.integers(1, 4000))
    def wait(self, milliseconds: int) -> None:
        self.ledger.time_ms += milliseconds

    @rule(
        method=st.sampled_from(METHODS), by=st.sampled_from(MAY), pick=st.integers(0, 63), ahead_ms=st.integers(1, 8000)
    )
    def act(self, method: str, by: str, pick: int, ahead_ms: int) -> None:
        if known := self._alarms():
            self._act(method, by, known[pick % len(known)], 0, ahead_ms)

    @rule(by=st.sampled_from(MAY), pick=st.integers(0, 63))
    def answer(self, by: str, pick: int) -> None:
        if known := self._alarms():
            for method in ("acknowledge-alarm", "close-alarm"):
                self._act(method, by, known[pick % len(known)], 0, 1)

    @rule(
        method=st.sampled_from(METHODS),
        by=st.sampled_from(ACCOUNTS),
        pick=st.integers(0, 63),
        seen=st.sampled_from((0, -1, 1)),
        ahead_ms=st.integers(-1, 0),
    )
    def act_wrongly(self, method: str, by: str, pick: int, seen: int, ahead_ms: int) -> None:
        if known := self._alarms():
            self._act(method, by, known[pick % len(known)], seen, ahead_ms)

    def _act(
        self, method: str, by: str, which: tuple[tuple[str, str], dict[str, Any]], seen: int, ahead_ms: int
    ) -> None:
        (subject, cause), alarm = which
        args: dict[str, Value] = {
            "subject": subject,
            "cause": cause,
            "alarm": alarm["alarm_id"],
            "count": alarm["count"] + seen,
            "action": ACTION,
        }
        if method == "shelve-alarm":
            args["until_ms"] = self.ledger.time_ms + ahead_ms
        elif method != "unshelve-alarm":
            args["reason"] = "test"
        organisation = "grid" if by.startswith("gw-") else by
        code, events = self.ledger.call(by, organisation, lambda context: CONSISTENCY.methods[method](context, args))
        assert (code == "ok") == bool(events)
        if code == "ok":
            assert by in MAY
            assert seen == 0
        self._follow(events, by)

    def _evidence(self, work: Callable[[Context], object]) -> None:
        _, events = self.ledger.call("gw-1", "grid", work)
        self._follow(events, None)

    def _follow(self, events: list[Event], by: str | None) -> None:
        for event in events:
            if event.type == "alarm_flood":
                continue
            data: dict[str, Any] = event.data
            place, name = (event.subject, data["cause"]), data["alarm_id"]
            assert data["by"] == by
            # one open alarm per device and cause, and none is closed but by a person
            if data["from_state"] is None:
                assert place not in self.open
                self.open[place] = name
            assert self.open[place] == name
            if data["state"] == "closed":
                assert by is not None
                assert event.type == "alarm_closed"
                del self.open[place]
            assert data["count"] == self.counts.get(name, 0) + int(event.type in ("alarm_raised", "alarm_changed"))
            self.counts[name] = data["count"]
            if event.type == "alarm_shelved":
                self.shelved[name] = (data["shelf"]["until_ms"], data["artefacts"])

    def _alarms(self) -> list[tuple[tuple[str, str], dict[str, Any]]]:
        found = []
        for table in (b"alarm/", b"gateway_alarm/"):
            for key, value in self.ledger.read(table):
                _, subject, cause = key.decode().split("/")
                found.append(((subject, cause), value))
        return found

    @invariant()
    def state_agrees_with_what_was_told(self) -> None:
        known = dict(self._alarms())
        assert {place: alarm["alarm_id"] for place, alarm in known.items() if alarm["state"] != "closed"} == self.open
        for (subject, cause), alarm in known.items():
            assert alarm["count"] == self.counts[alarm["alarm_id"]]
            if alarm["state"] == "closed":
                assert alarm["closed"]["by"] in MAY
                continue
            if cause == EVIDENCE_CONFLICT:
                assert alarm["present"]
            else:
                assert alarm["present"] == (cause in self.found.get(subject, {}))

    @invariant()
    def what_was_found_last_is_never_closed(self) -> None:
        known = dict(self._alarms())
        for device, found in self.found.items():
            for cause in set(found) - {"altered_between_polls"}:
                assert known[device, cause]["state"] in ("raised", "acknowledged")

    @invariant()
    def shelved_alarm_comes_back(self) -> None:
        for _, alarm in self._alarms():
            shelf = alarm["shelf"]
            if shelf is None:
                continue
            until_ms, artefacts = self.shelved[alarm["alarm_id"]]
            assert shelf["until_ms"] == until_ms
            assert alarm["artefacts"] == artefacts
            assert alarm["state"] != "closed"
            seen = alarms.decode(alarm, self.ledger.time_ms)
            assert (seen["shelf"] is None) == (until_ms <= self.ledger.time_ms)


# holds AL-3 AL-5
def test_alarms_in_any_order_of_calls_keep_their_promises() -> None:
    run_state_machine_as_test(Alarms, settings=settings(max_examples=200, stateful_step_count=50, deadline=None))

"""Any sequence of grants and revocations: who may read is what a naive model says, now and at every height before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from master.contracts.access import ACCESS
from master.contracts.access_records import Question, grants, permission
from master.contracts.context import Refused
from master.ledger.call import CallContext, StateReads, Surroundings
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import GENESIS_MS, MemoryState, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.grants import Grant, decode_past, past_key
from wire.tx import SignedTx
from wire.types import sha256

GENESIS = make_genesis()
WRITES = genesis_writes(GENESIS)
ROLES = {entry.id: entry.role for entry in GENESIS.organisations}
OWNERS = {
    "device/dev-1": "grid",
    "station/st-1": "grid",
    "organisation/maker-a": "maker-a",
    "organisation/grid": "grid",
}
AROUND = {
    "device/dev-1": ("device/dev-1", "station/st-1", "organisation/grid", "all"),
    "station/st-1": ("station/st-1", "organisation/grid", "all"),
    "organisation/grid": ("organisation/grid", "all"),
    "organisation/maker-a": ("organisation/maker-a", "all"),
    "all": ("all",),
}
SUBJECTS = tuple(AROUND)
READERS = ("organisation/lab", "role/laboratory", "account/lab-b", "account/gw-2", "role/regulator")
ACCOUNTS = ("grid", "maker-a", "lab", "lab-b", "gw-1", "gw-2", "regulator", "nobody")
SENDERS = ("grid", "maker-a", "dispatch", "gw-1", "lab")
STEP_MS = 1000
PLACES = 4
"""Of a class and subject: so few that some are given up."""
periods = st.one_of(st.none(), st.integers(0, 40))


@dataclass(frozen=True)
class Given:
    id: bytes
    subject: str
    reader: str
    by: str
    height: int
    from_ms: int | None
    until_ms: int | None
    ended: int | None = None


class Calls(RuleBasedStateMachine):
    """Each rule is a block with one call."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Overlay(MemoryState(WRITES))
        self.height, self.given = 0, list[Given]()
        self.places: dict[str, list[bytes]] = {subject: [] for subject in SUBJECTS}
        """Grants that have a place, in the order of giving."""
        self.seen: list[tuple[int, int, frozenset[bytes]]] = []
        """Height, time and what counted then."""

    def call(self, sender: str, method: str, args: dict[str, Value]) -> str | bytes:
        self.height += 1
        tx_id = sha256(self.height.to_bytes(4, "big"))
        signed = cast("SignedTx", SimpleNamespace(id=tx_id, tx=SimpleNamespace(chain=GENESIS.chain(), sender=sender)))
        organisation = "grid" if sender.startswith("gw-") else sender
        layer = Overlay(self.state)
        context = CallContext(Surroundings(signed, organisation, self.height, self.now()), "access", layer, [])
        try:
            assert ACCESS.methods[method](context, args) == "ok"
        except Refused as refused:
            return refused.code
        for write in layer.writes():
            self.state.put(write.namespace, write.key, cast("bytes", write.value))
        return tx_id

    def now(self) -> int:
        return GENESIS_MS + self.height * STEP_MS

    def known(self) -> Iterator[Grant]:
        """Yield every grant that the state has, with a place or without."""
        for subject in SUBJECTS:
            yield from grants(StateReads(self.state), "settings", subject)
            for page in count():
                raw = self.state.get("access", past_key("settings", subject, page))
                if raw is None:
                    break
                yield from (entry.grant for entry in decode_past(cbor.decode(raw)))

    def makes_room(self, subject: str) -> bool:
        """Take the first grant that is over from the model's places, if all are taken; tell whether there is room."""
        places, given = self.places[subject], {entry.id: entry for entry in self.given}
        if len(places) < PLACES:
            return True
        for known in places:
            entry = given[known]
            if entry.ended is not None or (entry.until_ms is not None and entry.until_ms <= self.now()):
                places.remove(known)
                return True
        return False

    def counts(self, entry: Given, height: int, time_ms: int) -> bool:
        if not entry.height <= height < (entry.ended or height + 1):
            return False
        return (entry.from_ms or 0) <= time_ms < (entry.until_ms or time_ms + 1)

    @rule(
        sender=st.sampled_from(SENDERS),
        subject=st.sampled_from(SUBJECTS),
        reader=st.sampled_from(READERS),
        start=periods,
        end=periods,
    )
    def grant(self, sender: str, subject: str, reader: str, start: int | None, end: int | None) -> None:
        from_ms = None if start is None else self.now() + start * STEP_MS
        until_ms = None if end is None else self.now() + end * STEP_MS
        args: dict[str, Value] = {"class": "settings", "subject": subject, "reader": reader}
        found = self.call(sender, "grant", {**args, "from_ms": from_ms, "until_ms": until_ms})
        if until_ms is not None and until_ms <= max(self.now(), from_ms or 0):
            assert found == "bad-period"
        elif sender != OWNERS.get(subject, "dispatch"):
            assert found == ("super-node-only" if subject == "all" else "not-the-owner")
        elif not self.makes_room(subject):
            assert found == "too-many-grants"
        else:
            assert isinstance(found, bytes)
            self.places[subject].append(found)
            self.given.append(Given(found, subject, reader, sender, self.height, from_ms, until_ms))

    @precondition(lambda self: self.given)
    @rule(sender=st.sampled_from(SENDERS), place=st.integers(0, 1000))
    def revoke(self, sender: str, place: int) -> None:
        at = place % len(self.given)
        entry = self.given[at]
        found = self.call(sender, "revoke", {"grant": entry.id})
        if entry.id not in self.places[entry.subject]:
            assert found == "unknown-grant"
        elif sender != entry.by:
            assert found == ("super-node-only" if entry.subject == "all" else "not-the-owner")
        elif entry.ended is not None:
            assert found == "already-revoked"
        else:
            assert isinstance(found, bytes)
            self.given[at] = replace(entry, ended=self.height)

    @rule(
        account=st.sampled_from(ACCOUNTS),
        subject=st.sampled_from(SUBJECTS),
        data_class=st.sampled_from(("settings", "contracts")),
    )
    def read(self, account: str, subject: str, data_class: str) -> None:
        height, time_ms = self.height, self.now()
        found = permission(StateReads(self.state), account, Question(data_class, subject), height, time_ms)
        assert found == self.expected(account, subject, data_class)

    def expected(self, account: str, subject: str, data_class: str) -> str | None:
        """Return the model's answer: the first grant in the order of subjects and of giving."""
        around = AROUND[subject]
        if account == "gw-1" and "station/st-1" in around:
            return "gateway"
        if f"organisation/{account}" in around:
            return "owner"
        wanted = {f"account/{account}", f"organisation/{account}", f"role/{ROLES.get(account)}"}
        given = {entry.id: entry for entry in self.given}
        ordered = [given[known] for near in around for known in self.places[near]]
        held = (entry for entry in ordered if entry.reader in wanted and self.counts(entry, self.height, self.now()))
        first = next(held, None)
        return first.id.hex() if first is not None and data_class == "settings" else None

    @invariant()
    def grants_are_conserved_and_what_counted_at_a_height_stays_known(self) -> None:
        for subject, places in self.places.items():
            assert [grant.id for grant in grants(StateReads(self.state), "settings", subject)] == places
        known = tuple(self.known())
        assert {grant.id for grant in known} == {entry.id for entry in self.given}
        now = (self.height, self.now())
        if not self.seen or self.seen[-1][0] != self.height:
            self.seen.append((*now, frozenset(entry.id for entry in self.given if self.counts(entry, *now))))
        height, time_ms, counted = self.seen[self.height % len(self.seen)]
        assert {grant.id for grant in known if grant.holds(height, time_ms)} == counted


# holds AC-1 AC-3
def test_any_calls_leave_reads_to_whom_the_model_grants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 steps."""
    monkeypatch.setattr("master.contracts.access.PAGE_GRANTS", PLACES)
    monkeypatch.setattr("master.contracts.access.PAGES_MAX", 1)
    run_state_machine_as_test(
        Calls,
        settings=settings(
            max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

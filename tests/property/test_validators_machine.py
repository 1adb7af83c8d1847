"""Any sequence of proposals, votes, joiners and passing time: who votes is what a model that counts by itself says."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from master.contracts.context import OK, Refused
from master.contracts.validator_records import pending, records
from master.contracts.validators import VALIDATORS
from master.ledger.call import BlockCall, CallContext, StateReads, Surroundings
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay
from tests.unit.contracts.consortium import certificate, vote_key, world
from tests.unit.ledger.worlds import MemoryState
from wire.cbor import Value
from wire.handover import ready_bytes
from wire.types import sha256

EXAMPLES = 100
"""10,000 steps in the short form."""
GENESIS = world(validator_wait_ms=5_000, validator_deadline_ms_max=60_000, ready_blocks_max=3).genesis
WRITES = genesis_writes(GENESIS)
FIRST = tuple(entry.member for entry in GENESIS.validators)
NAMES = (*FIRST, "lab", "lab-b", "gw-1")
KEYS = {name: vote_key(name).verify_key.encode() for name in (*FIRST, *"abcdef")}
names = st.sampled_from(NAMES)
voters = st.sampled_from((*FIRST, *FIRST, *NAMES))


@dataclass
class Wanted:
    """The change that is open."""

    id: bytes
    kind: str
    member: str
    key: str
    by: str
    deadline_ms: int
    favour: set[str] = field(default_factory=set)
    against: set[str] = field(default_factory=set)
    approved_height: int | None = None


class Machine(RuleBasedStateMachine):
    """Each rule is a block with one call."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Overlay(MemoryState(WRITES))
        self.height, self.time_ms = 1, GENESIS.time_ms
        self.members = {name: name for name in FIRST}
        """Name of the vote key by member."""
        self.used = set(FIRST)
        self.open: Wanted | None = None
        self.changed = 0
        self.waits: dict[str, int] = {}

    def block(self, milliseconds: int = 1000) -> None:
        self.height, self.time_ms = self.height + 1, self.time_ms + milliseconds
        assert VALIDATORS.opening is not None
        root = sha256(self.height.to_bytes(4, "big"))
        VALIDATORS.opening(BlockCall("validators", self.state, self.height, self.time_ms), root)

    def call(self, sender: str, method: str, args: dict[str, Value]) -> tuple[str, bytes]:
        self.block()
        tx = sha256(f"{self.height}".encode())
        signed: Any = SimpleNamespace(id=tx, tx=SimpleNamespace(chain=GENESIS.chain(), sender=sender))
        organisation = "grid" if sender == "gw-1" else sender
        layer = Overlay(self.state)
        context = CallContext(Surroundings(signed, organisation, self.height, self.time_ms), "validators", layer, [])
        try:
            code = VALIDATORS.methods[method](context, args)
        except Refused as refusal:
            return refusal.code, tx
        self.state.absorb(layer)
        return code, tx

    def over(self) -> bool:
        return self.open is not None and self.time_ms > self.open.deadline_ms

    def end(self, reason: str) -> None:
        """Let the model know that the open change is over; who brought one that failed has to wait."""
        change = self.open
        assert change is not None
        opposed = change.kind == "urgent" or bool(change.against)
        failed = reason == "expired" or (reason == "withdrawn" and opposed)
        if reason == "rejected" or (failed and change.approved_height is None):
            self.waits[change.by] = self.time_ms + 5_000
        self.open = None

    def count(self) -> None:
        change = self.open
        assert change is not None
        size = len(self.members)
        due = -(-size * 67 // 100) if change.kind != "urgent" else (size + (size - 1) // 3) // 2 + 1
        if size - len(change.against) < due:
            self.end("rejected")
        elif len(change.favour) >= due and change.kind == "add":
            change.approved_height = self.height
        elif len(change.favour) >= due:
            self.execute()

    def execute(self) -> None:
        change = self.open
        assert change is not None
        if change.kind == "add":
            self.members[change.member] = change.key
        else:
            del self.members[change.member]
        self.changed, self.open = self.height, None

    def start_code(self, by: str, *, urgent: bool = False) -> str:
        """Return why nobody may propose now, or ok; called before the block in which it is asked."""
        now_ms, height = self.time_ms + 1000, self.height + 1
        if by not in self.members:
            return "not-a-voter"
        if self.changed and height < self.changed + 2:
            return "change-under-way"
        if self.open is not None and now_ms <= self.open.deadline_ms and not (urgent and self.open.kind != "urgent"):
            return "change-pending"
        expired = self.open is not None and now_ms > self.open.deadline_ms and self.open.approved_height is None
        if expired and self.open is not None and self.open.by == by:
            return "must-wait"
        return "must-wait" if now_ms < self.waits.get(by, 0) else OK

    def begin(self, code: str, change: Wanted) -> None:
        if code != OK:
            return
        if self.over():
            self.end("expired")
        change.favour.add(change.by)
        self.open = change
        self.count()

    @rule(
        by=voters,
        member=st.sampled_from(("lab", "lab-b", *NAMES)),
        key=st.sampled_from("abcdef"),
        ahead=st.sampled_from((3, 30, 60)),
    )
    def add(self, by: str, member: str, key: str, ahead: int) -> None:
        expected, deadline_ms = self.start_code(by), self.time_ms + ahead * 1000
        if expected == OK:
            known = "unknown-organisation" if member == "gw-1" else "is-validator" if member in self.members else OK
            expected = known if known != OK else "key-in-use" if key in self.used else OK
        args: dict[str, Value] = {
            "member": member,
            "vote_key": KEYS[key],
            "tls_certificate": certificate(key),
            "address": "",
            "deadline_ms": deadline_ms,
        }
        code, tx = self.call(by, "propose-add", args)
        assert code == expected
        self.begin(code, Wanted(tx, "add", member, key, by, deadline_ms))

    @rule(by=voters, member=names, urgent=st.booleans(), ahead=st.sampled_from((3, 30, 60)))
    def remove(self, by: str, member: str, ahead: int, *, urgent: bool) -> None:
        expected, deadline_ms = self.start_code(by, urgent=urgent), self.time_ms + ahead * 1000
        if expected == OK and member not in self.members:
            expected = "unknown-validator"
        elif expected == OK and len(self.members) == 1:
            expected = "last-one"
        code, tx = self.call(by, "propose-removal", {"member": member, "urgent": urgent, "deadline_ms": deadline_ms})
        assert code == expected
        if code == OK and self.open is not None and not self.over():
            self.open = None  # displaced
        self.begin(code, Wanted(tx, "urgent" if urgent else "remove", member, "", by, deadline_ms))

    @precondition(lambda self: self.open is not None)
    @rule(by=voters, in_favour=st.sampled_from((True, True, False)))
    def vote(self, by: str, *, in_favour: bool) -> None:
        change = self.open
        assert change is not None
        code, _ = self.call(by, "vote", {"proposal": change.id, "in_favour": in_favour})
        if by not in self.members:
            assert code == "not-a-voter"
        elif self.over():
            assert code == "expired"
        elif change.approved_height is not None:
            assert code == "approved"
        elif by in change.favour | change.against:
            assert code == "voted"
        else:
            assert code == OK
            (change.favour if in_favour else change.against).add(by)
            self.count()

    @precondition(lambda self: self.open is not None and self.open.approved_height is None)
    @rule()
    def rally(self) -> None:
        """Let one after the other be in favour until it is decided."""
        for name in tuple(self.members):
            change = self.open
            if change is not None and change.approved_height is None and name not in change.favour | change.against:
                self.vote(name, in_favour=True)

    @precondition(lambda self: self.open is not None)
    @rule(signer=st.sampled_from((True, True, False)), back=st.integers(0, 5))
    def ready(self, back: int, *, signer: bool) -> None:
        change = self.open
        assert change is not None
        height = max(1, self.height - back)
        root = sha256((height + 1).to_bytes(4, "big"))
        key = vote_key(change.key if signer else "thief")
        signature = key.sign(ready_bytes(change.id, height, root)).signature
        args: dict[str, Value] = {"proposal": change.id, "height": height, "state_root": root, "signature": signature}
        code, _ = self.call("gw-1", "ready", args)
        if self.over():
            assert code == "expired"
        elif change.approved_height is None:
            assert code == "not-approved"
        elif not signer:
            assert code == "bad-signature"
        elif height < change.approved_height or self.height - height > 3:
            assert code == "stale"
        else:
            assert code == OK
            self.execute()

    @precondition(lambda self: self.open is not None and self.open.approved_height is not None)
    @rule(back=st.integers(0, 1))
    def join(self, back: int) -> None:
        self.ready(back, signer=True)

    @precondition(lambda self: self.open is not None)
    @rule(by=st.sampled_from(("lab", "gw-1", *NAMES)))
    def withdraw(self, by: str) -> None:
        change = self.open
        assert change is not None
        code, _ = self.call(by, "withdraw", {"proposal": change.id})
        if self.over():
            assert code == OK
            self.end("expired")
        elif by != change.by:
            assert code == "not-yours"
        else:
            assert code == OK
            self.end("withdrawn")

    @precondition(lambda self: self.open is not None or self.waits)
    @rule(seconds=st.sampled_from((1, 1, 2, 6, 30)))
    def wait(self, seconds: int) -> None:
        self.block(seconds * 1000)

    @invariant()
    def validators_are_those_that_were_voted_for(self) -> None:
        found = {entry.member: entry for entry in records(StateReads(self.state))}
        assert found.keys() == self.members.keys()
        assert 1 <= len(found) <= len(NAMES)
        for name, key in self.members.items():
            assert found[name].vote_key == KEYS[key]
        # keys of whoever was in once never come back
        self.used |= set(self.members.values())
        change = pending(StateReads(self.state))
        assert (change is None) == (self.open is None)
        if change is not None and self.open is not None:
            assert change.id == self.open.id
            assert set(change.in_favour) == self.open.favour
            assert change.is_approved == (self.open.approved_height is not None)


# holds VM-4 VM-5
def test_validators_machine() -> None:
    run_state_machine_as_test(Machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=100, deadline=None))

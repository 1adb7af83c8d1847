"""Any sequence of proposals, votes, changes of weight and passing time, against a model that counts by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from master.contracts import governance, membership, membership_decisions
from master.contracts.context import OK, Refused
from master.contracts.corrections import Target, newest
from master.ledger.call import BlockCall, CallContext, StateReads, Surroundings
from master.ledger.state import Overlay
from tests.unit.ledger.worlds import MemoryState, make_genesis
from wire import cbor
from wire.cbor import Value
from wire.genesis import Genesis
from wire.receipt import Event
from wire.types import Digest, sha256

STEPS = 50
EXAMPLES = 200
"""10,000 steps in the short form."""
GENESIS: Genesis = make_genesis({"proposals_open_max": 5, "proposals_each_max": 2, "proposal_deadline_ms_max": 60_000})
ROLES = {entry.id: entry.role for entry in GENESIS.organisations}
NAMES = sorted(ROLES)
DATA_CENTRES = ("dispatch",)
ENTRIES = {("membership", key): raw for key, raw in membership.genesis_entries(GENESIS)}


@dataclass
class Model:
    """What is known of one proposal without asking the contract."""

    kind: str
    by: str
    value: int
    deadline_ms: int
    votes: dict[str, bool] = field(default_factory=dict)
    status: str = governance.OPEN


class Machine(RuleBasedStateMachine):
    proposals = Bundle("proposals")

    def __init__(self) -> None:
        super().__init__()
        base = MemoryState()
        base.entries = dict(ENTRIES)
        self.state = Overlay(base)
        self.time_ms, self.height, self.calls = 1_000_000, 1, 0
        self.models: dict[Digest, Model] = {}
        self.weights = {"dispatch-centre": 4, "regulator": 2, "grid-company": 1, "laboratory": 1, "manufacturer": 1}
        self.suspended: set[str] = set()
        self.stale_ms = 1_800_000
        self.corrected: int | None = None

    # ---- driving the contract ------------------------------------------------------------------

    def call(self, sender: str, method: str, args: dict[str, Value]) -> tuple[str, Digest, list[Event]]:
        """Call the contract as the ledger does: all or nothing, then the reaction."""
        self.calls += 1
        tx = sha256(str(self.calls).encode())
        signed: Any = SimpleNamespace(id=tx, tx=SimpleNamespace(chain="test", sender=sender))
        around = Surroundings(signed, sender, self.height, self.time_ms)
        layer, events = Overlay(self.state), list[Event]()
        try:
            code = governance.GOVERNANCE.methods[method](CallContext(around, "governance", layer, events), args)
        except Refused as refusal:
            return refusal.code, tx, []
        for event in tuple(events):
            if event.type == "proposal_accepted":
                membership_decisions.on_accepted(CallContext(around, "membership", layer, events), event)
        self.state.absorb(layer)
        return code, tx, events

    def everybody(self, kind: str) -> dict[str, int]:
        if kind == "correction":
            return {name: 1 for name in NAMES if name in DATA_CENTRES}
        weighed = {name: self.weights[ROLES[name]] for name in NAMES}
        return {name: weight for name, weight in weighed.items() if weight}

    def electorate(self, kind: str) -> dict[str, int]:
        return {name: weight for name, weight in self.everybody(kind).items() if name not in self.suspended}

    def decide(self, proposal: Digest) -> None:
        """Say what must come of a proposal now, and find that in the contract's state."""
        model = self.models[proposal]
        weights = self.electorate(model.kind)
        total = sum(self.everybody(model.kind).values())
        due = max(1, -(-total * 67 // 100))
        favour = sum(weights.get(name, 0) for name, vote in model.votes.items() if vote)
        against = sum(weights.get(name, 0) for name, vote in model.votes.items() if not vote)
        if total - against < due:
            model.status = governance.REJECTED
        elif favour >= due:
            if model.kind == "correction":
                model.status = governance.ACCEPTED if self.corrected is None else "wrong-old"
                self.corrected = model.value if self.corrected is None else self.corrected
            else:
                model.status, self.stale_ms = governance.ACCEPTED, model.value

    # ---- rules ---------------------------------------------------------------------------------

    @rule(
        target=proposals,
        by=st.sampled_from(NAMES),
        kind=st.sampled_from(["parameters", "parameters", "correction"]),
        ahead_ms=st.sampled_from([0, 1, 1000, 5000, 60_000, 60_001]),
        value=st.integers(1000, 1100),
    )
    def propose(self, by: str, kind: str, ahead_ms: int, value: int) -> Any:  # noqa: ANN401 as hypothesis takes it
        values: dict[str, Value] = {"values": {"stale_ms": value}}
        target: dict[str, Value] = {"target": {"tx": bytes(32)}, "reason": "so"}
        change: dict[str, Value] = {**target, "old": cbor.encode(0), "new": cbor.encode(value)}
        deadline_ms = self.time_ms + ahead_ms
        args: dict[str, Value] = {
            "kind": kind,
            "body": values if kind == "parameters" else change,
            "deadline_ms": deadline_ms,
        }
        late = [
            key for key, model in self.models.items() if model.status == "open" and model.deadline_ms < self.time_ms
        ]
        opened = [model for key, model in self.models.items() if model.status == "open" and key not in late]
        code, tx, _ = self.call(by, "propose", args)
        if by not in self.electorate(kind):
            assert code == "no-say"
        elif not 0 < ahead_ms <= 60_000:
            assert code == "bad-deadline"
        elif len(opened) >= 5 or sum(model.by == by for model in opened) >= 2:
            assert code == "too-many"
        elif kind == "correction" and self.corrected is not None:
            assert code == "wrong-old"
        else:
            assert code == OK
            for key in late:
                self.models[key].status = governance.EXPIRED
            self.models[tx] = Model(kind, by, value, deadline_ms, {by: True})
            self.decide(tx)
            return tx
        return multiple()

    @rule(proposal=proposals, by=st.sampled_from([*NAMES, "stranger"]), in_favour=st.booleans())
    def vote(self, proposal: Digest, by: str, in_favour: bool) -> None:  # noqa: FBT001
        model = self.models[proposal]
        code, _, _ = self.call(by, "vote", {"proposal": proposal, "in_favour": in_favour})
        if model.status != governance.OPEN:
            assert code == "closed"
        elif self.time_ms > model.deadline_ms:
            assert code == "expired"
        elif by not in self.electorate(model.kind):
            assert code == "no-say"
        elif by in model.votes:
            assert code == "voted"
        else:
            assert code == OK
            model.votes[by] = in_favour
            self.decide(proposal)

    @rule(proposal=proposals, by=st.sampled_from(NAMES))
    def withdraw(self, proposal: Digest, by: str) -> None:
        model = self.models[proposal]
        code, _, _ = self.call(by, "withdraw", {"proposal": proposal})
        if model.status != governance.OPEN:
            assert code == "closed"
        elif by != model.by:
            assert code == "not-yours"
        else:
            assert code == OK
            is_late = self.time_ms > model.deadline_ms
            model.status = governance.EXPIRED if is_late else governance.WITHDRAWN

    @rule(proposal=proposals)
    def count(self, proposal: Digest) -> None:
        model = self.models[proposal]
        code, _, _ = self.call("stranger", "count", {"proposal": proposal})
        if model.status != governance.OPEN:
            assert code == "closed"
        elif self.time_ms > model.deadline_ms:
            model.status = governance.EXPIRED
        else:
            self.decide(proposal)

    @rule(step_ms=st.sampled_from([1, 999, 1000, 30_000]))
    def pass_time(self, step_ms: int) -> None:
        self.time_ms, self.height = self.time_ms + step_ms, self.height + 1

    @rule(
        role=st.sampled_from(["dispatch-centre", "regulator", "laboratory", "manufacturer"]), weight=st.integers(0, 5)
    )
    def weigh(self, role: str, weight: int) -> None:
        self.weights[role] = weight
        key = b"parameter/weight_" + role.replace("-", "_").encode()
        BlockCall("membership", self.state, self.height, self.time_ms).put(key, weight)

    @rule(name=st.sampled_from(NAMES))
    def suspend_or_resume(self, name: str) -> None:
        context = BlockCall("membership", self.state, self.height, self.time_ms)
        key = b"suspended/" + name.encode()
        if name in self.suspended:
            self.suspended.remove(name)
            context.delete(key)
        else:
            self.suspended.add(name)
            context.put(key, {"until_ms": None, "by": "dispatch", "reason": "test", "height": 1})

    # ---- what always holds ---------------------------------------------------------------------

    @invariant()
    def every_proposal_stands_as_the_model_says(self) -> None:
        state = StateReads(self.state).namespace("governance")
        for key, model in self.models.items():
            found = governance.decode_proposal(key, state.get(b"proposal/" + key))
            assert found.status == model.status
            votes = {name[38:].decode(): vote for name, vote in state.scan(b"vote/" + key)}
            assert votes == model.votes, "a vote counts once, and as it was cast"
        opened = {key[5:] for key, _ in state.scan(b"open/")}
        assert opened == {key for key, model in self.models.items() if model.status == governance.OPEN}
        assert len(opened) <= 5

    @invariant()
    def nothing_takes_effect_but_what_was_accepted(self) -> None:
        reads = StateReads(self.state)
        assert membership.integer_parameter(reads, "stale_ms") == self.stale_ms
        record = newest(reads, Target(bytes(32), None, None))
        found = None if record is None else record["new"]
        assert found == (None if self.corrected is None else cbor.encode(self.corrected))


# holds GV-3 GV-4
def test_governance_machine() -> None:
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
    )

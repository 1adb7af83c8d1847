"""Any sequence of calls of the contract `models`, driven directly over a state in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from master.contracts.context import Refused
from master.contracts.models import MODELS, STORER_ROLES, newest, version_key
from master.ledger.call import CallContext, StateReads, Surroundings
from master.ledger.state import Overlay
from tests.unit.contracts.model_calls import arguments
from tests.unit.contracts.test_models import two_agencies
from tests.unit.ledger.worlds import World
from wire.receipt import Event
from wire.types import sha256

ROLES = {"dispatch": "dispatch-centre", "lab": "sub-centre", "maker-a": "manufacturer"}
CONTENTS = (b"1", b"2", b"3")


class Models(RuleBasedStateMachine):
    """The contract beside a list of what it must have kept."""

    @initialize()
    def begin(self) -> None:
        self.state = Overlay(World(two_agencies()).state)
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.owners: dict[str, tuple[str, str]] = {}
        self.time_ms, self.height = 1_000, 0

    @rule(
        sender=st.sampled_from(sorted(ROLES)),
        model=st.sampled_from(["north", "south"]),
        region=st.sampled_from(["east", "east", "west"]),
        content=st.sampled_from(CONTENTS),
        parent=st.sampled_from([None, "newest", "newest", *CONTENTS]),
    )
    def store(self, sender: str, model: str, region: str, content: bytes, parent: bytes | str | None) -> None:
        self.time_ms, self.height = self.time_ms + 7, self.height + 1
        versions = self.kept.get(model, [])
        last = versions[-1]["digest"] if versions else None
        named = last if parent == "newest" else None if parent is None else sha256(cast("bytes", parent))
        args = arguments(content, model=model, region=region, parent=named)
        signed = SimpleNamespace(tx=SimpleNamespace(sender=sender, chain="test"), id=bytes(32))
        events: list[Event] = []
        layer = Overlay(self.state)
        context = CallContext(Surroundings(signed, sender, self.height, self.time_ms), "models", layer, events)  # type: ignore[arg-type]
        try:
            code = MODELS.methods["store"](context, args)
        except Refused as error:
            code = error.code
        assert code == self.due(sender, model, region, sha256(content), named, last)
        assert [event.type for event in events] == (["model_stored"] if code == "ok" else [])
        if code == "ok":
            self.state.absorb(layer)
            self.owners.setdefault(model, (sender, region))
            self.kept.setdefault(model, []).append({"digest": sha256(content), "parent": last, "time_ms": self.time_ms})
        else:
            assert not layer.writes()

    def due(self, sender: str, model: str, region: str, digest: bytes, parent: bytes | None, last: bytes | None) -> str:
        """Return the code that a call must have."""
        owner = self.owners.get(model, (sender, region))
        if ROLES[sender] not in STORER_ROLES:
            return "wrong-role"
        if owner[0] != sender:
            return "not-owner"
        if owner[1] != region:
            return "wrong-region"
        if digest == last:
            return "duplicate"
        return "ok" if parent == last else "stale-parent"

    @invariant()
    def keeps_every_version_as_it_was_stored(self) -> None:
        reads = StateReads(self.state)
        entries = reads.namespace("models")
        for model, versions in self.kept.items():
            assert newest(reads, model) == (len(versions), versions[-1]["digest"])
            assert entries.get(version_key(model, len(versions) + 1)) is None
            number = 1 + self.height % len(versions)
            found = cast("dict[str, Any]", entries.get(version_key(model, number)))
            assert {name: found[name] for name in versions[number - 1]} == versions[number - 1]


# holds MO-2 MO-3
def test_models_after_any_calls_hang_together() -> None:
    short = settings(max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck))
    Models.TestCase.settings = short
    Models.TestCase().runTest()

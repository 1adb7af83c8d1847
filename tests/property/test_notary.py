"""Any sequence of calls of the contract `notary`: what was noted first stays, and nothing else is there."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from master.contracts.notary import NAME, NOTARY
from tests.property.direct import Direct
from tests.unit.ledger.worlds import make_genesis
from wire.cbor import Value
from wire.note import DATA_BYTES_MAX
from wire.types import sha256

GENESIS = make_genesis()
SENDERS = {"gw-1": "grid", "gw-2": "grid", "grid": "grid", "lab": "lab"}
KEYS = ("meter-7", "m", "k" * 64)
WRONG_KEYS: tuple[Value, ...] = ("", "k" * 65, "a/b", "\u00e4", b"m", 7, None)
DATA = (b"1", b"2", bytes(DATA_BYTES_MAX), sha256(b"more"))
WRONG_DATA: tuple[bytes, ...] = (b"", bytes(DATA_BYTES_MAX + 1))


class Notary(RuleBasedStateMachine):
    """The contract beside a map of what it must have kept."""

    def __init__(self) -> None:
        super().__init__()
        self.direct = Direct(GENESIS, NAME)
        self.kept: dict[bytes, Value] = {}

    def put(self, sender: str, args: dict[str, Value]) -> str:
        self.direct.time_ms += 7
        code, events = self.direct.call(sender, SENDERS[sender], lambda context: NOTARY.methods["put"](context, args))
        assert events == []
        return code

    @rule(sender=st.sampled_from(sorted(SENDERS)), key=st.sampled_from(KEYS), data=st.sampled_from(DATA))
    def note(self, sender: str, key: str, data: bytes) -> None:
        place = f"{sender}/{key}".encode()
        known, digest = self.kept.get(place), sha256(data)
        code = self.put(sender, {"key": key, "data": data})
        if known is None:
            about: dict[str, Value] = {"height": self.direct.height, "time_ms": self.direct.time_ms}
            self.kept[place] = {"digest": digest, "data_centre": None, **about}
            assert code == "ok"
        else:
            assert isinstance(known, dict)
            assert code == ("duplicate" if known["digest"] == digest else "taken")

    @rule(
        sender=st.sampled_from(sorted(SENDERS)), key=st.sampled_from((*KEYS, *WRONG_KEYS)), data=st.sampled_from(DATA)
    )
    def note_under_a_wrong_key_or_with_more(self, sender: str, key: Value, data: bytes) -> None:
        is_wrong = key in WRONG_KEYS
        args: dict[str, Value] = {"key": key, "data": data}
        assert self.put(sender, args if is_wrong else {**args, "more": 1}) == ("bad-key" if is_wrong else "bad-args")

    @rule(sender=st.sampled_from(sorted(SENDERS)), key=st.sampled_from(KEYS), data=st.sampled_from(WRONG_DATA))
    def note_out_of_bounds(self, sender: str, key: str, data: bytes) -> None:
        assert self.put(sender, {"key": key, "data": data}) == "bad-data"

    @invariant()
    def what_was_noted_first_is_there_and_nothing_else(self) -> None:
        assert dict(self.direct.read(b"")) == self.kept


# holds NT-1
def test_any_calls_leave_what_was_noted_first() -> None:
    run_state_machine_as_test(
        Notary,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

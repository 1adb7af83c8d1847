"""Any sequence of calls of the contract `membership`, directly on a state in memory: what holds after each of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from master.contracts import member_keys, membership
from master.contracts.context import OK, Refused
from master.contracts.member_owners import owner_entry
from master.contracts.members import MEMBERSHIP
from master.contracts.parameters import DAY_MS
from master.ledger.call import BlockCall, CallContext, StateReads, Surroundings
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay, Write
from tests.unit.contracts.consortium import certificate, vote_key
from tests.unit.contracts.members_site import DATA_CENTRES, ROLES, members_genesis, public, root_of
from tests.unit.ledger.worlds import GENESIS_MS, MemoryState, key_of
from wire import cbor
from wire.cbor import Value
from wire.cose import Sign1, kid_of
from wire.membership import REGISTER, REPLACE, ROTATE, Application, application_bytes, key_bytes, recovery_bytes
from wire.receipt import Event
from wire.tx import SignedTx, Transaction
from wire.types import sha256


class Start(MemoryState):
    """A state that does not change: it is sorted once."""

    def __init__(self, writes: Sequence[Write]) -> None:
        super().__init__(writes)
        self.order = sorted(self.entries)

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for name, key in islice(self.order, bisect_left(self.order, (namespace, prefix)), None):
            if name != namespace or not key.startswith(prefix):
                break
            yield key, self.entries[name, key]


STATE: Final = Start(genesis_writes(members_genesis({"key_recovery_wait_ms": 2000})))
CHAIN: Final = members_genesis({"key_recovery_wait_ms": 2000}).chain()
KEYS: Final = tuple(f"key {number}" for number in range(12))
NAMES: Final = {kid_of(public(name)): name for name in (*KEYS, *ROLES, "gw-1", "gw-2", "gw-3", "gw-4")}
WORDS: Final[dict[tuple[object, ...], bytes]] = {}
"""Signatures by what was signed: they take longer than the calls."""
APPLICANTS: Final = ("sun", "wind")
GATEWAYS: Final = ("gw-1", "gw-2", "gw-3", "gw-4", "gw-9")
DEVICES: Final = ("dev-1", "dev-2", "dev-9")
STATIONS: Final = ("st-1", "st-3", "st-4")
ORGANISATIONS: Final = ("dispatch", "sub-east", "grid", "solar", "trade", "town", *APPLICANTS)
ACCOUNTS: Final = (*ORGANISATIONS, "shift", *GATEWAYS)

organisations = st.sampled_from((*ORGANISATIONS, "grid", "grid", "solar"))
accounts = st.sampled_from(ACCOUNTS)
keys = st.sampled_from(KEYS)


def word(key: str, account: str, purpose: str, old: bytes | None, new: str) -> bytes:
    at = (key, account, purpose, old, new)
    if at not in WORDS:
        WORDS[at] = key_of(key).sign(key_bytes(CHAIN, account, purpose, old, public(new))).signature
    return WORDS[at]


def recovery_word(key: str, new: str, number: int, expires_ms: int) -> bytes:
    at = (key, new, number, expires_ms)
    if at not in WORDS:
        WORDS[at] = key_of(key).sign(recovery_bytes(CHAIN, "grid", public(new), number, expires_ms)).signature
    return WORDS[at]


class Members(RuleBasedStateMachine):
    """Calls by whoever has a key, blocks, and a vote that recovers keys."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Overlay(STATE)
        self.time_ms = GENESIS_MS + 1000
        self.height = 1
        self.given_up: set[bytes] = set()
        self.owners: dict[bytes, str] = {}
        self.applied: dict[str, set[str]] = {}
        """Who was in favour of an application, as the answers to the calls say."""
        self.admitted: set[str] = set()
        self.retired: set[bytes] = set()
        self.gave_up: set[bytes] = set()
        """Owners, by model, that had no device of it any more at some time."""
        self.recoveries = 0
        """That have begun."""
        self.said: dict[tuple[str, str], tuple[str, str]] = {}

    @property
    def reads(self) -> StateReads:
        return StateReads(self.state)

    def entries(self, prefix: bytes) -> Iterator[tuple[bytes, Value]]:
        for key, value in self.state.scan("membership", prefix):
            yield key[len(prefix) :], cbor.decode(value)

    def context(self, sender: str, organisation: str, kid: bytes) -> tuple[CallContext, Overlay, list[Event]]:
        tx = Transaction(CHAIN, sender, "membership", 1, "", {}, 1, self.time_ms)
        signed = SignedTx(b"", sha256(f"{self.height}".encode()), Sign1(kid, b"", b""), tx)
        above, events = Overlay(self.state), list[Event]()
        return (
            CallContext(Surroundings(signed, organisation, self.height, self.time_ms), "membership", above, events),
            above,
            events,
        )

    def call(self, sender: str, method: str, /, **args: Value) -> str:
        """Do what the ledger does with a call of an account that still signs."""
        kid = next(membership.keys_of(self.reads, sender), None)
        if kid is None:
            return "no-key"
        key = membership.account_key(self.reads, kid)
        assert key is not None
        if not membership.may_sign(self.reads, key, self.time_ms):
            return "suspended"
        context, above, _ = self.context(sender, key.organisation, kid)
        if not membership.may(context, f"membership.{method}"):
            return "super-node-only"
        self.height += 1
        try:
            code = MEMBERSHIP.methods[method](context, args)
        except Refused as refusal:
            return refusal.code
        self.state.absorb(above)
        return code

    @rule(by=st.sampled_from(DATA_CENTRES), name=st.sampled_from(APPLICANTS), key=keys)
    def apply(self, by: str, name: str, key: str) -> None:
        raw = Application(CHAIN, name, "generator", "sub-east", name, public(key), None, b"request").encode()
        signature = WORDS.setdefault((name, key), key_of(key).sign(application_bytes(raw)).signature)
        if self.call(by, "apply", application=raw, signature=signature, root_signature=None) == OK:
            self.applied[name] = set()

    @rule(
        by=st.sampled_from(["trade", "sub-east", "dispatch", "grid"]),
        name=st.sampled_from(APPLICANTS),
        in_favour=st.sampled_from([True, True, True, False]),
    )
    def review(self, by: str, name: str, *, in_favour: bool) -> None:
        if self.call(by, "review", organisation=name, in_favour=in_favour, reason="r") == OK:
            if in_favour:
                self.applied[name].add(by)
            else:
                del self.applied[name]

    @rule(name=st.sampled_from(APPLICANTS), order=st.permutations(["trade", "dispatch", "sub-east"]))
    def review_and_admit(self, name: str, order: list[str]) -> None:
        for by in order:
            self.review(by, name, in_favour=True)
            self.admit("dispatch", name)

    @rule(by=st.sampled_from(["dispatch", "dispatch", "sub-east"]), name=st.sampled_from(APPLICANTS))
    def admit(self, by: str, name: str) -> None:
        if self.call(by, "admit", organisation=name, certificate=certificate(name), expires_ms=None) == OK:
            in_favour = self.applied.pop(name)
            assert by == "dispatch"
            assert "sub-east" in in_favour
            assert in_favour & {"trade", "dispatch"}
            self.admitted.add(name)

    @rule(by=organisations, account=accounts, ahead_ms=st.sampled_from([None, 1000, 3000]))
    def suspend(self, by: str, account: str, ahead_ms: int | None) -> None:
        until_ms = None if ahead_ms is None else self.time_ms + ahead_ms
        if self.call(by, "suspend", account=account, until_ms=until_ms, reason="r") == OK:
            assert by != account
            assert account not in DATA_CENTRES

    @rule(by=organisations, account=accounts)
    def resume(self, by: str, account: str) -> None:
        self.call(by, "resume", account=account)

    @rule(account=accounts, new=keys)
    def rotate(self, account: str, new: str) -> None:
        kid = next(membership.keys_of(self.reads, account), None)
        old = None if kid is None else public(NAMES[kid])
        signature = word(new, account, ROTATE, old, new)
        if self.call(account, "rotate-key", new_key=public(new), signature=signature) == OK:
            assert kid not in tuple(membership.keys_of(self.reads, account))

    @rule(by=organisations, account=accounts, new=keys)
    def replace(self, by: str, account: str, new: str) -> None:
        signature = word(new, account, REPLACE, None, new)
        self.call(by, "replace-key", account=account, new_key=public(new), signature=signature)

    @rule(by=accounts, key=st.sampled_from([*KEYS, "grid", "gw-1", "solar"]))
    def revoke(self, by: str, key: str) -> None:
        if self.call(by, "revoke-key", kid=kid_of(public(key)), reason="r", root_signature=None) == OK:
            assert membership.account_key(self.reads, kid_of(public(key))) is None

    @rule(new=keys, number=st.integers(1, 4))
    def recover(self, new: str, number: int) -> None:
        expires_ms = GENESIS_MS + 10 * DAY_MS
        words = [recovery_word(key, new, number, expires_ms) for key in (new, root_of("grid"))]
        body: dict[str, Any] = {"organisation": "grid", "new_key": public(new)}
        body |= {"number": number, "expires_ms": expires_ms, "signature": words[0], "root_signature": words[1]}
        context, above, _ = self.context("dispatch", "dispatch", bytes(16))
        try:
            member_keys.check_recovery(context, body)
        except Refused:
            return
        assert number == self.recoveries + 1
        self.recoveries = number
        data: dict[str, Value] = {"kind": member_keys.KEY_RECOVERY, "body": body}
        member_keys.open_recovery(context, Event("governance", "proposal_accepted", "", data))
        self.state.absorb(above)

    @rule(by=st.sampled_from(["grid", "solar"]), complete=st.booleans())
    def end_recovery(self, by: str, *, complete: bool) -> None:
        if complete:
            self.call(by, "complete-recovery", organisation="grid")
        else:
            self.call(by, "cancel-recovery")

    @rule(by=organisations, name=st.sampled_from(["shift", "gw-9", "grid"]), key=keys)
    def add_operator(self, by: str, name: str, key: str) -> None:
        self.call(
            by, "add-operator", operator=name, key=public(key), signature=word(key, f"{by}/{name}", REGISTER, None, key)
        )

    @rule(by=organisations, key=keys, station=st.sampled_from(STATIONS))
    def add_gateway(self, by: str, key: str, station: str) -> None:
        signature = word(key, f"{by}/gw-9", REGISTER, None, key)
        self.call(by, "add-gateway", gateway="gw-9", station=station, key=public(key), signature=signature)

    @rule(by=organisations, name=st.sampled_from(DEVICES), gateway=st.sampled_from(GATEWAYS))
    def add_device(self, by: str, name: str, gateway: str) -> None:
        self.call(by, "add-device", device=name, gateway=gateway, vendor="v", model="SC-2", serial="s")

    @rule(by=organisations, name=st.sampled_from(DEVICES))
    def retire_device(self, by: str, name: str) -> None:
        owner = self.owner("device", name)
        if self.call(by, "retire-device", device=name, reason="r") == OK:
            assert by == owner
            self.said.pop(("device", name), None)

    @rule(by=organisations, name=st.sampled_from(DEVICES), to=st.sampled_from(GATEWAYS))
    def bind_device(self, by: str, name: str, to: str) -> None:
        self.bind(by, "device", name, to)

    @rule(by=organisations, name=st.sampled_from(GATEWAYS), to=st.sampled_from(STATIONS))
    def bind_gateway(self, by: str, name: str, to: str) -> None:
        self.bind(by, "gateway", name, to)

    def bind(self, by: str, kind: str, name: str, to: str) -> None:
        before = self.place(kind, name)
        sides = {self.owner(kind, name), self.owner("gateway" if kind == "device" else "station", to)}
        code = self.call(by, "bind", kind=kind, id=name, to=to)
        if code == OK and self.place(kind, name) == before:
            self.said[kind, name] = (by, to)
        elif code == OK:
            other = self.said.pop((kind, name), None)
            assert sides == {by} or (other is not None and other[1] == to and sides == {by, other[0]})

    def place(self, kind: str, name: str) -> str | None:
        if kind == "device":
            device = membership.device(self.reads, name)
            return None if device is None else device.gateway
        gateway = membership.gateway(self.reads, name)
        return None if gateway is None else gateway.station

    def owner(self, kind: str, name: str) -> str | None:
        if kind == "station":
            station = membership.station(self.reads, name)
            return None if station is None else station.organisation
        if kind == "gateway":
            return membership.organisation_of_gateway(self.reads, name)
        return membership.organisation_of_device(self.reads, name)

    @rule(step_ms=st.sampled_from([500, 2000]))
    def block(self, step_ms: int) -> None:
        self.time_ms += step_ms
        self.height += 1
        assert MEMBERSHIP.opening is not None
        MEMBERSHIP.opening(BlockCall("membership", self.state, self.height, self.time_ms), bytes(32))

    @invariant()
    def keys_are_conserved(self) -> None:
        """A key signs for one account, in one organisation's name, and never again once it was given up."""
        now: dict[bytes, str] = {}
        for kid, value in self.entries(b"key/"):
            assert isinstance(value, dict)
            sender, key = str(value["sender"]), value["key"]
            assert isinstance(key, bytes)
            assert kid == kid_of(key)
            assert kid in membership.keys_of(self.reads, sender)
            assert value["organisation"] == membership.organisation_of_account(self.reads, sender)
            assert self.owners.get(kid, sender) == sender
            assert key not in {vote_key(name).verify_key.encode() for name in DATA_CENTRES}
            now[kid] = sender
        assert sum(1 for _ in self.entries(b"signs/")) == len(now)
        self.given_up |= self.owners.keys() - now.keys()
        assert not self.given_up & now.keys()
        assert self.given_up == {kid for kid, _ in self.entries(b"retired/")}
        self.owners = now

    @invariant()
    def nobody_is_a_member_without_reviews(self) -> None:
        members = {name.decode() for name, _ in self.entries(b"organisation/")}
        assert members == set(ROLES) | self.admitted
        waiting = {name.decode() for name, _ in self.entries(b"application/")}
        assert waiting == self.applied.keys()
        assert not waiting & members

    @invariant()
    def every_thing_is_somewhere(self) -> None:
        """A device is behind a gateway that there is, not at an agency, and its lists say the same."""
        behind = set()
        for name, value in self.entries(b"device/"):
            assert isinstance(value, dict)
            gateway = membership.gateway(self.reads, str(value["gateway"]))
            assert gateway is not None
            assert membership.organisation_of_gateway(self.reads, gateway.id) != "town"
            behind.add(f"{gateway.id}/{name.decode()}".encode())
            assert name.decode() in membership.devices_of_model(self.reads, str(value["model"]))
        assert behind == {key for key, _ in self.entries(b"behind/")}
        held = Counter(
            (str(value["model"]), str(self.owner("device", name.decode())))
            for name, value in self.entries(b"device/")
            if isinstance(value, dict)
        )
        counted = {key: value["devices"] for key, value in self.entries(b"owner/") if isinstance(value, dict)}
        assert {key: devices for key, devices in counted.items() if devices} == {
            owner_entry(model, owner)[len(b"owner/") :]: devices for (model, owner), devices in held.items()
        }
        self.gave_up |= {key for key, devices in counted.items() if not devices}
        assert self.gave_up <= counted.keys()
        retired = {name for name, _ in self.entries(b"retired-device/")}
        assert self.retired <= retired
        assert not retired & {name for name, _ in self.entries(b"device/")}
        self.retired = retired
        for name, value in self.entries(b"gateway/"):
            assert isinstance(value, dict)
            assert membership.station(self.reads, str(value["station"])) is not None
            assert membership.operator(self.reads, name.decode()) is None


# holds MB-4 MB-5 MB-7 MB-12 MB-13 MB-17 MB-18
def test_members_machine() -> None:
    run_state_machine_as_test(Members, settings=settings(max_examples=100, stateful_step_count=100, deadline=None))

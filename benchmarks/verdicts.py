"""What a full node does with one report of 20 devices and 60 artefacts: decode, appraise, write, tell. Some seconds."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from benchmarks.results import Result, median, percentile
from master.contracts.context import OK
from master.contracts.table import CONTRACTS, code_table
from master.ledger.call import CallContext, Surroundings
from master.ledger.genesis import genesis_writes
from master.ledger.state import Overlay
from master.process import collect_rarely
from rules.appraisal import Nameplate, Slot, appraise
from rules.fingerprint import fingerprint
from wire.cbor import Value
from wire.cose import Sign1
from wire.evidence import KINDS, Artefact, Clock, Entry, Evidence, Identity, Item, SeenBlock
from wire.genesis import Device, Gateway, Genesis, GenesisValidator, Organisation, Station
from wire.receipt import Event, Outcome
from wire.release import Reference, Release
from wire.tx import SignedTx, Transaction
from wire.types import sha256

DEVICES: Final = 20
ROUNDS: Final = 200
TIME_MS: Final = 1_800_000_000_000
OLD, NEW = b"old content of ", b"content of "
_ROLES: Final = {"dispatch": "dispatch-centre", "grid": "grid-company", "lab": "laboratory", "maker": "manufacturer"}
_WAYS: Final[tuple[tuple[str, Callable[[int, int], bytes]], ...]] = (
    ("nothing changed", lambda _turn, _device: NEW),
    ("all changed, all match or are superseded", lambda turn, _device: (OLD, NEW)[turn % 2]),
    ("all changed, none is known", lambda turn, device: b"%d of %d" % (turn, device)),
)
"""What is read in each report of a device."""


def measure(rounds: int = ROUNDS) -> Sequence[Result]:
    """Time the rule alone, and reports of three kinds in the contract."""
    collect_rarely()
    found = [*_times("rule: 60 artefacts appraised", _rule(rounds), "rules.appraisal alone")]
    note = f"{DEVICES} devices of 3 artefacts; from the report's bytes to the outcome's, state in memory, no signature"
    for name, content in _WAYS:
        bench = _Bench()
        times = [bench.report(partial(content, turn)) for turn in range(rounds)]
        found += _times(f"report: 60 artefacts, {name}", times, note)
    return found


def _rule(rounds: int) -> list[float]:
    items = [_item(device, NEW) for device in range(DEVICES)]
    slots = {one.kind: Slot(one.size, one.sha256) for one in items[0].artefacts}
    times = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        for item in items:
            appraise(Nameplate("SC-2", ""), item, slots, lambda _kind, _digest: None)
        times.append(time.perf_counter() - began_s)
    return times


class _Memory:
    """A state without a tree, kept in order."""

    def __init__(self, values: dict[tuple[str, bytes], bytes]) -> None:
        self._values = values
        self._order = sorted(values)

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self._values.get((namespace, key))

    def scan(self, namespace: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        at = bisect_left(self._order, (namespace, prefix))
        while at < len(self._order):
            name, key = self._order[at]
            if name != namespace or not key.startswith(prefix):
                return
            yield key, self._values[name, key]
            at += 1

    def take(self, overlay: Overlay) -> None:
        for write in overlay.writes():
            place = (write.namespace, write.key)
            if write.value is None:
                del self._values[place]
                del self._order[bisect_left(self._order, place)]
                continue
            if place not in self._values:
                insort(self._order, place)
            self._values[place] = write.value


class _Bench:
    """A ledger whose releases are effective, and a gateway that reports."""

    def __init__(self) -> None:
        self._genesis = _genesis()
        self._state = _Memory({(one.namespace, one.key): one.value or b"" for one in genesis_writes(self._genesis)})
        self._height = 0
        for content in (OLD, NEW):
            made = Release(content.decode().strip().replace(" ", "-"), "maker", None, "SC-2", _references(content))
            self._call("maker", "references", "submit", {"release": made.encode()})
        self.report(lambda _: NEW)

    def report(self, content: Callable[[int], bytes]) -> float:
        """Return how long a report of all devices with their contents takes, seconds."""
        height = self._height + 1
        made = Evidence(
            "gw-1", 1, height, Clock(TIME_MS, "ntp", 0, "synchronised"), SeenBlock(0, bytes(32)), _entries(content)
        )
        return self._call("gw-1", "consistency", "report", {"evidence": made.encode()})

    def _call(self, sender: str, contract: str, method: str, args: dict[str, Value]) -> float:
        self._height += 1
        tx = Transaction(self._genesis.chain(), sender, contract, 1, method, args, self._height, TIME_MS)
        signed = SignedTx(b"", sha256(b"%d" % self._height), Sign1(bytes(16), b"", b""), tx)
        organisation = "grid" if sender == "gw-1" else sender
        around = Surroundings(signed, organisation, self._height, TIME_MS + self._height)
        state, events = Overlay(self._state), list[Event]()
        began_s = time.perf_counter()
        code = CONTRACTS[contract, 1].methods[method](CallContext(around, contract, state, events), args)
        for event in tuple(events):
            for name, version in sorted(CONTRACTS):
                reaction = CONTRACTS[name, version].reactions.get((event.contract, event.type))
                if reaction is not None:
                    reaction(CallContext(around, name, state, events), event)
        Outcome(signed.id, code, tuple(events)).encode()
        took_s = time.perf_counter() - began_s
        assert code == OK, code
        self._state.take(state)
        return took_s


def _genesis() -> Genesis:
    return Genesis(
        name="bench",
        time_ms=TIME_MS,
        validators=(GenesisValidator("dispatch", bytes(31) + b"\1", b"certificate"),),
        organisations=tuple(Organisation(name, _ROLES[name]) for name in sorted(_ROLES)),
        keys=(),
        stations=(Station("st-1", "north", "grid"),),
        gateways=(Gateway("gw-1", "st-1"),),
        devices=tuple(Device(f"dev-{number:02}", "gw-1", "maker", "SC-2", "") for number in range(DEVICES)),
        parameters={"endorser_roles": ["manufacturer"]},
        code_table=code_table(),
    )


def _references(content: bytes) -> tuple[Reference, ...]:
    return tuple(
        Reference(kind, f"{kind}.bin", "1.0", one.size, one.sha256, one.chunk_root)
        for kind in KINDS
        for one in (fingerprint(content + kind.encode()),)
    )


def _item(device: int, content: bytes) -> Item:
    artefacts = tuple(
        Artefact(
            *(kind, f"{kind}.bin", "1.0", one.size, one.size, one.sha256, one.chunk_root, "full-file"),
            *(TIME_MS, TIME_MS + 500, ()),
        )
        for kind in KINDS
        for one in (fingerprint(content + kind.encode()),)
    )
    return Item(Identity("maker", "SC", "1.0", f"s-{device}", "SC-2"), artefacts)


def _entries(content: Callable[[int], bytes]) -> tuple[Entry, ...]:
    items = [_item(device, content(device)) for device in range(DEVICES)]
    return tuple(
        Entry(f"dev-{number:02}", "read", TIME_MS, TIME_MS + 500, item.digest(), item)
        for number, item in enumerate(items)
    )


def _times(name: str, times_s: Sequence[float], note: str) -> Iterator[Result]:
    yield Result(f"{name}: p50", median(times_s) * 1e3, "ms", note)
    yield Result(f"{name}: p95", percentile(times_s, 0.95) * 1e3, "ms", note)

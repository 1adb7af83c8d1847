"""A fleet as load for the full nodes: 2,000 gateways with 20 devices each report signed evidence to four nodes.

First comes a report of every gateway that carries all items, as at its first start; then what it sends while nothing
changes: read times, and digests of items that have receipts. No device is simulated here: what their gateways would
sign is made by the agent's own functions. The reports come over HTTP; the broker has the receipts to carry.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from agent.attest import DeviceState, Signer, build_evidence
from benchmarks.load import DRAIN_S
from benchmarks.results import Result
from benchmarks.throughput import Run, put
from benchmarks.times import shortened
from client.demo.cluster import Cluster, open_cluster
from client.demo.processes import wait_until
from client.demo.topology import GRID_COMPANY, LABORATORY, MANUFACTURER, MEMBERS, REGULATOR, VENDOR, build_topology
from kit.files import read_bounded
from kit.keystore import load_signing_key
from wire import cbor
from wire.evidence import KINDS, Artefact, Clock, Identity, Item, SeenBlock
from wire.genesis import GENESIS_BYTES_MAX, AccountKey, Device, Gateway, Genesis, Station, decode_genesis
from wire.release import Reference, Release
from wire.tx import Transaction
from wire.types import sha256

GATEWAYS: Final = 2_000
DEVICES_EACH: Final = 20
GATEWAYS_OF_A_MODEL: Final = 50
"""With 20 devices each they are 1,000 of one model; a release may concern 1,024."""
GATEWAYS_OF_A_STATION: Final = 10
FIRST_RATE: Final = 100
"""First reports offered per second, more than the nodes can take."""
STEADY: Final = (33, 20)
"""Reports offered per second, one a minute for each gateway, and seconds."""
MOST: Final = (300, 10)
"""Reports offered per second, more than the nodes can take, and seconds."""
RELEASE_RATE: Final = 40
COMMITTED_S: Final = 240.0
_HOUR_MS: Final = 3_600_000
_SIZES: Final = {"firmware": 286_720, "settings": 3_500, "strategy": 9_000}


@dataclass(slots=True)
class Reporter:
    """One gateway: its key, what it knows of its devices, and its counters."""

    signer: Signer
    states: list[DeviceState]
    evidence_seq: int = 0
    tx_seq: int = 0

    def report(self, now_ms: int, block: SeenBlock) -> Iterator[bytes]:
        """Yield the signed transactions of one report about all devices, each read a moment ago."""
        clock = Clock(now_ms, "ntp", 0, "synchronised")
        read = [replace(state, read_from_ms=now_ms - 900, read_to_ms=now_ms - 100) for state in self.states]
        parts = build_evidence(self.signer.gateway, (1, self.evidence_seq + 1), clock, block, read)
        self.evidence_seq += len(parts)
        for part in parts:
            self.tx_seq += 1
            yield self.signer.transaction(part.encode(), self.tx_seq, now_ms + _HOUR_MS)

    def has_receipts(self) -> None:
        """Take every item as settled: from now on reports name it by its digest."""
        self.states = [replace(state, has_receipt=True) for state in self.states]


@dataclass(slots=True)
class Fleet:
    """All gateways, with the ledger that knows them.

    Args:
        genesis: Of the demo's four nodes.
        count: Gateways.
    """

    genesis: Genesis
    count: int
    reporters: list[Reporter] = field(default_factory=list)
    _turn: int = 0

    def __post_init__(self) -> None:
        """Enrol gateways and devices, with a model for every 50 gateways."""
        before, numbers = self.genesis, range(self.count)
        devices = [device for number in numbers for device in _devices(number)]
        keys = [AccountKey(_key(number).verify_key.encode(), _gateway(number), GRID_COMPANY) for number in numbers]
        stations = [
            Station(_station(number), "north", GRID_COMPANY) for number in range(0, self.count, GATEWAYS_OF_A_STATION)
        ]
        gateways = [Gateway(_gateway(number), _station(number)) for number in numbers]
        self.genesis = replace(
            before,
            keys=tuple(sorted((*before.keys, *keys), key=lambda entry: entry.key)),
            stations=tuple(sorted((*before.stations, *stations), key=lambda entry: entry.id)),
            gateways=tuple(sorted((*before.gateways, *gateways), key=lambda entry: entry.id)),
            devices=tuple(sorted((*before.devices, *devices), key=lambda entry: entry.id)),
            parameters={**before.parameters, "reappraise_devices_max": 1024},
        )
        chain = self.genesis.chain()
        for number in numbers:
            states = [_state(device) for device in _devices(number)]
            self.reporters.append(Reporter(Signer(_gateway(number), chain, _key(number)), states))

    def releases(self) -> Sequence[Release]:
        """Return the release of each model; every device holds just what it says."""
        models = dict.fromkeys(_model(number) for number in range(self.count))
        return [
            Release(f"release-{number}", MANUFACTURER, None, model, tuple(_reference(model, kind) for kind in KINDS))
            for number, model in enumerate(models)
        ]

    def reports(self, count: int, block: SeenBlock) -> list[bytes]:
        """Return the transactions of so many reports, the gateways in turn."""
        now_ms = time.time_ns() // 1_000_000
        found: list[bytes] = []
        for number in range(count):
            reporter = self.reporters[(self._turn + number) % self.count]
            found += reporter.report(now_ms + number, block)
        self._turn += count
        return found


def _gateway(number: int) -> str:
    return f"gw-{number:04d}"


def _station(number: int) -> str:
    return f"station-{number // GATEWAYS_OF_A_STATION:03d}"


def _model(number: int) -> str:
    return f"SCD-220/{number // GATEWAYS_OF_A_MODEL}"


def _key(number: int) -> SigningKey:
    return SigningKey(sha256(b"bench gateway %d" % number))


def _devices(number: int) -> Iterator[Device]:
    gateway, model = _gateway(number), _model(number)
    for place in range(1, DEVICES_EACH + 1):
        yield Device(f"sc-{number:04d}-{place:02d}", gateway, VENDOR, model, f"AP-{number:04d}{place:02d}")


def _state(device: Device) -> DeviceState:
    """Return what a gateway knows of a device that it has read for the first time."""
    now_ms = time.time_ns() // 1_000_000
    identity = Identity(device.vendor, "SCD-220", "2.4.0", device.serial, device.model)
    artefacts = [
        Artefact(
            kind=kind,
            name=f"modbus-file-{place}",
            version="2.4.0",
            size=_SIZES[kind],
            read_size=_SIZES[kind],
            sha256=_content(device.model, kind),
            chunk_root=_content(device.model, f"{kind} chunks"),
            method="full-file",
            read_from_ms=now_ms - 900,
            read_to_ms=now_ms - 100,
            errors=(),
        )
        for place, kind in enumerate(KINDS, start=1)
    ]
    item = Item(identity, tuple(artefacts), revision=1)
    return DeviceState(device.id, "read", item, item.digest())


def _reference(model: str, kind: str) -> Reference:
    return Reference(kind, kind, "2.4.0", _SIZES[kind], _content(model, kind), _content(model, f"{kind} chunks"))


def _content(model: str, kind: str) -> bytes:
    return sha256(f"{model} {kind}".encode())


# --- the measurement ----------------------------------------------------------------------------------------------


def measure(gateways: int = GATEWAYS) -> Sequence[Result]:
    """Enrol a fleet and offer its reports.

    Args:
        gateways: With 20 devices each.
    """
    topology = build_topology((("place", "north"),), 1, "bench")
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        open_cluster(Path(name) / "d", topology, devices=False) as cluster,
    ):
        path = cluster.layout.genesis
        fleet = Fleet(decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX)), gateways)
        path.write_bytes(fleet.genesis.encode())
        cluster.start_broker()
        cluster.start_nodes()
        _register(cluster, fleet)
        block = _head(cluster)
        carrying = fleet.reports(gateways, block)
        first = _put(cluster, carrying, FIRST_RATE)
        for reporter in fleet.reporters:
            reporter.has_receipts()
        naming = [
            _put(cluster, fleet.reports(rate * shortened(seconds), block), rate) for rate, seconds in (STEADY, MOST)
        ]
        _check(cluster, fleet)
    kib = sum(map(len, carrying)) / gateways / 1024
    whole = f"all items carried, {kib:.1f} KiB"
    return (
        *_rows("first reports", first, whole, len(carrying) / gateways),
        *_rows(f"steady, {STEADY[0]}/s", naming[0], "one a minute for each gateway, no item carried", 1),
        *_rows("steady, most", naming[1], "no item carried", 1),
    )


def _rows(name: str, done: Run, what: str, parts: float) -> Sequence[Result]:
    load = done.load
    late = load.offered - load.committed
    lost = f"; {late} stored later than {DRAIN_S:g} s after the last was due" if late else ""
    problems = f"; {dict(load.problems)}" if load.problems else ""
    note = (
        f"{load.offered / parts:.0f} reports of {DEVICES_EACH} devices, {done.rate}/s offered over HTTP to all nodes "
        f"in turn, {what}, {parts:g} transactions each{lost}{problems}"
    )
    rate = load.rate / parts
    return (
        Result(f"{name}: committed", rate, "reports/s", note),
        Result(f"{name}: device verdicts", rate * DEVICES_EACH, "1/s", note),
        Result(f"{name}: latency p50", load.percentile_ms(0.5), "ms", note),
        Result(f"{name}: latency p95", load.percentile_ms(0.95), "ms", note),
        Result(f"{name}: CPU per report and node", done.cpu_us * parts / 1000, "ms", note),
        Result(f"{name}: largest node", done.resident_mib, "MiB", note),
    )


def _put(cluster: Cluster, transactions: Sequence[bytes], rate: int) -> Run:
    done = put(cluster, transactions, rate)
    wait_until(lambda: _is_idle(cluster), within_s=COMMITTED_S, what="all reports to be committed")
    wait_until(lambda: cluster.wait_same_height() > 0, within_s=COMMITTED_S, what="all nodes to hold all of it")
    return done


def _is_idle(cluster: Cluster) -> bool:
    return not any(cluster.status(member)["mempool"]["transactions"] for member in MEMBERS)


def _register(cluster: Cluster, fleet: Fleet) -> None:
    """Have a release for each model submitted and endorsed, so that devices match."""
    releases = fleet.releases()
    submitted: list[dict[str, cbor.Value]] = [{"release": release.encode()} for release in releases]
    endorsed: list[dict[str, cbor.Value]] = [{"release": release.digest(), "report": None} for release in releases]
    tested: list[dict[str, cbor.Value]] = [
        {"release": release.digest(), "report": sha256(b"report"), "verdict": "pass"} for release in releases
    ]
    for sender, method, calls in (
        (MANUFACTURER, "submit", submitted),
        (LABORATORY, "test", tested),
        (REGULATOR, "endorse", endorsed),
    ):
        key = load_signing_key(cluster.layout.keys / f"{sender}.key").signing_key
        until_ms = time.time_ns() // 1_000_000 + _HOUR_MS
        signed = [
            Transaction(fleet.genesis.chain(), sender, "references", 1, method, args, seq, until_ms).sign(key)
            for seq, args in enumerate(calls, start=1)
        ]
        done = _put(cluster, signed, RELEASE_RATE)
        assert done.load.committed == len(calls), "a release was not taken"


def _head(cluster: Cluster) -> SeenBlock:
    status = cluster.status(MEMBERS[0])
    return SeenBlock(int(status["height"]), bytes.fromhex(str(status["head"])))


def _check(cluster: Cluster, fleet: Fleet) -> None:
    """Make sure that the reports were taken for what they are."""
    assert not cluster.alarms(MEMBERS[0]), "a device is alarmed"
    last = fleet.reporters[-1].states[-1].device
    with cluster.client(MEMBERS[-1]) as client:
        state = client.get_json(f"/v1/devices/{last}")["state"]
    assert state == "match", f"{last} is {state}"

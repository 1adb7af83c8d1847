"""Four full nodes on this machine: reports committed per second, and how long one report waits for its receipt."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from benchmarks import faults, throughput
from benchmarks.results import Result, percentile
from client.demo.cluster import Cluster, open_cluster
from client.demo.ports import LOOPBACK
from client.demo.processes import wait_until
from client.demo.topology import MEMBERS, VENDOR, Substation, build_topology
from kit.files import read_bounded
from kit.keystore import load_signing_key
from kit.mqtt import SOCKET_OPTIONS
from kit.tls import mqtt_context
from wire import cbor
from wire.evidence import Artefact, Clock, Entry, Evidence, Identity, Item, SeenBlock
from wire.genesis import GENESIS_BYTES_MAX, Genesis, decode_genesis
from wire.receipt import TYPE as RECEIPT
from wire.receipt import decode_receipt, verify_receipt
from wire.tx import Transaction
from wire.types import sha256

GATEWAYS = 16
DEVICES_EACH = 3
REPORTS_EACH = 200
"""Below the 256 transactions that the mempool holds for one sender."""
RECEIPTS = 100
SEQUENCE_TRANSACTIONS = 100
WITHIN_S = 120.0
_DAY_MS = 86_400_000


@dataclass(slots=True)
class Reporter:
    """Signs reports in a gateway's name; no agent runs in this benchmark."""

    cluster: Cluster
    genesis: Genesis
    substation: Substation
    seq: int = 0

    def sign(self) -> bytes:
        """Return the next report, of the size that three unchanged devices make."""
        self.seq += 1
        now_ms = time.time_ns() // 1_000_000
        entries = tuple(self._entry(device.id, device.serial, now_ms) for device in self.substation.devices)
        evidence = Evidence(
            gateway=self.substation.gateway,
            boot=1,
            seq=self.seq,
            clock=Clock(now_ms, "system", None, "unknown"),
            block=SeenBlock(0, self.genesis.digest()),
            devices=entries,
        )
        call = Transaction(
            chain=self.genesis.chain(),
            sender=self.substation.gateway,
            contract="consistency",
            version=1,
            method="report",
            args={"evidence": evidence.encode()},
            seq=self.seq,
            valid_until_ms=now_ms + _DAY_MS,
        )
        folder = self.cluster.layout.gateway(self.substation.gateway)
        return call.sign(load_signing_key(folder / f"{self.substation.gateway}.key").signing_key)

    def _entry(self, device: str, serial: str, now_ms: int) -> Entry:
        digest = sha256(device.encode())
        artefact = Artefact(
            kind="firmware",
            name="firmware",
            version="2.4.0",
            size=262_144,
            read_size=262_144,
            sha256=digest,
            chunk_root=digest,
            method="full-file",
            read_from_ms=0,
            read_to_ms=1,
            errors=(),
        )
        item = Item(Identity(VENDOR, "SCD-220", "2.4.0", serial, "SCD-220/4"), (artefact,))
        # the first report carries the items, the others name them
        return Entry(device, "read", now_ms - 500, now_ms, item.digest(), item if self.seq == 1 else None)


def measure() -> Sequence[Result]:
    """Measure reports of gateways, then open load of notary transactions, with faults, and where time goes."""
    reports = measure_reports()
    runs = throughput.measure()
    return (
        *reports,
        *(row for done in runs.values() for row in throughput.rows(done)),
        *throughput.saturation_rows(runs),
        *faults.measure(runs),
        *throughput.floor_rows(),
        *throughput.measure_profile(),
    )


def measure_reports() -> Sequence[Result]:
    """Commit reports of sixteen gateways as fast as the nodes can, then one at a time."""
    places = tuple((f"place{number}", "north") for number in range(1, GATEWAYS + 1))
    topology = build_topology(places, DEVICES_EACH, "bench")
    with (
        tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name,
        open_cluster(Path(name) / "d", topology, devices=False) as cluster,
    ):
        cluster.start_broker()
        cluster.start_nodes()
        genesis = decode_genesis(read_bounded(cluster.layout.genesis, bytes_max=GENESIS_BYTES_MAX))
        reporters = [Reporter(cluster, genesis, substation) for substation in topology.substations]
        _send(cluster, [[reporter.sign()] for reporter in reporters])
        _wait_empty(cluster)
        rate, size = _rate(cluster, reporters)
        waits_ms = asyncio.run(_receipts(cluster, reporters[0]))
    about = f"{DEVICES_EACH} devices, {size} bytes each, four nodes, fsync on"
    single = f"{len(waits_ms)} reports one after the other over the broker, from publish to the verified receipt"
    return (
        Result("reports committed", rate, "1/s", f"{GATEWAYS} gateways, over HTTP; {about}"),
        Result("publish to receipt p50", percentile(waits_ms, 0.5), "ms", single),
        Result("publish to receipt p95", percentile(waits_ms, 0.95), "ms", single),
    )


def _rate(cluster: Cluster, reporters: Sequence[Reporter]) -> tuple[float, int]:
    """Return reports per second from the first submission until all four nodes hold all of them."""
    batches = [[reporter.sign() for _ in range(REPORTS_EACH)] for reporter in reporters]
    due = {member: _committed(cluster, member) + GATEWAYS * REPORTS_EACH for member in MEMBERS}
    began_s = time.perf_counter()
    _send(cluster, batches)
    wait_until(
        lambda: all(_committed(cluster, member) >= due[member] for member in MEMBERS),
        within_s=WITHIN_S,
        what="all nodes to hold all reports",
        poll_s=0.1,
    )
    elapsed_s = time.perf_counter() - began_s
    return GATEWAYS * REPORTS_EACH / elapsed_s, len(batches[0][0])


def _send(cluster: Cluster, batches: Sequence[Sequence[bytes]]) -> None:
    """Hand each gateway's reports to a node in pieces, the nodes in turn."""
    for number, piece in enumerate(_pieces(batches)):
        with cluster.client(MEMBERS[number % len(MEMBERS)]) as client:
            answer = client.post_cbor("/v1/tx", b"".join(piece), content_type="application/cbor-seq")
        assert all(result["status"] == "pending" for result in answer["results"]), answer


def _wait_empty(cluster: Cluster) -> None:
    """Wait until no node has anything left to commit."""

    def is_empty() -> bool:
        return all(int(cluster.status(member)["mempool"]["transactions"]) == 0 for member in MEMBERS)

    wait_until(is_empty, within_s=WITHIN_S, what="the first reports")
    cluster.wait_same_height()


def _pieces(batches: Sequence[Sequence[bytes]]) -> Iterator[Sequence[bytes]]:
    longest = max(len(batch) for batch in batches)
    for start in range(0, longest, SEQUENCE_TRANSACTIONS):
        for batch in batches:
            yield batch[start : start + SEQUENCE_TRANSACTIONS]


def _committed(cluster: Cluster, member: str) -> int:
    """Return how many transactions a node has applied since it started, by its own metric."""
    with cluster.client(member) as client:
        text = client.get_bytes("/metrics").decode()
    lines = [line for line in text.splitlines() if line.startswith("gridwitness_node_transactions_committed_total ")]
    return int(float(lines[0].split()[1])) if lines else 0


async def _receipts(cluster: Cluster, reporter: Reporter) -> list[float]:
    """Publish one report after the other, each when the receipt of the last is verified."""
    substation = reporter.substation
    folder = cluster.layout.gateway(substation.gateway)
    base = f"gridwitness/v1/{substation.area}/{substation.id}/{substation.gateway}"
    context = mqtt_context(cluster.layout.broker / "ca.crt", folder / "mqtt.crt", folder / "mqtt.key")
    waits_ms = []
    async with aiomqtt.Client(
        LOOPBACK,
        cluster.layout.ports.broker,
        identifier="bench",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context,
        socket_options=SOCKET_OPTIONS,
    ) as client:
        await client.subscribe(f"{base}/down", qos=1)
        for _ in range(RECEIPTS):
            raw = reporter.sign()
            began_s = time.perf_counter()
            await client.publish(f"{base}/tx", raw, qos=1)
            async with asyncio.timeout(WITHIN_S):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    if cbor.decode_map(message.payload)["type"] != RECEIPT:
                        continue  # a header, which comes to every gateway
                    receipt = decode_receipt(message.payload)
                    if receipt.tx == sha256(raw):
                        verify_receipt(receipt, raw, reporter.genesis)
                        break
            waits_ms.append((time.perf_counter() - began_s) * 1000)
    return waits_ms

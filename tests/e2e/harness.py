"""What the end-to-end tests share: metrics, the ledger's reports, the broker, steady tampering."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiomqtt
import paho.mqtt.client as mqtt
import psutil
import requests
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families

from client.demo.cluster import Cluster
from client.demo.ports import LOOPBACK
from client.demo.processes import find_program, wait_until
from client.demo.topology import DISPATCH, Substation
from kit.tls import mqtt_context
from wire import cbor
from wire.block import decode_block
from wire.evidence import Evidence, decode_evidence
from wire.topics import filter_of
from wire.tx import open_tx

PROGRAM_WITHIN_S = 60.0


def metric(url: str, name: str, labels: Mapping[str, str] | None = None) -> float:
    """Add up a metric's samples that carry these labels; 0 if there are none."""
    text = requests.get(url, timeout=30).text
    wanted = (labels or {}).items()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and wanted <= sample.labels.items()
    )


def node_metric(cluster: Cluster, member: str, name: str, labels: Mapping[str, str] | None = None) -> float:
    return metric(f"{cluster.layout.api_url(member)}/metrics", f"gridwitness_node_{name}", labels)


def agent_metric(cluster: Cluster, gateway: str, name: str, labels: Mapping[str, str] | None = None) -> float:
    port = cluster.layout.ports.metrics[gateway]
    return metric(f"http://{LOOPBACK}:{port}/metrics", f"gridwitness_agent_{name}", labels)


@dataclass(frozen=True)
class Reported:
    """A report as it stands in the ledger."""

    tx: str
    code: str
    evidence: Evidence

    @property
    def pair(self) -> tuple[int, int]:
        return self.evidence.boot, self.evidence.seq


def reports(cluster: Cluster, member: str, gateway: str, last: int | None = None) -> list[Reported]:
    """Read all reports of a gateway from the blocks of one node, up to height ``last`` or its head."""
    found = []
    with cluster.client(member) as client:
        for height in range(1, (last or int(client.get_json("/v1/status")["height"])) + 1):
            answer = cbor.decode_map(client.get_bytes(f"/v1/blocks/{height}", {"format": "cbor"}))
            assert isinstance(answer["block"], bytes)
            block = decode_block(answer["block"])
            for raw in block.transactions:
                signed = open_tx(raw)
                if (signed.tx.sender, signed.tx.method) != (gateway, "report"):
                    continue
                evidence = signed.tx.args["evidence"]
                assert isinstance(evidence, bytes)
                code = client.get_json(f"/v1/tx/{signed.id.hex()}")["code"]
                found.append(Reported(signed.id.hex(), code, decode_evidence(evidence)))
    return found


def run_program(
    name: str, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end."""
    return subprocess.run(
        [find_program(name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PROGRAM_WITHIN_S,
        env={**os.environ, **(environ or {})},
    )


def processes_of(folder: Path) -> list[psutil.Process]:
    """Find all processes whose command line names a file of this demo."""
    found = []
    for process in psutil.process_iter():
        try:
            words: Sequence[str] = process.cmdline()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words[1:]):
            found.append(process)
    return found


def publish(cluster: Cluster, substation: Substation, payload: bytes, verb: str = "tx") -> None:
    """Publish something in the name of a gateway, with its certificate; return after the PUBACK."""
    folder = cluster.layout.gateway(substation.gateway)
    topic = f"gridwitness/v1/{substation.area}/{substation.id}/{substation.gateway}/{verb}"
    context = mqtt_context(cluster.layout.broker / "ca.crt", folder / "mqtt.crt", folder / "mqtt.key")

    async def send() -> None:
        async with aiomqtt.Client(
            LOOPBACK,
            cluster.layout.ports.broker,
            identifier=f"test-{os.getpid()}",
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_context=context,
            timeout=30,
        ) as client:
            await client.publish(topic, payload, qos=1)

    asyncio.run(send())


@contextmanager
def heard(cluster: Cluster, verb: str) -> Iterator[list[bytes]]:
    """Listen to what the broker lets gateways say, with a full node's certificate; the payloads as they come."""
    folder, found, begun = cluster.layout.node(DISPATCH), list[bytes](), threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, f"ear-{os.getpid()}", protocol=mqtt.MQTTv5)
    client.tls_set_context(mqtt_context(cluster.layout.broker / "ca.crt", folder / "mqtt.crt", folder / "mqtt.key"))
    client.on_subscribe = lambda *_: begun.set()
    client.on_message = lambda _client, _data, message: found.append(bytes(message.payload))
    client.connect(LOOPBACK, cluster.layout.ports.broker)
    client.loop_start()
    try:
        wait_until(client.is_connected, within_s=60, what="the broker")
        client.subscribe(filter_of(verb), qos=1)
        assert begun.wait(60), "no subscription"
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


class Churn:
    """Changes a device's settings again and again, so that its gateway has much to report; restores them at the end.

    The content never is what it was before: a device that is changed and changed back between two polls stays in alarm.
    """

    def __init__(self, cluster: Cluster, device: str, period_s: float) -> None:
        self._cluster = cluster
        self._device = device
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.changes = 0
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._cluster.restore()
        if self.error is not None and error is None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._period_s):
                offset = 100 + self.changes % 1000
                self._cluster.tamper(self._device, {"action": "flip-byte", "artefact": "settings", "offset": offset})
                self.changes += 1
        except Exception as error:  # noqa: BLE001 shown by __exit__ in the test's own thread
            self.error = error

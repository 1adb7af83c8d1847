"""Makes the corpus anew from a real run: ``python -m tests.fuzz.collect``.

Starts the demo's programs, listens in the place of one full node that is stopped, asks the others over HTTP, reads
their files, and keeps the smallest few of every format.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import aiomqtt

from client.demo.cluster import Cluster, open_cluster
from client.demo.ports import LOOPBACK
from client.demo.processes import find_program
from client.demo.references import register, signer_of
from client.demo.topology import LABORATORY, MEMBERS, SMALL
from client.node import submit
from kit.config import HostPort
from kit.keystore import next_seq
from kit.tls import mqtt_context, peer_context
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import GetBlocks, GetBody, GetStanding, Message, Status, Vote
from master.consensus.records import decode_record
from master.io.frames import frame
from master.io.inbound import Trust
from master.io.peers import PeerNetwork
from master.io.wal import WriteAheadLog
from wire import cbor
from wire.evidencebundle import GATEWAY, EvidenceBundle, Subject
from wire.genesis import Genesis, decode_genesis
from wire.receipt import decode_bundle
from wire.stateproof import decode_state_proof
from wire.tx import Transaction, open_tx
from wire.types import sha256

CORPUS: Final = Path(__file__).parent / "corpus"
EACH_MAX: Final = 4
BYTES_MAX: Final = 8 * 1024
STATES: Final = ("membership/none", "consistency/none", "references/none")
_LISTEN_S: Final = 8.0
_ABSENT: Final = MEMBERS[3]


class Corpus:
    """The smallest few of every format."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], set[bytes]] = {}

    def add(self, name: str, raws: Iterable[bytes], kind: Callable[[bytes], str] = lambda _: "") -> None:
        """Take examples of a format; ``kind`` tells apart what shares a decoder."""
        for raw in raws:
            if len(raw) <= BYTES_MAX:
                self._found.setdefault((name, kind(raw)), set()).add(raw)

    def save(self, folder: Path) -> None:
        """Write the files, named by their digest."""
        for (name, _), raws in sorted(self._found.items()):
            for raw in sorted(raws, key=lambda raw: (len(raw), raw))[:EACH_MAX]:
                path = folder / name / sha256(raw).hex()[:12]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(raw)


def submit_something(cluster: Cluster) -> None:
    """Give the nodes something to agree on: an endorsement of a release that there is not."""
    with cluster.client(MEMBERS[1]) as client:
        signer = signer_of(cluster, client, LABORATORY)
        transaction = Transaction(
            chain=signer.chain,
            sender=signer.sender,
            contract="references",
            version=1,
            method="endorse",
            args={"release": bytes(32), "report": None},
            seq=next_seq(signer.key_path),
            valid_until_ms=time.time_ns() // 1_000_000 + 60_000,
        )
        submit(client, transaction.sign(signer.key.signing_key))


async def listen(cluster: Cluster, genesis: Genesis, heard: list[bytes]) -> None:
    """Take the place of a stopped node: hear the others for a while, and ask them what a node may ask."""
    folder = cluster.layout.node(_ABSENT)
    ders = [validator.tls_certificate for validator in genesis.validators]
    certificate, key = folder / "peer.crt", folder / "peer.key"
    ports = cluster.layout.ports.peers
    network = PeerNetwork(
        HostPort(LOOPBACK, ports[_ABSENT]),
        {member: HostPort(LOOPBACK, port) for member, port in ports.items() if member != _ABSENT},
        Trust(
            {sha256(validator.tls_certificate): validator.member for validator in genesis.validators},
            peer_context("server", certificate, key, ders),
            peer_context("client", certificate, key, ders),
        ),
    )

    async def hear(_: str, raw: bytes) -> int:
        heard.append(raw)
        return 1

    await network.start(hear, lambda _: None)
    for _ in range(int(_LISTEN_S)):
        await asyncio.to_thread(submit_something, cluster)
        await asyncio.sleep(1)
        height = max((entry.height for entry in map(decode_message, heard) if isinstance(entry, Status)), default=1)
        asked: list[Message] = [
            GetBlocks(1),
            GetBlocks(height - 1),
            GetStanding(bytes(32)),
            Status(height, 0, "new"),
            GetBody(bytes(32)),
        ]
        asked += [GetBody(entry.digest) for entry in map(decode_message, heard[-50:]) if isinstance(entry, Vote)]
        for message in asked:
            heard.append(encode_message(message))
            network.broadcast(encode_message(message))
    await network.stop()


async def hear_broker(cluster: Cluster, corpus: Corpus) -> None:
    """Take what stands retained at the broker and what comes within a few seconds."""
    layout = cluster.layout
    folder = layout.node(_ABSENT)
    context = mqtt_context(
        layout.broker / "ca.crt",
        folder / "mqtt.crt",
        folder / "mqtt.key",
    )
    async with aiomqtt.Client(
        LOOPBACK,
        layout.ports.broker,
        tls_context=context,
        identifier=f"node-{_ABSENT}",
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        await client.subscribe("gridwitness/v1/#", qos=1)
        try:
            async with asyncio.timeout(_LISTEN_S):
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    if "/host/" in str(message.topic):
                        continue
                    corpus.add("topic", [str(message.topic).encode()], lambda raw: raw.decode().rpartition("/")[2])
        except TimeoutError:
            return


def ask(cluster: Cluster, corpus: Corpus) -> None:
    """Take everything that the API gives as bytes."""
    with cluster.client(MEMBERS[0]) as client:
        height = int(client.get_json("/v1/status")["height"])
        transactions: list[bytes] = []
        for number in range(1, height + 1):
            answer = cbor.decode_map(client.get_bytes(f"/v1/blocks/{number}", {"format": "cbor"}))
            block = answer["block"]
            assert isinstance(block, bytes)
            corpus.add("block", [block])
            value = cbor.decode_map(block)
            assert isinstance(value["header"], bytes)
            assert isinstance(value["transactions"], list)
            corpus.add("header", [value["header"]])
            assert isinstance(answer["certificate"], bytes)
            corpus.add("certificate", [answer["certificate"]])
            certificate = cbor.decode(answer["certificate"])
            final: cbor.Value = {"certificate": certificate, "header": value["header"], "epochs": []}
            corpus.add("final", [cbor.encode(final)])
            transactions += [raw for raw in value["transactions"] if isinstance(raw, bytes)]
            if number < height:
                corpus.add("historyproof", [client.get_bytes(f"/v1/headers/{number}/proof", {"format": "cbor"})])
                corpus.add(
                    "consistencyproof", [client.get_bytes(f"/v1/headers/{number}/consistency", {"format": "cbor"})]
                )
        corpus.add("sequence", [transactions[0] + transactions[1]])
        for raw in transactions:
            take_transaction(cluster, corpus, raw)
        for place in STATES:
            proof = client.get_bytes(f"/v1/state/{place}", {"proof": "1", "format": "cbor"})
            corpus.add("stateproof", [proof])
            bundle = decode_bundle(client.get_bytes(f"/v1/bundles/{open_tx(transactions[0]).id.hex()}"))
            whole = EvidenceBundle(Subject(GATEWAY, "gw", 0, 1), (decode_state_proof(proof),), (bundle,))
            corpus.add("evidencebundle", [whole.encode()])


def take_transaction(cluster: Cluster, corpus: Corpus, raw: bytes) -> None:
    """Keep a transaction, what it carries, and its receipt."""
    signed = open_tx(raw)
    corpus.add("tx", [raw], lambda _: signed.tx.method)
    corpus.add("cbor", [signed.envelope.payload])
    for name, kind in (("evidence", "evidence"), ("release", "release")):
        value = signed.tx.args.get(name)
        if isinstance(value, bytes) and len(value) > 64:
            corpus.add(kind, [value])
            devices = cbor.decode_map(value).get("devices")
            if isinstance(devices, list):
                items = [entry["item"] for entry in devices if isinstance(entry, dict) and entry.get("item")]
                corpus.add("item", [cbor.encode(item) for item in items])
    with cluster.client(MEMBERS[0]) as client:
        bundle = decode_bundle(client.get_bytes(f"/v1/bundles/{signed.id.hex()}"))
    corpus.add("bundle", [bundle.encode()])
    corpus.add("receipt", [bundle.receipt.encode()])
    corpus.add("down", [bundle.receipt.encode()])
    corpus.add("outcome", [bundle.receipt.outcome.encode()])


def read_files(cluster: Cluster, corpus: Corpus) -> None:
    """Take what the programs keep on disk; the nodes have been stopped."""
    layout = cluster.layout
    for member in MEMBERS[1:3]:
        folder = layout.node(member)
        corpus.add("guardfile", [next(folder.rglob("guard")).read_bytes()])
        wal = next(folder.rglob("wal"))
        corpus.add("wal", [wal.read_bytes()])
        log = WriteAheadLog(wal)
        corpus.add("record", log.read(), lambda raw: type(decode_record(raw)).__name__)
        log.close()
        corpus.add("nodetoml", [(folder / "node.toml").read_bytes()])
        config = folder / "node.toml"
        with tempfile.TemporaryDirectory() as place:
            for verb, out in (("backup", f"{place}/backup"), ("export", f"{place}/export")):
                program = find_program("gridwitness-node")
                subprocess.run([program, verb, "--out", out, "--config", str(config)], check=True)
            corpus.add("backup", [Path(place, "backup", "manifest.json").read_bytes()])
            corpus.add("export", [_first_block_of(Path(place, "export").read_bytes())])
    for substation in layout.topology.substations:
        folder = layout.gateway(substation.gateway)
        corpus.add("agenttoml", [(folder / "agent.toml").read_bytes()])
        for path in folder.rglob("outbox.sqlite"):
            with sqlite3.connect(path) as database:
                corpus.add("item", [row[0] for row in database.execute("SELECT item FROM device")])


def _first_block_of(export: bytes) -> bytes:
    """Cut an export off behind its first block, and say so in front."""
    start, behind = _record(export, 0)
    first, _ = _record(export, behind)
    head = cbor.encode({**cbor.decode_map(start), "last": 1})
    return b"".join(len(record).to_bytes(4, "big") + record for record in (head, first))


def _record(export: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + int.from_bytes(export[at : at + 4], "big")
    return export[at + 4 : end], end


def main() -> None:
    """Run the demo and write the corpus."""
    corpus, heard = Corpus(), list[bytes]()
    with tempfile.TemporaryDirectory() as place, open_cluster(Path(place) / "cluster", SMALL, poll_ms=400) as cluster:
        raw_genesis = cluster.layout.genesis.read_bytes()
        genesis = decode_genesis(raw_genesis)
        cluster.start_simulator()
        cluster.start_broker()
        cluster.start_nodes()
        register(cluster, cluster.layout.old_releases())
        register(cluster, cluster.layout.new_releases())
        cluster.start_agents()
        cluster.wait_matched()
        ask(cluster, corpus)
        cluster.nodes[_ABSENT].stop()
        asyncio.run(hear_broker(cluster, corpus))
        asyncio.run(listen(cluster, genesis, heard))
        # two of four are no quorum: they change views
        cluster.nodes[MEMBERS[0]].stop()
        asyncio.run(listen(cluster, genesis, heard))
        for member in MEMBERS[1:3]:
            cluster.nodes[member].kill()
        read_files(cluster, corpus)
    corpus.add("message", heard, lambda raw: type(decode_message(raw)).__name__)
    corpus.add("frames", [frame(raw) + frame(heard[0]) for raw in heard if len(raw) < 1000][:2])
    corpus.add("validators", [cbor.encode(genesis.validator_set().to_value())])
    corpus.add("genesis", [raw_genesis])
    if CORPUS.exists():
        shutil.rmtree(CORPUS)
    CORPUS.mkdir()
    corpus.save(CORPUS)
    (CORPUS / "genesis.cbor").write_bytes(raw_genesis)


if __name__ == "__main__":
    main()

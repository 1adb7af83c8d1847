"""A fifth node joins a running ledger from nothing, a key is rotated, a validator is removed: real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.demo.cluster import Cluster, open_cluster
from client.demo.layout import table, write_text
from client.demo.ports import LOOPBACK, free_ports
from client.demo.processes import Program, find_program, run_once, wait_until
from client.demo.topology import GRID_COMPANY, MEMBERS, SMALL
from client.node import open_signer, submit, wait_outcome
from kit.exitcodes import GridwitnessError
from kit.http import NodeClient
from kit.keystore import create_key
from kit.tls import self_signed
from tests.e2e.harness import run_program
from tests.interop import independent_checker as checker
from wire import cbor
from wire.certificate import Certificate, decode_certificate
from wire.epochs import EpochEnd, decode_epoch_ends
from wire.finality import FinalHeader
from wire.genesis import decode_genesis
from wire.header import Header, decode_header
from wire.lightclient import accept, begin
from wire.receipt import decode_bundle, verify_receipt

pytestmark = pytest.mark.e2e
FIRST = MEMBERS[0]
JOINER = GRID_COMPANY
WITHIN_S = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with open_cluster(tmp_path / "cluster", SMALL, devices=False) as made:
        made.start_nodes()
        yield made


class Site:
    """What operators do, with the programs alone."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.genesis = cluster.layout.genesis.read_bytes()
        self.urls = {member: cluster.layout.api_url(member) for member in MEMBERS}
        self.count = 0

    def call(self, *words: str, by: str, at: str = FIRST, code: int = 0) -> dict[str, Any]:
        """Run ``gridwitness validators``; every call is also a transaction that brings a block."""
        key = self.cluster.layout.keys / f"{by}.key"
        done = run_program("gridwitness", "validators", *words, "--key", str(key), "--node", self.urls[at], "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return {"error": done.stdout + done.stderr} if code else dict(json.loads(done.stdout))

    def listed(self, what: str) -> list[dict[str, Any]]:
        done = run_program("gridwitness", "validators", what, "--node", self.urls[FIRST], "--json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout)["items"])

    def vote(self, proposal: str, *voters: str) -> None:
        for voter in voters:
            self.call("vote", proposal, by=voter)

    def note(self, at: str = FIRST) -> str:
        """Let a block come; return the id of its transaction."""
        self.count += 1
        with NodeClient([self.urls[at]], 30.0) as client:
            signer = open_signer(client, self.cluster.layout.keys / "dispatch.key", None)
            tx = submit(client, signer.sign("notary", "put", {"key": f"note-{self.count}", "data": b"x"}))
            assert wait_outcome(client, tx, 30.0).code == "ok"
        return tx

    def height(self, member: str) -> int:
        with NodeClient([self.urls[member]]) as client:
            return int(client.get_json("/v1/status")["height"])

    def block(self, height: int, at: str = FIRST) -> tuple[Header, Certificate]:
        with NodeClient([self.urls[at]]) as client:
            (item,) = client.get_json("/v1/headers", {"from": str(height), "limit": "1"})["items"]
        certificate = decode_certificate(cbor.decode(bytes.fromhex(item["certificate"])))
        return decode_header(bytes.fromhex(item["header"])), certificate

    def newest(self, at: str = FIRST) -> tuple[Header, Certificate]:
        return self.block(self.height(at), at)

    def is_signing(self, member: str, at: str = FIRST) -> bool:
        """Tell whether a member's signature comes to stand under one of the next blocks."""
        for _ in range(20):
            self.note(at)
            if member in self.newest(at)[1].signers:
                return True
        return False

    def wait_epoch(self, number: int, at: str = FIRST) -> None:
        """Let blocks come until an epoch has begun: two after the change was decided."""
        for _ in range(10):
            if self.newest(at)[0].epoch >= number:
                return
            self.note(at)

    def wait_level(self, *members: str) -> None:
        top = max(self.height(member) for member in members)
        wait_until(
            lambda: min(self.height(member) for member in members) >= top, within_s=WITHIN_S, what="all to follow"
        )

    def epoch_ends(self) -> tuple[EpochEnd, ...]:
        with NodeClient([self.urls[FIRST]]) as client:
            found = client.get_json("/v1/epochs", {"from": "0", "limit": "100"})["items"]
        return decode_epoch_ends([cbor.decode(bytes.fromhex(item["end"])) for item in found])

    def check_receipt(self, tx: str, epochs: int) -> None:
        """Prove a transaction with the genesis file alone, with both implementations."""
        with NodeClient([self.urls[FIRST]]) as client:
            bundle = decode_bundle(client.get_bytes(f"/v1/bundles/{tx}"))
        assert len(bundle.receipt.epochs) == epochs
        verify_receipt(bundle.receipt, bundle.tx, decode_genesis(self.genesis))
        checker.check_receipt(bundle.receipt.encode(), bundle.tx, self.genesis)


class Joiner:
    """A fifth node that has nothing but the genesis file and the others' addresses."""

    def __init__(self, site: Site) -> None:
        layout, self.folder = site.cluster.layout, site.folder / "joiner"
        peer_port, api_port = free_ports(2)
        create_key(self.folder, "vote")
        self_signed(JOINER, [LOOPBACK]).save(self.folder / "peer.crt", self.folder / "peer.key")
        config = self.folder / "node.toml"
        lines = [
            *table("[node]", member=JOINER, data_dir="data", genesis=layout.genesis, vote_key="vote.key"),
            *table("[peers]", listen=f"{LOOPBACK}:{peer_port}", certificate="peer.crt", key="peer.key"),
            *table("[peers.addresses]", **{member: f"{LOOPBACK}:{layout.ports.peers[member]}" for member in MEMBERS}),
            *table("[api]", listen=f"{LOOPBACK}:{api_port}"),
        ]
        write_text(config, lines)
        run_once("gridwitness-node", "init", "--config", config)
        self.address = f"{LOOPBACK}:{peer_port}"
        self._site = site
        site.urls[JOINER] = f"http://{LOOPBACK}:{api_port}"
        command = (find_program("gridwitness-node"), "run", "--config", str(config))
        self.program = Program(JOINER, command, layout.logs / "joiner.log", self._answers)

    def _answers(self) -> bool:
        try:
            return self._site.height(JOINER) >= 0
        except GridwitnessError:
            return False


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Site:
    return Site(cluster, tmp_path)


@pytest.fixture
def joiner(site: Site) -> Iterator[Joiner]:
    made = Joiner(site)
    try:
        yield made
    finally:
        made.program.kill()


# holds VM-5 VM-10 VM-11
def test_node_joins_from_nothing_votes_and_is_removed(site: Site, joiner: Joiner) -> None:
    before = site.note()
    joiner.program.start()
    joiner.program.wait_healthy()
    site.note()
    assert site.height(JOINER) == 0  # nobody admits it yet
    files = ("--vote-key", str(joiner.folder / "vote.pub"), "--certificate", str(joiner.folder / "peer.crt"))
    words = ("propose-add", JOINER, *files, "--address", joiner.address)
    assert "not-a-voter" in site.call(*words, by=JOINER, code=65)["error"]
    proposal = site.call(*words, by="dispatch")["tx"]
    assert "change-pending" in site.call("propose-removal", "centre-east", by="dispatch", code=65)["error"]
    site.vote(proposal, "centre-east", "centre-west")
    wait_until(lambda: site.height(JOINER) > 1, within_s=WITHIN_S, what="the joiner to follow")
    site.wait_level(FIRST, JOINER)
    assert [item["member"] for item in site.listed("list")] == sorted(MEMBERS)
    ready = ("ready", proposal, "--vote-key", str(joiner.folder / "vote.key"))
    executed = int(site.call(*ready, by=JOINER, at=JOINER)["height"])
    assert site.is_signing(JOINER)
    assert [item["member"] for item in site.listed("list")] == sorted((*MEMBERS, JOINER))
    end, certificate = site.block(executed + 1)
    assert (end.epoch, certificate.epoch) == (0, 0)
    assert JOINER not in certificate.signers
    first, certificate = site.block(executed + 2)
    assert (first.epoch, len(certificate.signers) >= 4) == (1, True)  # q of five
    assert first.validators_hash == end.next_validators_hash != end.validators_hash
    after = site.note(JOINER)

    removal = site.call("propose-removal", JOINER, by="dispatch")["tx"]
    site.vote(removal, "centre-east", "centre-west", "centre-north")
    for _ in range(2):
        last = site.note()
    site.wait_epoch(2)
    assert site.newest()[0].epoch == 2
    # who was removed in peace may follow for a while, and signs nothing
    wait_until(lambda: site.height(JOINER) == site.height(FIRST), within_s=WITHIN_S, what="the leaver to follow")
    header, certificate = site.newest()
    assert (header.epoch, JOINER in certificate.signers) == (2, False)
    assert [item["status"] for item in site.listed("proposals")] == ["executed", "executed"]

    for tx, epochs in ((before, 0), (after, 1), (last, 2)):
        site.check_receipt(tx, epochs)
    # a light client that knows the genesis file follows over both ends of epochs
    header, certificate = site.newest()
    state = accept(begin(decode_genesis(site.genesis)), FinalHeader(header, certificate, site.epoch_ends()))
    assert state.newest is not None
    assert state.newest.header == header


# holds VM-6 VM-11
def test_vote_key_and_certificate_are_rotated_while_the_ledger_runs(site: Site) -> None:
    member = "centre-north"
    folder = site.cluster.layout.node(member)
    before = site.note()
    create_key(folder, "vote-2")
    self_signed(member, [LOOPBACK]).save(folder / "peer-2.crt", folder / "peer-2.key")
    config = folder / "node.toml"
    text = config.read_text(encoding="utf-8")
    text = text.replace('vote_key = "vote.key"', 'vote_key = "vote.key"\nvote_key_next = "vote-2.key"')
    text = text.replace(
        'key = "peer.key"', 'key = "peer.key"\ncertificate_next = "peer-2.crt"\nkey_next = "peer-2.key"'
    )
    config.write_text(text, encoding="utf-8")
    site.cluster.nodes[member].stop()
    site.cluster.nodes[member].start()
    site.cluster.nodes[member].wait_healthy()
    site.cluster.wait_connected()
    keys = ("--old-vote-key", str(folder / "vote.key"), "--new-vote-key", str(folder / "vote-2.key"))
    words = ("propose-rotation", *keys, "--certificate", str(folder / "peer-2.crt"))
    proposal = site.call(*words, by=member)["tx"]
    site.vote(proposal, "centre-east", "dispatch")
    site.wait_epoch(1)
    assert site.is_signing(member)
    header, certificate = site.newest()
    assert header.epoch == 1
    # the old key and certificate can go: the node starts with the new ones alone, its guard goes on
    site.cluster.nodes[member].stop()
    text = config.read_text(encoding="utf-8").replace('"vote.key"\nvote_key_next = "vote-2.key"', '"vote-2.key"')
    text = text.replace('certificate = "peer.crt"\nkey = "peer.key"\ncertificate_next', "certificate")
    config.write_text(text.replace('key_next = "peer-2.key"', 'key = "peer-2.key"'), encoding="utf-8")
    site.note()
    site.cluster.nodes[member].start()
    site.cluster.nodes[member].wait_healthy()
    site.cluster.wait_connected()
    assert site.is_signing(member)
    with NodeClient([site.urls[member]]) as client:
        assert client.get_json("/healthz")
    for tx, epochs in ((before, 0), (site.note(), 1)):
        site.check_receipt(tx, epochs)
    assert certificate.epoch == 1

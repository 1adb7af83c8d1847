"""How a node is made, takes up what is on its disk, and follows the ledger in who votes and who may connect."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kit.config import HostPort
from kit.exitcodes import DataError, StorageError
from master.app import NodeProcess
from master.config import NodeConfig, load_genesis
from master.consensus.fault_messages import Fault
from master.consensus.guard import SignerGuard
from master.consensus.message_codec import encode_message
from master.contracts.validator_records import Admitted
from master.io.guard import GuardFile
from master.io.inbound import Trust
from master.io.store import Store
from master.io.sync_disk import SyncDisk
from master.io.tables import Tables
from master.io.wal import WriteAheadLog
from master.making import STORE_FOLDER, TABLES_FILE, WAL_FILE, init_node
from master.seat import GUARD_FILE, load_vote_keys, open_guard
from tests.unit.ledger.worlds import key_of, make_genesis
from tests.unit.master.test_seat import Site
from wire.certificate import Step, Validator, ValidatorSet, vote_bytes
from wire.faultproof import FaultProof, Statement
from wire.genesis import Genesis, GenesisValidator
from wire.types import sha256

MAP_BYTES = 64 << 20


class Place:
    """A folder with a node's keys, configuration and genesis file, and two other validators that do not exist."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        others = {name: HostPort("127.0.0.1", 1) for name in ("grid", "lab")}
        config = self.site.config(is_rotating=True, addresses=others)
        self.config: NodeConfig = replace(config, node=replace(config.node, map_mib=64, event_log_mib=0))
        own = GenesisValidator("dispatch", self.site.public("vote"), self.site.identities["peer"].der())
        far = [GenesisValidator(name, key_of(name + " vote").verify_key.encode(), name.encode()) for name in others]
        self.genesis: Genesis = replace(make_genesis(), validators=(own, *far))
        self.config.node.genesis.write_bytes(self.genesis.encode())
        self.data_dir = self.config.node.data_dir

    def guard(self) -> SignerGuard | None:
        with open_guard(self.config, load_vote_keys(self.config).owners(self.genesis.chain())) as found:
            return found.guard

    @contextlib.contextmanager
    def process(self) -> Iterator[NodeProcess]:
        keys = load_vote_keys(self.config)
        path = self.data_dir / STORE_FOLDER
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(Store.open(path, self.genesis, map_bytes=MAP_BYTES))
            guard = stack.enter_context(open_guard(self.config, keys.owners(self.genesis.chain())))
            sync = stack.enter_context(contextlib.closing(SyncDisk(store, path, self.genesis, MAP_BYTES)))
            wal = stack.enter_context(contextlib.closing(WriteAheadLog(self.data_dir / WAL_FILE)))
            url = f"sqlite:///{self.data_dir / TABLES_FILE}"
            tables = stack.enter_context(contextlib.closing(Tables(url, self.genesis)))
            yield NodeProcess(self.config, keys, store, wal, guard, tables, sync)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- init ----------------------------------------------------------------------------------------


def test_init_makes_a_store_of_height_0_and_a_guard_that_has_signed_nothing(place: Place) -> None:
    assert init_node(place.config) == place.genesis
    assert place.data_dir.stat().st_mode & 0o777 == 0o700
    with Store.open(place.data_dir / STORE_FOLDER, place.genesis, map_bytes=MAP_BYTES) as store:
        assert store.head().height == 0
    guard = place.guard()
    assert guard is not None
    assert (guard.floor, guard.place, guard.is_restored) == (0, (0, 0, 0), False)


# holds CM-21
def test_init_over_a_store_is_refused_and_makes_no_guard(place: Place) -> None:
    init_node(place.config)
    (place.data_dir / GUARD_FILE).unlink()
    with pytest.raises(StorageError):
        init_node(place.config)
    assert not (place.data_dir / GUARD_FILE).exists(), "a new one beside blocks would hide that the old one is lost"


def test_init_beside_a_guard_keeps_what_it_knows(place: Place) -> None:
    init_node(place.config)
    keys = load_vote_keys(place.config)
    with GuardFile(place.data_dir / GUARD_FILE, keys.owners(place.genesis.chain())[0]) as guard:
        guard.save(SignerGuard(floor=7))
    for entry in (place.data_dir / STORE_FOLDER).iterdir():
        entry.unlink()
    (place.data_dir / STORE_FOLDER).rmdir()
    init_node(place.config)
    found = place.guard()
    assert found is not None
    assert found.floor == 7


def test_init_with_a_genesis_file_that_is_none_is_refused(place: Place) -> None:
    place.config.node.genesis.write_bytes(b"\xa0")
    with pytest.raises(DataError, match="no genesis file"):
        init_node(place.config)
    with pytest.raises(DataError):
        load_genesis(place.config)


# ---- taking up -----------------------------------------------------------------------------------


def started(process: NodeProcess) -> Sequence[bytes]:
    """Begin as the engine does, without its threads; return what the log holds."""
    records = process._take_up()
    process._replica.restore([], process._engine.now())
    return records


# holds CM-8
def test_node_with_a_damaged_log_begins_in_quarantine_and_says_so(place: Place) -> None:
    init_node(place.config)
    with place.process() as process:
        started(process)
        assert process._replica.quarantine is None
    with contextlib.closing(WriteAheadLog(place.data_dir / WAL_FILE)) as wal:
        wal.append([b"\xff"])
    with place.process() as process:
        assert started(process) == ()
        assert process._replica.quarantine is not None
        assert "write-ahead log is damaged" in (process._node.unready() or "")
        assert process._engine.failure is None, "it follows"
    with place.process() as process:
        assert started(process) == []
        assert process._replica.quarantine is not None, "a restart ends nothing"
        assert "quarantine" in (process._node.unready() or "")


# holds FP-10
def test_node_takes_up_the_fault_proofs_that_waited_and_tells_who_connects(place: Place) -> None:
    init_node(place.config)
    chain, key = place.genesis.chain(), key_of("grid vote")
    first, second = (
        Statement(Step.PREPARE, 0, digest, key.sign(vote_bytes(chain, 0, Step.PREPARE, 1, 0, digest)).signature)
        for digest in sorted((sha256(b"one"), sha256(b"another")))
    )
    proof = FaultProof(chain, 0, 1, "grid", first, second).encode()
    with place.process() as process:
        assert process._accuse(proof)
    with place.process() as process:
        assert not process._accuse(proof), "it is known already"
        network = Network()
        process._network = cast("Any", network)
        process._connected("lab")
        assert network.sent == [("lab", encode_message(Fault(proof)))]


# ---- following the ledger ------------------------------------------------------------------------


class Ledger:
    """Stands for the chain behind a change of validators."""

    def __init__(self, peers: tuple[Admitted, ...], validators: ValidatorSet) -> None:
        self.peers = peers
        self.epoch = SimpleNamespace(number=1, validators=validators)


class Network:
    def __init__(self) -> None:
        self.renewed: list[tuple[set[str], dict[str, HostPort]]] = []
        self.sent: list[tuple[str, bytes]] = []

    def send(self, member: str, message: bytes) -> None:
        self.sent.append((member, message))

    def renew(self, trust: Trust, addresses: Mapping[str, HostPort]) -> None:
        self.renewed.append((set(trust.members.values()), dict(addresses)))


def turned(process: NodeProcess, place: Place, key: str) -> Network:
    """Let the ledger name another key of this node and other peers."""
    own = Validator("dispatch", place.site.public(key), sha256(b"tls"))
    other = Validator("maker-a", key_of("maker-a vote").verify_key.encode(), sha256(b"other"))
    peers = (place.site.admitted("peer"), place.site.admitted("peer-2", "maker-a", "maker.example:7400"))
    network, ledger = Network(), Ledger(peers, ValidatorSet((own, other)))
    process._chain = cast("Any", ledger)
    process._admission._ledger = ledger
    process._admission._network = cast("Any", network)
    return network


# holds VM-10 VM-11
def test_node_turns_with_the_epoch_to_other_voters_keys_and_peers(place: Place) -> None:
    init_node(place.config)
    with place.process() as process:
        network = turned(process, place, "vote-2")
        process._turn()
        assert process._settings.epoch == 1
        assert process._node.validators == ["dispatch", "maker-a"]
        assert process._keys.active == place.site.public("vote-2")
        assert network.renewed == [({"dispatch", "maker-a"}, {"maker-a": HostPort("maker.example", 7400)})]
        process._guard.save(SignerGuard(floor=3))
        process._turn()
        assert len(network.renewed) == 1
    guard = place.guard()
    assert guard is not None
    assert guard.floor == 3


# holds VM-11
def test_node_that_cannot_renew_its_peers_says_so_and_tries_again_with_the_next_block(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_node(place.config)
    with place.process() as process:
        network = turned(process, place, "vote")

        def fail(_peers: object) -> Trust:
            raise StorageError("peer.key is missing")

        with monkeypatch.context() as patch:
            patch.setattr("master.seat.PeerBook.trust", lambda _self, peers: fail(peers))
            process._turn()
        assert network.renewed == []
        assert "peer.key is missing" in (process._node.unready() or "")
        process._turn()
        assert len(network.renewed) == 1
        assert process._node.unready() is None

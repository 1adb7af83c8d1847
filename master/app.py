"""Joins the parts of a full node in one process and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from typing import Final

import uvloop

from kit.clock import SystemClock
from kit.exitcodes import StorageError
from kit.logs import get_logger
from kit.metrics import new_registry
from kit.tls import mqtt_context
from master.accusations import Accusations
from master.admission import Admission
from master.api.app import build_api, notifier
from master.blobwiring import build_blobs
from master.chain import Chain, VerifiedSignatures
from master.codewatch import CodeWatch, told
from master.complaints import OldestWatch
from master.config import NodeConfig, load_genesis
from master.consensus.events import Now
from master.consensus.fault_messages import Fault
from master.consensus.message_codec import encode_message
from master.down_topics import DownTopics
from master.engine import Engine
from master.entrance import Entrance, entrance_of
from master.headers_down import header_stream
from master.io.guard import GuardFile
from master.io.ingest import Broker, BrokerLink
from master.io.last_words import take_up
from master.io.peers import PeerNetwork
from master.io.proof_file import ProofFile
from master.io.recheck import recheck
from master.io.ring import Ring
from master.io.state_cache import CachedState
from master.io.store import Store
from master.io.sync_disk import SyncDisk
from master.io.tables import Tables
from master.io.wal import WriteAheadLog
from master.joining import adopt_snapshot, build_state_sync, past_of
from master.ledger.application import Application
from master.ledger.call import StateReads
from master.ledger.faults import FaultCourt
from master.ledger.proofs import Prover
from master.making import STORE_FOLDER, TABLES_FILE, WAL_FILE
from master.mempool import Mempool
from master.metrics import NodeMetrics, PeerCounters
from master.node import Node
from master.orders_down import order_stream
from master.process import GRACE_S, collect_rarely, http_server
from master.reading import Reads
from master.recorder import RecordedReplica, Recorder
from master.seams import Hooks, Restart
from master.seat import PeerBook, VoteKeys, check_seat, load_vote_keys, open_guard, settings_at
from master.statesync import Around
from master.tips import Tips
from master.views.events import ViewError
from master.views.fold import catch_up
from master.views.ports import TablesError
from wire.block import BLOCK_BYTES_MAX, Block
from wire.certificate import ValidatorSet
from wire.epochs import EPOCHS_MAX
from wire.genesis import Genesis
from wire.topics import host_topic, node_user
from wire.tx import SignedTx
from wire.types import DIGEST_BYTES, Digest

EVENTS_FOLDER: Final = "events"
INCIDENTS_FOLDER: Final = "incidents"
PROOFS_FILE: Final = "proofs"
BUILD_PARTS: Final = 4
"""Of the time that a fresh block may be old, one part is for executing it before it is sent."""
_GAUGES_EVERY_S: Final = 1.0
_TABLES_RETRY_S: Final = 1.0

_log = get_logger("app")


class NodeProcess:
    """Everything that runs in a full node's process."""

    def __init__(
        self,
        config: NodeConfig,
        keys: VoteKeys,
        store: Store,
        wal: WriteAheadLog,
        guard: GuardFile,
        tables: Tables,
        sync_disk: SyncDisk,
    ) -> None:
        """Build the parts on what is open already; nothing runs before `run`."""
        genesis = load_genesis(config)
        self._config, self._keys = config, keys
        self._clock = SystemClock()
        self._store, self._wal, self._tables = store, wal, tables
        self._registry = new_registry()
        self._metrics = NodeMetrics(self._registry)
        self._counters = PeerCounters(self._metrics)
        self._mempool = Mempool()
        tree = store.state_tree()
        verified, state = VerifiedSignatures(), CachedState(store, tree.is_empty)
        of = (genesis, state, tree, verified, self._mempool.open, self._begun_set)
        with told():
            application = Application(*of, height=store.head().height)
        self._application = application
        self._code = CodeWatch(application)
        self._accusations = Accusations(
            FaultCourt(genesis.chain(), self._begun_set), state, ProofFile(config.node.data_dir / PROOFS_FILE)
        )
        own, pool, known = config.node.member, self._mempool, self._accusations.waiting
        validators = genesis.validator_set()
        about = (store, pool, validators, own, BLOCK_BYTES_MAX, state, known)
        self._chain = Chain(application, *about, patience=self._late)
        epoch = self._chain.epoch
        self._settings = settings_at(genesis, config.node.member, epoch, keys)
        self._guard = guard
        self._recorder = self._build_recorder()
        self._replica = RecordedReplica(keys.sign, self._recorder)
        self._boot_replica()
        self._node = self._build_node(genesis, verified, entrance_of(config.node.member, StateReads(state)))
        self._node.validators = [entry.member for entry in epoch.validators.validators]
        book, peers = PeerBook(config.node.member, config.peers), self._chain.peers
        self._network = PeerNetwork(
            config.peers.listen, book.addresses(peers), book.trust(peers), counters=self._counters
        )
        self._admission = Admission(book, self._network, self._chain, peers)
        self._new_block, self._is_replaced = asyncio.Event(), asyncio.Event()
        self._state_sync = build_state_sync(config, sync_disk, self._around(), self._clock, self._snapshot_blocks)
        of_node = (application, store, self._node, self._mempool, self._network, self._chain)
        self._blobs = build_blobs(config, *of_node, self._release, self._clock)
        deciding = (self._replica, self._settings, self._chain, wal, guard, self._network)
        self._engine = Engine(*deciding, self._hooks(), self._clock)
        self._engine.restart = Restart(lambda: recheck(config.node.data_dir, store, wal, guard), self._boot_replica)
        self._broker = self._build_broker()
        down, by = (self._topics(), config.node.member), (self._broker, self._clock)
        self._headers = header_stream(*down, store.final_header, *by, lambda: self._chain.parameters.heartbeat_ms)
        self._orders = order_stream(*down, store, *by)
        self._reads = Reads(config, store, genesis.chain(), self._clock, secrets.token_hex(8))
        shown = (self._node, store, Prover(store, tree), tables, self._registry)
        self._api = build_api(*shown, blobs=self._blobs, access=self._reads.room)
        self._new_block.set()
        self._views_failure: str | None = None
        self._damage: str | None = None
        self._connect_node()

    def _around(self) -> Around:
        """Return what the sync by snapshots has of the node."""
        return Around(
            self._network.send,
            lambda code, _: self._metrics.reports.labels(code).inc(),
            lambda: self._chain.head.height,
            self._is_replaced.set,
            self._new_block.set,
        )

    def _snapshot_blocks(self) -> int:
        return self._chain.parameters.snapshot_blocks

    def _topics(self) -> DownTopics:
        return DownTopics(lambda: self._chain.gateways)

    def _build_node(self, genesis: Genesis, verified: VerifiedSignatures, entrance: Entrance) -> Node:
        """Join what takes transactions and tells where the node stands."""
        node = Node(
            genesis,
            self._config.node.member,
            version("gridwitness"),
            chain=self._chain,
            application=self._application,
            mempool=self._mempool,
            receipts=self._store,
            replica=self._replica,
            metrics=self._metrics,
            clock=self._clock,
            verified=verified,
        )
        node.entrance = entrance
        return node

    def _hooks(self) -> Hooks:
        """Return what the engine calls."""
        return Hooks(
            applied=self._applied,
            gossip=self._node.take_gossip,
            report=self._report,
            refused_message=self._counters.message_refused,
            is_pending=self._node.has_pending,
            accuse=self._accuse,
            blamed=self._chain.leave_out,
            overheard=lambda *heard: self._blobs.overheard(*heard) or self._state_sync.overheard(*heard),
            holds_back=self._blobs.holds_back,
            gossips=self._blobs.gossips,
            withholds=self._state_sync.withholds,
            waiting_ms=OldestWatch(self._mempool, self._is_acceptable, self._gossip, self._clock).waiting_ms,
            incident=self._keep_events,
            view_left=lambda cause: self._metrics.view_changes.labels(cause).inc(),
        )

    def _boot_replica(self) -> None:
        """Make the replica, and what waits against others, from what is on disk."""
        self._accusations.take_up()
        self._replica.boot(
            settings=self._settings,
            head=self._chain.consensus_head(),
            now=Now(self._clock.now_ms(), self._clock.monotonic_ms()),
            guard=self._guard.guard,
            nonce=secrets.token_bytes(DIGEST_BYTES),
        )

    def _late(self) -> Callable[[], bool]:
        until_ms = self._clock.monotonic_ms() + self._chain.parameters.skew_ms // BUILD_PARTS
        return lambda: self._clock.monotonic_ms() >= until_ms

    def _build_recorder(self) -> Recorder | None:
        node = self._config.node
        if not node.event_log_mib:
            return None
        ring = Ring(node.data_dir / EVENTS_FOLDER, node.data_dir / INCIDENTS_FOLDER, node.event_log_mib << 20)
        return Recorder(ring, version("gridwitness"), self._clock, self._report)

    def _build_broker(self) -> BrokerLink | None:
        mqtt, member = self._config.mqtt, self._config.node.member
        if mqtt is None:
            return None
        context = mqtt_context(mqtt.ca, mqtt.certificate, mqtt.key)
        broker = Broker(mqtt.host, mqtt.port, context, node_user(member), host_topic(member))
        return BrokerLink(
            broker, Tips(self._node.take_from_broker, self._engine.expose, self._counters.tip_refused).take
        )

    def _connect_node(self) -> None:
        node = self._node
        node.wake = self._engine.wake
        node.send_gossip = self._engine.gossip
        node.is_connected = self._network.is_connected
        node.heard_height = lambda member: self._engine.heights.get(member, 0)
        node.past = past_of(self._store, self._state_sync)
        node.failure = lambda: self._engine.failure
        node.views_failure = lambda: (
            self._views_failure or self._quarantine() or self._admission.failure or self._state_sync.unready()
        )
        if self._broker is not None:
            node.publish = self._broker.publish
            node.broker = self._broker.state

    def _quarantine(self) -> str | None:
        reason = self._replica.quarantine
        return None if reason is None else f"in quarantine, this node signs nothing yet: {self._damage or reason}"

    def _is_acceptable(self, signed: SignedTx) -> bool:
        head = self._chain.head
        return self._application.fits(signed, head.height + 1, max(self._clock.now_ms(), head.time_ms + 1))

    def _gossip(self, transactions: Sequence[bytes]) -> None:
        self._engine.gossip(transactions)

    # ---- hooks of the engine ------------------------------------------------------------------

    def _accuse(self, raw: bytes) -> bool:
        proof = self._accusations.add(raw)
        if proof is None:
            return False
        self._counters.fault_proven(proof)
        return True

    def _begun_set(self, epoch: int) -> ValidatorSet | None:
        return self._chain.begun_set(epoch)

    def _turn(self) -> None:
        """Follow the ledger in who decides and who may connect; before the replica hears of the block."""
        epoch = self._chain.epoch
        if epoch.number != self._settings.epoch:
            self._settings = replace(self._settings, epoch=epoch.number, validators=epoch.validators)
            self._node.validators = [entry.member for entry in epoch.validators.validators]
            if self._keys.choose(epoch.validators):
                self._guard.own(self._keys.owners(self._settings.chain)[0])
        self._admission.follow()

    def _applied(self, block: Block) -> None:
        self._turn()
        self._accusations.applied(block.fault_proofs)
        header = block.header
        if header.next_validators_hash == header.validators_hash:
            # a snapshot of the last block of an epoch would lack the proof of who comes after
            self._state_sync.applied(header.height)
        self._blobs.applied(block)
        self._node.applied(block)
        self._headers.applied(block.header)
        self._orders.applied(block)
        self._new_block.set()
        self._code.follow()

    def _release(self, digest: Digest) -> None:
        self._engine.release(digest)

    def _report(self, code: str, _detail: str) -> None:
        self._metrics.reports.labels(code).inc()

    def _keep_events(self, reason: str) -> None:
        """Keep the event log of something that must never happen."""
        if self._recorder is not None:
            self._recorder.note(reason)
            self._recorder.keep()

    def _connected(self, member: str) -> None:
        self._engine.on_connected(member)
        # what arrived here while there was no connection would else wait until this node leads
        self._engine.gossip(self._node.waiting(), member)
        for proof in self._accusations.waiting():
            self._network.send(member, encode_message(Fault(proof)))

    # ---- running ------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Serve until SIGTERM or SIGINT, or until a fetched snapshot lies ready; return True for that one."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = http_server(self._api, self._config.api.listen)
        await self._network.start(self._engine.receive, self._connected, self._engine.on_gone)
        tasks = [
            asyncio.create_task(self._decide()),
            asyncio.create_task(self._follow_views()),
            asyncio.create_task(self._refresh_gauges()),
            asyncio.create_task(self._state_sync.run()),
            asyncio.create_task(self._blobs.run()),
            asyncio.create_task(self._reads.run(lambda raw: self._node.take(raw, "http"))),
            asyncio.create_task(server.serve()),
        ]
        if self._broker is not None:
            self._broker.start()
        stopping = asyncio.create_task(stop.wait())
        replaced = asyncio.create_task(self._is_replaced.wait())
        if not self._settings.is_seated(self._settings.validators):
            _log.warning("follows without a vote", member=self._settings.member)
        _log.info("running", member=self._settings.member, chain=self._settings.chain, height=self._chain.head.height)
        try:
            await asyncio.wait((*tasks, stopping, replaced), return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            notifier(self._api).close()
            replaced.cancel()
            await self._stop(tasks, stopping)
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                task.result()
        return self._is_replaced.is_set() and not stop.is_set()

    async def _stop(self, tasks: list[asyncio.Task[None]], stopping: asyncio.Task[bool]) -> None:
        stopping.cancel()
        if self._broker is not None:
            await self._broker.stop()
        await self._network.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await asyncio.wait(tasks[-1:])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reads.log.close()
        if self._recorder is not None:
            self._recorder.close()

    async def _decide(self) -> None:
        """Run the replica; should its disk fail, go on serving reads without it."""
        await self._engine.run(self._take_up)
        await asyncio.Event().wait()

    def _take_up(self) -> Sequence[bytes]:
        """Return what the write-ahead log holds; one that is damaged puts the node into quarantine."""
        words = take_up(self._wal, self._guard)
        self._damage = words.damage
        if words.damage is not None:
            _log.critical("signs nothing before the others are past it", reason=words.damage)
            self._report("log-damaged", words.damage)
            self._boot_replica()
        return words.records

    async def _follow_views(self) -> None:
        """Bring the query tables up to date after every block, then wake the event streams."""
        worker = ThreadPoolExecutor(1, thread_name_prefix="views")
        loop = asyncio.get_running_loop()
        try:
            while self._views_failure is None:
                await self._new_block.wait()
                self._new_block.clear()
                if self._tables.position().complete_height + 1 < self._store.archive.known_from():
                    continue  # the past is still being filled in
                try:
                    await loop.run_in_executor(worker, catch_up, self._store, self._tables, self._chain.head.height)
                except TablesError as error:
                    _log.error("the query tables could not be written; trying again", reason=str(error))
                    await asyncio.sleep(_TABLES_RETRY_S)
                    self._new_block.set()
                except ViewError as error:
                    # a mistake of ours in a view: agreement goes on, but the lists here stand still
                    self._views_failure = str(error)
                    _log.critical("the query tables stand still", reason=str(error))
                else:
                    notifier(self._api).notify()
            await asyncio.Event().wait()
        finally:
            worker.shutdown(wait=True)

    async def _refresh_gauges(self) -> None:
        counted = {"broker": 0, "gateways": 0, "peers": 0}
        while True:
            self._node.refresh_gauges()
            if self._admission.failure is not None:
                self._admission.follow()  # without connections no block may come that would try again
            to_broker, of_gateways = (0, 0) if self._broker is None else (self._broker.dropped, self._broker.unheard)
            dropped = {"broker": to_broker, "gateways": of_gateways, "peers": self._network.dropped}
            for queue, number in dropped.items():
                self._metrics.dropped.labels(queue).inc(number - counted[queue])
            counted = dropped
            self._metrics.broker.set(self._broker is not None and self._broker.is_connected)
            await asyncio.sleep(_GAUGES_EVERY_S)


def run_node(config: NodeConfig) -> None:
    """Run a full node until it is told to stop.

    Raises:
        StorageError: The store is missing, damaged or in use.
        ConfigurationError: Keys, members and genesis do not fit together.
    """
    genesis = load_genesis(config)
    collect_rarely()
    keys = load_vote_keys(config)
    check_seat(config, genesis, keys, is_following=True)
    if not config.node.data_dir.is_dir():
        raise StorageError(f"{config.node.data_dir}: there is none; make it and the store with: gridwitness-node init")
    while True:
        with open_guard(config, keys.owners(genesis.chain())) as guard:
            adopt_snapshot(config.node.data_dir / STORE_FOLDER, genesis, config.node.map_mib << 20, guard)
        if not _run_on_store(config, genesis, keys):
            return


def _run_on_store(config: NodeConfig, genesis: Genesis, keys: VoteKeys) -> bool:
    """Run the node until it is told to stop, or until another store is to take the place of this one: True."""
    node, map_bytes = config.node, config.node.map_mib << 20
    path = node.data_dir / STORE_FOLDER
    with Store.open(path, genesis, map_bytes=map_bytes) as store:
        ends = store.epoch_ends(EPOCHS_MAX)
        keys.choose(ends[-1].validators if ends else genesis.validator_set())
        url = node.database_url or f"sqlite:///{node.data_dir / TABLES_FILE}"
        try:
            tables = Tables(url, genesis)
        except TablesError as error:
            raise StorageError(f"query tables of {node.member}: {error}") from error
        wal = WriteAheadLog(node.data_dir / WAL_FILE)
        try:
            with (
                open_guard(config, keys.owners(genesis.chain())) as guard,
                contextlib.closing(SyncDisk(store, path, genesis, map_bytes)) as sync_disk,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                return runner.run(_run(config, keys, store, wal, guard, tables, sync_disk))
        except OSError as error:
            raise StorageError(f"node {node.member}: {error}") from error
        finally:
            wal.close()
            tables.close()


async def _run(
    config: NodeConfig,
    keys: VoteKeys,
    store: Store,
    wal: WriteAheadLog,
    guard: GuardFile,
    tables: Tables,
    sync_disk: SyncDisk,
) -> bool:
    return await NodeProcess(config, keys, store, wal, guard, tables, sync_disk).run()

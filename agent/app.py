"""The running gateway: joins pollers, reports, outbox, broker and receipts, and keeps all of them alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from typing import Final, ParamSpec, TypeVar

from agent import attest
from agent.attest import DeviceState, Signer
from agent.config import AgentConfig
from agent.diagnosing import Diagnostics
from agent.drivers.table import DRIVERS
from agent.io.clock import GradedClock
from agent.io.headers import HeaderStore
from agent.io.ledgertime import AHEAD_MS
from agent.io.metrics import AgentCollector
from agent.io.mqtt import Broker, BrokerLink, Hooks, Topics
from agent.io.outbox import SEQ_WINDOW, Depth, Outbox, Pending
from agent.io.packages import PackageStore
from agent.io.statefile import StateFolder
from agent.io.trust import TAKEN, Believed, NotProven, Ordered, Settled, Trust
from agent.orders import OrderDesk
from agent.poller import DevicePoller
from agent.reports import ReportLoop
from agent.snapshot import BlockSnapshot, BrokerSnapshot, DeviceSnapshot, OutboxSnapshot, Snapshot, TrustSnapshot
from kit.clock import SystemClock
from kit.exitcodes import DataError
from kit.files import read_bounded
from kit.keystore import load_signing_key
from kit.logs import get_logger
from kit.metrics import new_registry, serve_metrics
from kit.tls import mqtt_context
from wire import lightclient
from wire.errors import WireError
from wire.evidence import Evidence
from wire.genesis import GENESIS_BYTES_MAX, Genesis, decode_genesis
from wire.readorder import Demand
from wire.types import EVIDENCE_DEVICES_MAX

TX_VALID_MS: Final = 10 * 60 * 1000
"""For how long a transaction may be included; evidence that is older is wrapped anew."""
EXPIRY_MARGIN_MS: Final = 10_000
HEARTBEAT_MS: Final = 30_000
"""Of a ledger whose genesis file does not say, nor the configuration."""
HEARTBEATS_FRESH: Final = 3
"""A block comes every heartbeat, a header of it at least every second one."""
SNAPSHOT_S: Final = 1.0
STATUS_S: Final = 3.0
STOP_S: Final = 5.0
RESTART_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
CARRY_AGAIN_MS: Final = 10_000
"""Shortest time between two reports made because the ledger refused one."""
TOLD_AGAIN: Final = ("conflict", "too-old", "unknown-item")
"""Refusals of a report, not of what it says: a new one, under a new number and with whole items, may be taken."""

_log = get_logger("agent")
P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class Agent:
    """Everything of one gateway, from its start to its stop.

    Args:
        config: Checked configuration.

    Raises:
        GridwitnessError: Something is missing, damaged or held by another agent.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._clock = GradedClock(SystemClock())
        self._version = version("gridwitness")  # once: an upgrade takes what is installed away for a moment
        self._genesis = load_genesis(config)
        key = load_signing_key(config.agent.key)
        self._signer = Signer(config.agent.gateway, self._genesis.chain(), key.signing_key)
        self._warnings = list(enrolment_warnings(config, self._genesis, key.public))
        tls = mqtt_context(config.mqtt.ca, config.mqtt.certificate, config.mqtt.key)
        self._broker = Broker(config.mqtt.host, config.mqtt.port, tls, config.agent.gateway)
        self._folder = StateFolder(config.agent.state_dir)
        try:
            self._outbox = Outbox(
                self._folder.outbox_path,
                self._signer.transaction,
                bytes_max=config.outbox.bytes_max,
                valid_ms=TX_VALID_MS,
            )
            self._boot = self._outbox.begin_boot(self._clock.now_ms(), key.kid)
            self._headers = HeaderStore(self._folder.headers_path, self._genesis)
        except BaseException:
            self._folder.release()
            raise
        clocks = (self._clock.best_ms, self._clock.ledger)
        self._trust = Trust(self._genesis, self._outbox, self._headers, *clocks, config.agent.gateway)
        self._head_age_ms_max = HEARTBEATS_FRESH * heartbeat_ms(config, self._genesis)
        self._disk_thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._seq_taken = 0
        self._is_split = False
        self._carried_again_ms: int | None = None
        self._left_out = 0
        self._down: dict[str, int] = {}
        self._fault_proofs: tuple[bytes, ...] = ()
        """What follows from conflicts; full nodes bring it into the ledger."""
        self._snapshot: Snapshot | None = None
        known = self._outbox.states()
        self._packages = PackageStore(config.agent.state_dir)
        self._packages.refresh()
        diagnostics = Diagnostics(self._packages)
        self._pollers = tuple(
            DevicePoller(
                device,
                DRIVERS[device.protocol].open(device, config.profiles[device.profile], self._clock),
                known.get(device.id),
                self._clock,
                self._note_change,
                diagnostics,
            )
            for device in config.device_configs()
        )
        self._reports = ReportLoop(self._pollers, self, self._clock, config.poll.report_interval_s * 1000)
        self._desk = OrderDesk(self._pollers, self, self._clock.best_ms)
        topics = Topics(config.agent.area, config.agent.station, config.agent.gateway)
        hooks = Hooks(self._birth, self._health, self.take, lambda: self._fault_proofs)
        self._link = BrokerLink(self._broker, topics, self._boot, self, hooks, self._clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then end cleanly: what is in the outbox stays there."""
        for warning in self._warnings:
            _log.warning("enrolment", detail=warning)
        await self._take_snapshot(is_running=True)
        registry = new_registry()
        registry.register(AgentCollector(lambda: self._snapshot))
        metrics = None if self._config.metrics is None else serve_metrics(registry, self._config.metrics.listen)
        _log.info("agent_started", gateway=self._config.agent.gateway, boot=self._boot, devices=len(self._pollers))
        works = [supervised(f"poll {poller.config.id}", poller.run) for poller in self._pollers]
        works += [supervised("reports", self._reports.run), supervised("status", self._show)]
        works.append(supervised("orders", self._desk.run))
        tasks = [asyncio.ensure_future(work) for work in works]
        link = asyncio.ensure_future(supervised("broker", self._link.run))
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._link.stop()
            await asyncio.wait([link], timeout=STOP_S)
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)
            await self._take_snapshot(is_running=False)
            if metrics is not None:
                metrics.close()
            self._close()
            _log.info("agent_stopped", gateway=self._config.agent.gateway, boot=self._boot)

    def _close(self) -> None:
        self._disk_thread.shutdown()
        self._outbox.close()
        self._headers.close()
        self._folder.release()

    async def _disk(self, work: Callable[P, ResultT], /, *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Run what may wait for the disk in the one thread that does so, in order."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._disk_thread, lambda: work(*args, **kwargs))

    # --- reports --------------------------------------------------------------------------------------------------

    def _note_change(self) -> None:
        self._reports.note_change()

    async def store(self, states: Sequence[DeviceState], *, droppable: bool) -> None:
        """Put a report into the outbox and have it sent."""
        await self._store(states, droppable=droppable)

    async def answer(self, states: Sequence[DeviceState], demand: Demand) -> None:
        """Put the answer to a read order into the outbox and have it sent."""
        await self._store(states, droppable=False, answers=demand)

    async def _store(self, states: Sequence[DeviceState], *, droppable: bool, answers: Demand | None = None) -> None:
        clock = self._clock.graded()
        block = self._trust.block
        devices_max = 1 if self._is_split else EVIDENCE_DEVICES_MAX
        nonce = None if answers is None else answers.nonce

        def build(boot: int, seq: int) -> Sequence[Evidence]:
            about = (self._config.agent.gateway, (boot, seq), clock, block, states)
            return attest.build_evidence(*about, devices_max=devices_max, nonce=nonce)

        added = await self._disk(self._outbox.add, build, states, clock.time_ms, droppable=droppable, answers=answers)
        self._left_out += added.left_out
        self._link.wake()

    async def pending(self, limit: int) -> list[Pending]:
        """Return what has no receipt, oldest first."""
        return await self._disk(self._outbox.pending, limit)

    async def current(self, entry: Pending, *, is_stuck: bool) -> Pending | None:
        """Return what to send of this evidence, wrapped anew when the ledger would not take its transaction."""
        ledger_ms = max(self._clock.best_ms(), self._trust.block_time_ms)
        is_expired = entry.valid_until_ms <= ledger_ms + EXPIRY_MARGIN_MS
        is_too_long = entry.valid_until_ms > ledger_ms + TX_VALID_MS + AHEAD_MS
        is_below_window = entry.seq + SEQ_WINDOW <= self._seq_taken
        is_refused = self._outbox.has_other_key(entry) or is_below_window
        if is_expired or is_too_long or is_refused or is_stuck:
            return await self._disk(self._outbox.rewrap, entry.evidence, ledger_ms)
        return entry

    # --- what comes down ------------------------------------------------------------------------------------------

    async def take(self, payload: bytes) -> None:
        """Judge one item from the full nodes; without proof it is counted and forgotten."""
        states = {poller.config.id: poller.state for poller in self._pollers if poller.state is not None}
        verdict = await self._disk(self._trust.take, payload, states)
        if isinstance(verdict, NotProven):
            self._count_down(verdict.result)
            # a receipt that comes a second time is usual, since every node answers a resend
            logs = {"unknown-transaction": _log.debug, "answered": _log.debug, "conflict": _log.critical}
            logs.get(verdict.result, _log.warning)("down_not_proven", result=verdict.result, detail=verdict.detail)
            if verdict.result == "conflict":
                await self._disk(self._folder.write_conflicts, self._headers.conflicts())
            return
        if isinstance(verdict, Believed):
            self._count_down("header" if verdict.is_new else "header-known")
            self._link.wake()  # what was refused for its time may be sent again
            return
        if isinstance(verdict, Ordered):
            self._count_down(f"order-{self._desk.take(verdict.demand)}")
            self._link.wake()
            return
        self._count_down("settled" if verdict.code in TAKEN else f"refused-{verdict.code}")
        self._seq_taken = max(self._seq_taken, verdict.seq)
        self._apply(verdict)
        self._link.settled(verdict.evidence)
        if verdict.code not in TAKEN:
            self._answer_refusal(verdict)

    def _count_down(self, result: str) -> None:
        self._down[result] = self._down.get(result, 0) + 1

    def _apply(self, verdict: Settled) -> None:
        changed = {state.device: state for state in verdict.states}
        for poller in self._pollers:
            state = changed.get(poller.config.id)
            now = poller.state
            if state is not None and now is not None and now.item_digest == state.item_digest:
                poller.state = replace(now, has_receipt=state.has_receipt)

    def _answer_refusal(self, verdict: Settled) -> None:
        """Do what may help after a report that the contract refused: it will not take it later either."""
        devices = [entry.device for entry in verdict.report.devices]
        _log.error("report_refused", code=verdict.code, devices=devices, boot=verdict.report.boot)
        if verdict.code in {"unknown-device", "foreign-device"} and not self._is_split:
            # One device that is not enrolled must not keep the others out of the ledger.
            self._is_split = True
            self._warnings.append(
                f"the ledger refused a report about {', '.join(devices)} with {verdict.code}: one of them is not "
                "enrolled for this gateway; each device is now reported alone"
            )
            self._reports.note_change()
        now_ms = self._clock.monotonic_ms()
        rested = self._carried_again_ms is None or now_ms - self._carried_again_ms >= CARRY_AGAIN_MS
        if verdict.code in TOLD_AGAIN and rested:
            self._carried_again_ms = now_ms
            self._reports.note_change()

    # --- what it shows --------------------------------------------------------------------------------------------

    def _birth(self) -> dict[str, object]:
        devices = [
            {"device": poller.config.id, "protocol": poller.config.protocol, "profile": poller.config.profile}
            for poller in self._pollers
        ]
        return {"version": self._version, "chain": self._signer.chain, "devices": devices}

    def _health(self) -> dict[str, object]:
        assert self._snapshot is not None, "taken before the first connection"
        return self._snapshot.health()

    async def _show(self) -> None:
        written_s = 0.0
        while True:
            now_s = time.monotonic()
            is_due = now_s - written_s >= STATUS_S
            await self._take_snapshot(is_running=True, write=is_due)
            written_s = now_s if is_due else written_s
            await asyncio.sleep(SNAPSHOT_S)

    async def _take_snapshot(self, *, is_running: bool, write: bool = True) -> None:
        depth = await self._disk(self._outbox.depth)
        trust = await self._disk(self._judge_trust)
        await self._disk(self._packages.refresh)
        self._snapshot = self._picture(depth, trust, is_running=is_running)
        if write:
            with contextlib.suppress(OSError):  # a full disk shows in the outbox; the status is only a copy
                await self._disk(self._folder.write_status, self._snapshot.to_value())

    def _judge_trust(self) -> TrustSnapshot:
        """Take an anchor that was given, and say what is believed; runs where the disk is."""
        raw = self._folder.given_anchor()
        if raw is not None:
            try:
                _log.warning("anchor_taken", height=self._trust.anchor(raw))
            except WireError as error:
                _log.error("anchor_refused", detail=str(error))
            self._folder.remove_anchor()
        conflicts = self._headers.conflicts()
        proofs = (lightclient.fault_proofs(lightclient.decode_conflict(conflict)) for conflict in conflicts)
        self._fault_proofs = tuple(dict.fromkeys(proof.encode() for found in proofs for proof in found))
        age_ms = lightclient.age_ms(self._headers.state, self._clock.best_ms())
        return TrustSnapshot(
            is_expired=self._trust.is_expired(),
            head_age_ms=age_ms,
            is_stale=age_ms is not None and age_ms > self._head_age_ms_max,
            head_age_ms_max=self._head_age_ms_max,
            conflicts=len(conflicts),
        )

    def _picture(self, depth: Depth, trust: TrustSnapshot, *, is_running: bool) -> Snapshot:
        clock = self._clock.graded()
        link = self._link.figures
        oldest_age_ms = 0 if depth.oldest_ms is None else max(0, clock.time_ms - depth.oldest_ms)
        block = self._trust.block
        return Snapshot(
            gateway=self._config.agent.gateway,
            chain=self._signer.chain,
            version=self._version,
            pid=os.getpid(),
            boot=self._boot,
            time_ms=clock.time_ms,
            clock_grade=clock.grade,
            clock_source=clock.source,
            clock_offset_ms=clock.offset_ms,
            is_running=is_running,
            devices=tuple(_device_snapshot(poller) for poller in self._pollers),
            outbox=OutboxSnapshot(depth.items, depth.bytes, oldest_age_ms),
            broker=BrokerSnapshot(
                f"{self._broker.host}:{self._broker.port}",
                link.is_connected,
                link.connects,
                link.failures,
                link.sent,
                link.resent,
                link.last_error,
            ),
            block=BlockSnapshot(block.height, block.digest.hex()),
            trust=trust,
            reports=dict(self._reports.figures.by_cause),
            reports_refused=self._reports.figures.refused,
            left_out=self._left_out,
            down=dict(self._down),
            warnings=(*self._warnings, *trust.warnings()),
        )


def _device_snapshot(poller: DevicePoller) -> DeviceSnapshot:
    state, figures, counters = poller.state, poller.figures, poller.driver.counters
    digest = None if state is None or state.item_digest is None else state.item_digest.hex()
    return DeviceSnapshot(
        device=poller.config.id,
        status=state.status if state is not None and poller.was_polled else "not-yet-read",
        last_read_ms=None if state is None else state.read_to_ms,
        oldest_read_ms=None if state is None else state.read_from_ms,
        item=digest,
        has_receipt=state is not None and state.has_receipt,
        differences=poller.differences(),
        last_error=figures.last_error,
        last_duration_ms=figures.last_duration_ms,
        polls=figures.polls,
        rereads=figures.rereads,
        missed=figures.missed,
        changes=figures.changes,
        failures=dict(figures.failures),
        requests=counters.requests,
        bytes_read=counters.bytes_read,
        busy=counters.busy,
        connections=counters.connections,
    )


async def supervised(
    name: str, work: Callable[[], Awaitable[None]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Run ``work``; whatever it raises, run it again after a pause, until it returns or is cancelled."""
    attempt = 0
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - one part that fails must not end the others
            _log.error("part_failed", part=name, exc_info=error)
        else:
            return
        await sleep(RESTART_S[min(attempt, len(RESTART_S) - 1)])
        attempt += 1


def load_genesis(config: AgentConfig) -> Genesis:
    """Read the genesis file.

    Raises:
        DataError: It is no genesis file.
    """
    path = config.agent.genesis
    try:
        return decode_genesis(read_bounded(path, bytes_max=GENESIS_BYTES_MAX))
    except WireError as error:
        raise DataError(f"{path} is no genesis file: {error}") from error


def heartbeat_ms(config: AgentConfig, genesis: Genesis) -> int:
    """Return how often the ledger makes a block at least, as far as this gateway was told, milliseconds."""
    told = config.agent.heartbeat_ms or genesis.parameters.get("heartbeat_ms", HEARTBEAT_MS)
    assert isinstance(told, int), "a genesis file is checked"
    return told


def enrolment_warnings(config: AgentConfig, genesis: Genesis, public_key: bytes) -> Sequence[str]:
    """Return what of the configuration the genesis file does not know; it may have been enrolled later."""
    agent = config.agent
    warnings = []
    gateways = {gateway.id: gateway.station for gateway in genesis.gateways}
    areas = {station.id: station.area for station in genesis.stations}
    if agent.gateway not in gateways:
        warnings.append(f"gateway {agent.gateway} is not in the genesis file")
    elif (gateways[agent.gateway], areas[gateways[agent.gateway]]) != (agent.station, agent.area):
        station = gateways[agent.gateway]
        warnings.append(
            f"the genesis file has gateway {agent.gateway} in station {station}, area {areas[station]}; "
            f"the configuration says station {agent.station}, area {agent.area}"
        )
    if not any(entry.key == public_key and entry.sender == agent.gateway for entry in genesis.keys):
        warnings.append(f"{agent.key} is not a key of {agent.gateway} in the genesis file")
    enrolled = {device.id: device.gateway for device in genesis.devices}
    warnings += [
        f"device {device.id} is not enrolled for gateway {agent.gateway} in the genesis file"
        for device in config.device_configs()
        if enrolled.get(device.id) != agent.gateway
    ]
    return [f"{warning}; well if the ledger was told since: gridwitness members show OWNER" for warning in warnings]


async def run_until_signal(config: AgentConfig) -> None:
    """Run a gateway until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Agent(config).run(stop)

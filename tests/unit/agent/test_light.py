"""The running gateway as a light node: wrong clocks, old heads, contradictions, long sleep."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import agent.app
from agent.app import HEARTBEAT_MS, HEARTBEATS_FRESH, TX_VALID_MS, heartbeat_ms
from agent.config import load_agent_config
from agent.io.headers import TRUSTING_MS
from agent.io.ledgertime import AHEAD_MS
from agent.io.statefile import ANCHOR_FILE, CONFLICTS_FOLDER
from kit.clock import SystemClock
from kit.exitcodes import ConfigurationError
from master.contracts.parameters import INTEGERS
from tests.unit.agent.site import write_site
from tests.unit.agent.test_app import DOWN, Site, evidence_of, running
from tests.unit.agent.test_cli import call
from tests.unit.firmware_sim.bench import device
from tests.unit.wire.samples import GENESIS, HEADER, MEMBERS, certify
from tests.unit.wire.test_anchor import ROOTED, signed
from wire.faultproof import decode_fault_proof
from wire.finality import FinalHeader, encode_header_item
from wire.genesis import Genesis
from wire.header import Header
from wire.lightclient import decode_conflict, verify_conflict
from wire.tx import open_tx

NOW_MS = GENESIS.time_ms + 24 * 3600 * 1000
"""What time it is at the ledger."""
FRESH = replace(HEADER, time_ms=NOW_MS)


class SetClock:
    """A clock that a test sets; the machine's runs on beneath it."""

    def __init__(self) -> None:
        self._inner = SystemClock()
        self.ahead_ms = 0
        self.slept_ms = 0

    def set(self, now_ms: int) -> None:
        self.ahead_ms = now_ms - self._inner.now_ms()

    def now_ms(self) -> int:
        return self._inner.now_ms() + self.ahead_ms + self.slept_ms

    def monotonic_ms(self) -> int:
        return self._inner.monotonic_ms() + self.slept_ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    made = SetClock()
    made.set(NOW_MS)
    monkeypatch.setattr(agent.app, "SystemClock", lambda: made)
    monkeypatch.setattr("agent.io.clock.kernel_is_synchronised", lambda: False)
    return made


async def hear(site: Site, header: Header, signers: tuple[str, ...] = MEMBERS[:3]) -> None:
    await site.fake.until("health")
    await site.fake.send(DOWN, encode_header_item(FinalHeader(header, certify(header, signers), ())))


async def status_until(site: Site, field: str, value: object) -> Mapping[str, Any]:
    """Wait until the snapshot says so, and return the status as it is written."""

    def shown() -> Mapping[str, Any]:
        assert site.agent._snapshot is not None
        found: Mapping[str, Any] = json.loads(json.dumps(site.agent._snapshot.to_value()))
        return found

    await site.until(lambda: site.agent._snapshot is not None)
    await site.until(lambda: shown()["trust"][field] == value)
    return shown()


# holds LC-10
@pytest.mark.parametrize("wrong_ms", [0, NOW_MS + 20 * 365 * 24 * 3600 * 1000], ids=["1970", "twenty years ahead"])
def test_gateway_whose_clock_is_wrong_recovers_by_a_header(tmp_path: Path, clock: SetClock, wrong_ms: int) -> None:
    clock.set(wrong_ms)

    async def work() -> None:
        async with running(tmp_path, device()) as site:
            (first,) = await site.fake.until("tx")
            assert not NOW_MS < open_tx(first.payload).tx.valid_until_ms <= NOW_MS + TX_VALID_MS + AHEAD_MS
            assert evidence_of(first).clock.source == "system"
            await hear(site, FRESH)
            await site.until(lambda: site.agent._down.get("header") == 1)
            (entry,) = await site.agent.pending(9)
            again = await site.agent.current(entry, is_stuck=False)
            assert again is not None
            assert again.raw != first.payload
            assert NOW_MS < open_tx(again.raw).tx.valid_until_ms <= NOW_MS + TX_VALID_MS + AHEAD_MS
            assert evidence_of(replace(first, payload=again.raw)) == evidence_of(first)
            assert await site.agent.current(again, is_stuck=False) == again
            site.agent._note_change()
            second = (await site.fake.until("tx", 2))[-1]
            said = evidence_of(second)
            assert (said.clock.source, said.clock.grade, said.block.height) == ("ledger", "suspect", 42)
            assert abs(said.clock.time_ms - NOW_MS) < 60_000
            assert said.clock.offset_ms is not None
            assert abs(said.clock.offset_ms - (wrong_ms - NOW_MS)) < 60_000

    asyncio.run(work())


# holds LC-7
def test_head_that_is_too_old_is_said_in_status_and_health(tmp_path: Path, clock: SetClock) -> None:
    async def work() -> None:
        async with running(tmp_path, device()) as site:
            assert (await status_until(site, "head_age_ms", None))["trust"]["is_stale"] is False
            await hear(site, FRESH)
            await site.until(lambda: site.agent._down.get("header") == 1)
            clock.slept_ms = HEARTBEATS_FRESH * HEARTBEAT_MS + 1000
            shown = await status_until(site, "is_stale", value=True)
            assert shown["trust"]["head_age_ms"] > HEARTBEATS_FRESH * HEARTBEAT_MS
            assert any("stands still or is cut off" in warning for warning in shown["warnings"])
            assert site.agent._health()["head_stale"] is True
            await hear(site, replace(FRESH, height=43, parent=FRESH.digest(), time_ms=NOW_MS + clock.slept_ms))
            await status_until(site, "is_stale", value=False)
            assert site.agent._health()["head_stale"] is False

    asyncio.run(work())


def test_default_heartbeat_is_that_of_the_ledger() -> None:
    assert INTEGERS["heartbeat_ms"].default == HEARTBEAT_MS


# holds LC-7
def test_heartbeat_is_what_the_configuration_says_else_the_genesis_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_site(tmp_path, broker_port=1883, devices=[("sps-1", 502)])
    told = replace(GENESIS, parameters={**GENESIS.parameters, "heartbeat_ms": 2_000})
    assert [heartbeat_ms(load_agent_config(path), genesis) for genesis in (GENESIS, told)] == [HEARTBEAT_MS, 2_000]
    monkeypatch.setenv("GRIDWITNESS_AGENT__AGENT__HEARTBEAT_MS", "60000")
    assert heartbeat_ms(load_agent_config(path), told) == 60_000
    monkeypatch.setenv("GRIDWITNESS_AGENT__AGENT__HEARTBEAT_MS", "3600001")
    with pytest.raises(ConfigurationError, match="heartbeat_ms"):
        load_agent_config(path)


def proofs_in(site: Site) -> list[bytes]:
    return [message.payload for message in site.fake.of("tx") if message.payload[:1] != b"\xd2"]


# holds LC-4 LC-11
def test_contradiction_is_written_into_a_file_and_said(tmp_path: Path, clock: SetClock) -> None:
    async def work() -> None:
        async with running(tmp_path, device()) as site:
            await hear(site, FRESH)
            await hear(site, replace(FRESH, tx_root=bytes(32)))
            shown = await status_until(site, "conflicts", 1)
            assert any("contradicted themselves" in warning for warning in shown["warnings"])
            assert site.agent._health()["conflicts"] == 1
            site.fake.cut()  # every connection begins with what is known
            await site.until(lambda: len(proofs_in(site)) == 3)
            assert [decode_fault_proof(raw).member for raw in proofs_in(site)] == list(MEMBERS[:3])
            (path,) = (tmp_path / "state" / CONFLICTS_FOLDER).iterdir()
            assert verify_conflict(decode_conflict(path.read_bytes()), GENESIS) == MEMBERS[:3]

    asyncio.run(work())


def write_genesis(folder: Path, genesis: Genesis) -> None:
    (folder / "genesis.cbor").write_bytes(genesis.encode())


# holds LC-8 LC-9
def test_gateway_that_slept_too_long_says_so_and_takes_an_anchor(
    tmp_path: Path, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(tmp_path / "agent.toml")
    known = replace(FRESH, chain=ROOTED.chain())

    async def live() -> None:
        async with running(tmp_path, device()) as site:
            await site.fake.until("tx")
        write_genesis(tmp_path, ROOTED)
        (tmp_path / "state" / "headers.sqlite").unlink()
        async with running(tmp_path) as site:
            await hear(site, known)
            await status_until(site, "is_expired", value=False)
            await site.until(lambda: site.agent._down.get("header") == 1)
        clock.ahead_ms += 2 * TRUSTING_MS
        async with running(tmp_path) as site:
            shown = await status_until(site, "is_expired", value=True)
            assert any("gridwitness-agent trust anchor" in warning for warning in shown["warnings"])
            assert site.agent._health()["trust_expired"] is True
            header = replace(known, height=9000, time_ms=clock.now_ms() - 1000)
            await hear(site, header)
            await site.until(lambda: site.agent._down.get("trust-expired") == 1)
            assert site.waiting() >= 1
            anchor = tmp_path / "anchor.cbor"
            anchor.write_bytes(signed(MEMBERS[0], final=FinalHeader(header, certify(header), ())).encode())
            assert await asyncio.to_thread(call, monkeypatch, "trust", "anchor", str(anchor), "--config", config) == 65
            # put there by somebody else it is refused as well
            (tmp_path / "state" / ANCHOR_FILE).write_bytes(anchor.read_bytes())
            await site.until(lambda: not (tmp_path / "state" / ANCHOR_FILE).exists())
            await status_until(site, "is_expired", value=True)
            anchor.write_bytes(signed(*MEMBERS[:2], final=FinalHeader(header, certify(header), ())).encode())
            assert await asyncio.to_thread(call, monkeypatch, "trust", "anchor", str(anchor), "--config", config) == 0
            await status_until(site, "is_expired", value=False)
            await hear(site, replace(header, height=9001, parent=header.digest(), time_ms=clock.now_ms()))
            await site.until(lambda: site.agent._down.get("header") == 1)

    asyncio.run(live())

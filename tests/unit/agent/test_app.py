"""The whole gateway in one process, with simulated devices, a small broker with TLS, and true receipts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.app import Agent, enrolment_warnings, supervised
from agent.config import load_agent_config
from client.demo.ports import free_ports
from firmware_sim.contents import Artefact, artefact
from firmware_sim.device import Device
from firmware_sim.faults import Fault
from kit.exitcodes import DataError, StorageError, TryAgainError
from tests.unit.agent.bench import served
from tests.unit.agent.broker import FakeBroker, Published, broker
from tests.unit.agent.site import broker_context, write_key, write_site
from tests.unit.agent.test_trust import receipt_for
from tests.unit.firmware_sim.bench import device
from tests.unit.wire.samples import GENESIS, public_of
from wire.evidence import Evidence, decode_evidence
from wire.tx import open_tx

DOWN = "gridwitness/v1/east/station-1/gw-1/down"


def evidence_of(message: Published) -> Evidence:
    raw = open_tx(message.payload).tx.args["evidence"]
    assert isinstance(raw, bytes)
    return decode_evidence(raw)


@dataclass
class Site:
    folder: Path
    agent: Agent
    fake: FakeBroker
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def receipt(self, message: Published, code: str = "ok", height: int = 42) -> None:
        await self.fake.send(DOWN, receipt_for(message.payload, code=code, height=height).encode())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():  # noqa: ASYNC110 - the agent has no event for tests
                await asyncio.sleep(0.005)

    def waiting(self) -> int:
        return self.agent._outbox.depth().items

    async def settled(self, count: int = 1) -> None:
        await self.until(lambda: self.agent._down.get("settled", 0) == count)


@contextlib.asynccontextmanager
async def running(folder: Path, *devices: Device) -> AsyncIterator[Site]:
    async with contextlib.AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(served(one)) for one in devices]
        (port,) = free_ports(1)
        named = [(f"sps-{number}", each) for number, each in enumerate(ports, start=1)]
        path = folder / "agent.toml"
        if not path.exists():
            write_site(folder, broker_port=port, devices=named)
        config = load_agent_config(path)
        fake = await stack.enter_async_context(broker(port=config.mqtt.port, tls=broker_context(folder)))
        stop = asyncio.Event()
        agent = Agent(config)
        task = asyncio.create_task(agent.run(stop))
        try:
            yield Site(folder, agent, fake, stop, task)
        finally:
            stop.set()
            await task


def test_device_is_read_reported_and_settled_by_a_receipt(tmp_path: Path) -> None:
    simulated = device()

    async def work() -> None:
        async with running(tmp_path, simulated) as site:
            (first,) = await site.fake.until("tx")
            report = evidence_of(first)
            (entry,) = report.devices
            assert (report.gateway, report.seq, entry.device, entry.status) == ("gw-1", 1, "sps-1", "read")
            assert report.block.digest == GENESIS.digest()
            assert entry.item is not None
            open_tx(first.payload).verify(public_of("gw-1"))
            await site.receipt(first)
            await site.settled()
            assert site.agent._pollers[0].state is not None
            assert site.agent._pollers[0].state.has_receipt

    asyncio.run(work())


def test_changed_file_is_reported_at_once_with_its_whole_item_and_the_newest_block(tmp_path: Path) -> None:
    simulated = device(artefact("firmware", "1.0.0", b"a firmware image"), artefact("strategy", "1", b"fault,action"))

    async def work() -> None:
        async with running(tmp_path, simulated) as site:
            (first,) = await site.fake.until("tx")
            await site.receipt(first)
            await site.settled()
            changed = Artefact("firmware", "1.0.0", b"a firmware imagE", 16)
            simulated.load(simulated.contents.overwritten(changed))
            second = (await site.fake.until("tx", 2))[1]
            before, after = evidence_of(first).devices[0].item, evidence_of(second).devices[0].item
            assert before is not None
            assert after is not None
            assert [old.sha256 != new.sha256 for old, new in zip(before.artefacts, after.artefacts, strict=True)] == [
                True,
                False,
            ]
            assert evidence_of(second).block.height == 42

    asyncio.run(work())


def test_unreachable_device_is_reported_beside_the_others(tmp_path: Path) -> None:
    sick, well = device(), device()
    sick.set_fault(Fault("offline"))

    async def work() -> None:
        async with running(tmp_path, sick, well) as site:
            (first,) = await site.fake.until("tx")
            assert {entry.device: entry.status for entry in evidence_of(first).devices} == {
                "sps-1": "unreachable",
                "sps-2": "read",
            }

    asyncio.run(work())


def test_report_survives_a_restart_and_boot_goes_on(tmp_path: Path) -> None:
    simulated = device()

    async def work() -> None:
        async with running(tmp_path, simulated) as site:
            (first,) = await site.fake.until("tx")
            boot = evidence_of(first).boot
        port = load_agent_config(tmp_path / "agent.toml").devices[0].port
        assert port
        async with running(tmp_path) as again:  # the device is gone: the report waits all the same
            sent = await again.fake.until("tx", 2)
            assert sent[0].payload == first.payload
            (entry,) = evidence_of(sent[1]).devices
            assert evidence_of(sent[1]).boot == boot + 1
            assert entry.status == "unreachable"
            assert entry.item == evidence_of(first).devices[0].item
            await again.receipt(sent[0])
            await again.settled()
            assert again.waiting() == 1

    asyncio.run(work())


def test_unproven_items_are_counted_and_change_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path, device()) as site:
            (first,) = await site.fake.until("tx")
            receipt = receipt_for(first.payload)
            forged = replace(receipt, outcome=replace(receipt.outcome, code="duplicate"))
            for payload in (b"noise", forged.encode()):
                await site.fake.send(DOWN, payload)
            await site.until(lambda: len(site.agent._down) == 2)
            assert site.agent._down == {"malformed": 1, "not-verified": 1}
            assert site.waiting() == 1
            await site.receipt(first)
            await site.settled()

    asyncio.run(work())


@pytest.mark.parametrize("code", ["unknown-item", "conflict", "too-old"])
def test_report_that_the_ledger_refused_is_told_anew_with_whole_items(tmp_path: Path, code: str) -> None:
    async def work() -> None:
        async with running(tmp_path, device()) as site:
            (first,) = await site.fake.until("tx")
            await site.receipt(first)
            await site.settled()
            site.agent._note_change()
            second = (await site.fake.until("tx", 2))[1]
            assert evidence_of(second).devices[0].item is None
            await site.receipt(second, code, height=44)
            third = (await site.fake.until("tx", 3))[2]
            assert evidence_of(third).devices[0].item is not None

    asyncio.run(work())


def test_device_that_is_not_enrolled_does_not_keep_the_others_out(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path, device(), device()) as site:
            (first,) = await site.fake.until("tx")
            assert len(evidence_of(first).devices) == 2
            await site.receipt(first, "unknown-device")
            sent = await site.fake.until("tx", 3)
            assert [[entry.device for entry in evidence_of(one).devices] for one in sent[1:]] == [["sps-1"], ["sps-2"]]
            assert any("not enrolled" in warning for warning in site.agent._warnings)

    asyncio.run(work())


def test_expired_transaction_is_wrapped_anew_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.app.TX_VALID_MS", 10_500)  # half a second and the margin

    async def work() -> None:
        async with running(tmp_path, device()) as site:
            (first,) = await site.fake.until("tx")
            await asyncio.sleep(0.6)
            site.agent._link._plan.reset()
            site.agent._link.wake()
            second = (await site.fake.until("tx", 2))[1]
            old, new = open_tx(first.payload).tx, open_tx(second.payload).tx
            assert new.args == old.args
            assert new.seq > old.seq
            assert new.valid_until_ms > old.valid_until_ms

    asyncio.run(work())


# holds MB-8
def test_reports_that_an_old_key_signed_are_signed_by_the_new_one_and_settle_by_either(tmp_path: Path) -> None:
    """A gateway starts with another key: the evidence stays, in its order, and nothing goes out under the old one."""
    old_key, new_key = public_of("gw-1"), public_of("next")

    async def work() -> None:
        async with running(tmp_path, device()) as site:
            await site.fake.until("tx")
            site.agent._note_change()
            first = await site.fake.until("tx", 2)
            for one in first:
                open_tx(one.payload).verify(old_key)
        write_key(tmp_path / "gw-1.key", "next")
        async with running(tmp_path, device()) as site:
            again = (await site.fake.until("tx", 2))[:2]
            assert [evidence_of(one) for one in again] == [evidence_of(one) for one in first]
            for one in again:
                open_tx(one.payload).verify(new_key)
            # the ledger may have taken the first under its old name, and answers its new one from there
            await site.receipt(first[0])
            await site.receipt(again[1], "duplicate", height=44)
            await site.settled(2)
            assert first[0].payload not in [one.payload for one in site.fake.of("tx")]

    asyncio.run(work())


def test_status_file_and_metrics_show_the_gateway(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(tmp_path, device()) as site:
            await site.fake.until("tx")
            await site.agent._take_snapshot(is_running=True)
            value = json.loads((tmp_path / "state" / "status.json").read_text())
            assert value["gateway"] == "gw-1"
            assert value["devices"][0]["status"] == "read"
            assert value["outbox"]["items"] == 1
            assert value["broker"]["is_connected"] is True
            assert value["is_running"] is True
        value = json.loads((tmp_path / "state" / "status.json").read_text())
        assert value["is_running"] is False

    asyncio.run(work())


def test_status_goes_on_while_an_upgrade_takes_the_installed_version_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running(tmp_path, device()) as site:
            await site.fake.until("tx")
            shown = site.agent._snapshot
            assert shown is not None
            monkeypatch.setattr("agent.app.version", lambda _: pytest.fail("asked for the installed version"))
            await site.agent._take_snapshot(is_running=True)
            assert site.agent._snapshot is not None
            assert site.agent._snapshot.version == shown.version

    asyncio.run(work())


def test_second_agent_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    config = load_agent_config(write_site(tmp_path, broker_port=1, devices=[("sps-1", 1)]))
    first = Agent(config)
    with pytest.raises(TryAgainError, match="another agent uses"):
        Agent(config)
    first._close()
    Agent(config)._close()


def test_damaged_outbox_is_refused_and_the_folder_let_go(tmp_path: Path) -> None:
    config = load_agent_config(write_site(tmp_path, broker_port=1, devices=[("sps-1", 1)]))
    outbox = tmp_path / "state" / "outbox.sqlite"
    outbox.parent.mkdir()
    outbox.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="is damaged"):
        Agent(config)
    outbox.unlink()
    Agent(config)._close()


def test_file_that_is_no_genesis_is_refused(tmp_path: Path) -> None:
    path = write_site(tmp_path, broker_port=1, devices=[("sps-1", 1)])
    (tmp_path / "genesis.cbor").write_bytes(b"\xa0")
    with pytest.raises(DataError, match="is no genesis file"):
        Agent(load_agent_config(path))


def test_enrolment_as_in_genesis_gives_no_warning(tmp_path: Path) -> None:
    config = load_agent_config(write_site(tmp_path, broker_port=1, devices=[("sps-1", 1)]))
    assert list(enrolment_warnings(config, GENESIS, public_of("gw-1"))) == []


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ('gateway = "gw-1"', 'gateway = "gw-2"', "gateway gw-2 is not in the genesis file"),
        ('area = "east"', 'area = "west"', "the configuration says station station-1, area west"),
        ('id = "sps-1"', 'id = "sps-9"', "device sps-9 is not enrolled for gateway gw-1"),
    ],
)
def test_enrolment_that_differs_from_genesis_is_warned_about(tmp_path: Path, old: str, new: str, warning: str) -> None:
    path = write_site(tmp_path, broker_port=1, devices=[("sps-1", 1)])
    path.write_text(path.read_text().replace(old, new))
    warnings = enrolment_warnings(load_agent_config(path), GENESIS, public_of("gw-1"))
    assert any(warning in found for found in warnings)


def test_key_that_genesis_does_not_know_is_warned_about(tmp_path: Path) -> None:
    config = load_agent_config(write_site(tmp_path, broker_port=1, devices=[("sps-1", 1)]))
    (warning,) = enrolment_warnings(config, GENESIS, public_of("somebody"))
    assert "is not a key of gw-1" in warning
    assert "if the ledger was told since" in warning


def test_part_that_fails_is_started_again_after_growing_pauses() -> None:
    calls, pauses = [], []

    async def fails_often() -> None:
        calls.append(1)
        if len(calls) < 4:
            raise RuntimeError("defect")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    asyncio.run(supervised("part", fails_often, sleep))
    assert pauses == [1.0, 2.0, 5.0]

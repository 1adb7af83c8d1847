"""The short form of the detection campaign; the long one is ``make campaign MINUTES=30``."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent.drivers.table import DRIVERS
from firmware_sim.faults import CATALOGUE
from tests.campaign.__main__ import campaign
from tests.campaign.bench import IEC104_FILES, IEC104_RELAY, MMS_RELAY, MODBUS_FILES, MODBUS_RELAY, running
from tests.campaign.judge import CHANGED_BACK
from tests.campaign.ledger import RAISED, RETURNED, Ledger
from tests.campaign.run import Campaign
from wire.release import Reference

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 15
DEVICES = 100


def test_faults_at_random_on_100_devices_give_no_false_and_no_missed_alarm(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, DEVICES, SECONDS, seed=7)
    assert outcome.problems == []
    assert [fault for fault in CATALOGUE if not outcome.trials[fault]] == []
    assert sum(outcome.detected.values()) >= DEVICES // 4
    assert outcome.events[RAISED] >= outcome.events[RETURNED] >= DEVICES // 4


def test_change_and_change_back_between_two_polls_is_alarmed_over_every_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.campaign.bench.MMS_DEVICES", 1)
    monkeypatch.setattr("tests.campaign.run.faults_of", lambda _: (CHANGED_BACK,))
    monkeypatch.setattr("tests.campaign.run._TOGETHER", 0)
    with running(tmp_path, 6) as bench:
        profiles = {site.kind.profile for site in bench.sites.values()}
        outcome = asyncio.run(Campaign(bench, 0).run(0))
    assert {MODBUS_FILES.profile, MODBUS_RELAY.profile, IEC104_FILES.profile, IEC104_RELAY.profile} <= profiles
    assert (MMS_RELAY.profile in profiles) != bool(DRIVERS["mms"].missing())
    assert outcome.problems == []
    assert outcome.detected[CHANGED_BACK] >= outcome.trials[CHANGED_BACK] >= 6


def test_campaign_with_a_wrong_reference_reports_a_false_alarm(tmp_path: Path) -> None:
    with running(tmp_path, 1) as bench:
        site = bench.sites["dev-1"]
        other = Reference("firmware", "firmware.bin", "9.9.9", 1, bytes(32), bytes(32))
        wrong = dataclasses.replace(site, slots={**site.slots, "firmware": other})
        outcome = asyncio.run(Campaign(dataclasses.replace(bench, sites={"dev-1": wrong}), 0).run(0))
    assert outcome.problems[0] == "dev-1: at the start: a false alarm, ['mismatch'] where [] is right"


def test_campaign_with_a_blind_ledger_reports_missed_alarms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "alarms", lambda *_: frozenset())
    monkeypatch.setattr("tests.campaign.run.faults_of", lambda _: ("changed-byte", "close"))
    with running(tmp_path, 2) as bench:
        outcome = asyncio.run(Campaign(bench, 0).run(1))
    assert any("a missed alarm, [] where ['mismatch'] is right" in problem for problem in outcome.problems)


def test_campaign_whose_changes_stay_reports_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Campaign._act

    async def forgetful(self: Campaign, device: str, body: dict[str, Any]) -> None:
        if body["action"] != "restore":
            await real(self, device, body)

    monkeypatch.setattr(Campaign, "_act", forgetful)
    monkeypatch.setattr("tests.campaign.bench.MMS_DEVICES", 0)
    monkeypatch.setattr("tests.campaign.run.faults_of", lambda _: ("truncated-file", "close"))
    with running(tmp_path, 1) as bench:
        outcome = asyncio.run(Campaign(bench, 0).run(0.5))
    assert any(
        "after truncated-file: a false alarm, ['incomplete'] where [] is right" in problem
        for problem in outcome.problems
    )

"""Trials: bring a fault about, poll, judge, undo it, poll, judge again; on every device at once."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from agent.attest import after_receipt
from agent.drivers.table import DRIVERS, load_profiles
from agent.poller import DevicePoller
from firmware_sim.control import Control
from firmware_sim.faults import BYTES, CATALOGUE, LINK, MODBUS
from kit.clock import SystemClock
from rules.appraisal import ALTERED
from tests.campaign.bench import Bench
from tests.campaign.judge import expected, expected_after, faults_of
from tests.campaign.ledger import Ledger
from wire.evidence import Item
from wire.release import Reference
from wire.types import Digest

SETTLE_POLLS: Final = 40
"""Polls after the end of a disturbance within which a device must be read again."""
SETTLE_S: Final = 0.1
SHORT_DELAY_MS: Final = 1_500
"""Later than the agent waits."""
BUSY_REQUESTS_MAX: Final = 4
OF_THE_LINK: Final = frozenset({"stale", "unreachable"})
"""Causes that claim nothing of a device's content."""
THREADS: Final = 4

_TOGETHER = 0.25
"""Share of changes that come under a disturbed link."""


@dataclass(slots=True)
class Outcome:
    """What a campaign saw.

    Attributes:
        trials: By fault.
        polls: Polls in all.
        unread: Polls that did not come to their end, which is no alarm.
        detected: Trials whose alarm stood after the first complete poll, by fault.
        blocks: Blocks of the ledger.
        events: Events of the ledger, by type.
        problems: False and missed alarms, each in one sentence.
    """

    trials: Counter[str] = field(default_factory=Counter)
    polls: int = 0
    unread: int = 0
    detected: Counter[str] = field(default_factory=Counter)
    blocks: int = 0
    events: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Campaign:
    """All devices of one bench.

    Args:
        bench: A running simulator.
        seed: Decides which fault comes when; the network's own timing does not follow from it.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.outcome = Outcome()
        self._seed = seed
        self._locks = {name: asyncio.Lock() for name in bench.sites}
        self._pollers: dict[str, DevicePoller] = {}
        self._ledger: Ledger | None = None
        self._unreported: set[str] = set()
        self._altered: dict[str, Digest | None] = {}
        """Items that came with a count of changes and nothing else: their alarm stands until the next item."""
        self._threads = ThreadPoolExecutor(THREADS)
        self._local = threading.local()

    async def run(self, seconds: float) -> Outcome:
        """Try faults for so long; a trial that has begun is ended."""
        profiles = load_profiles()
        clock = SystemClock()
        for name, site in self.bench.sites.items():
            driver = DRIVERS[site.config.protocol].open(site.config, profiles[site.config.profile], clock)
            note = functools.partial(self._unreported.add, name)
            self._pollers[name] = DevicePoller(site.config, driver, None, clock, note)
        try:
            async with asyncio.TaskGroup() as group:
                for name in (name for name, site in self.bench.sites.items() if site.kind.learned):
                    group.create_task(self._learn(name))
            with Ledger(self.bench.folder / "ledger", self.bench.sites) as ledger:
                ledger.make_effective(self.bench.sites)
                self._ledger = ledger
                await self._work_all(time.monotonic() + seconds)
                self.outcome.blocks, self.outcome.events = ledger.height, ledger.events
        finally:
            for poller in self._pollers.values():
                await poller.driver.close()
            self._threads.shutdown()
        return self.outcome

    async def _work_all(self, end_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            begun: Counter[str] = Counter()
            for name, site in self.bench.sites.items():
                group.create_task(self._work(begun[site.config.protocol], name, end_s))
                begun[site.config.protocol] += 1

    async def _work(self, number: int, device: str, end_s: float) -> None:
        """Try one fault after the other on one device; the first ones go round, so that none is left out.

        Args:
            number: How many devices with this protocol begin before it.
            device: Its name.
            end_s: No trial but the first begins later.
        """
        choice = random.Random(f"{self._seed}/{device}")
        faults = faults_of(self.bench.sites[device].config.protocol)
        async with self._locks[device]:
            await self._quiet(device, "at the start", frozenset())
        turn = 0
        while turn == 0 or time.monotonic() < end_s:
            fault = faults[number % len(faults)] if turn == 0 else choice.choice(faults)
            turn += 1
            await self._trial(device, fault, choice)
            await asyncio.sleep(0)

    async def _learn(self, device: str) -> None:
        """Read what only the agent can put into its form, of the untouched device and with its earlier release."""
        site = self.bench.sites[device]
        await self._act(device, {"action": "old-release"})
        site.old.update(await self._read_learned(device))
        await self._act(device, {"action": "restore"})
        site.slots.update(await self._read_learned(device))

    async def _read_learned(self, device: str) -> dict[str, Reference]:
        assert await self._until_read(device), f"{device} cannot be read"
        item = self._item(device)
        assert item is not None
        learned = self.bench.sites[device].kind.learned
        return {
            part.kind: Reference(part.kind, part.name, part.version, part.size, part.sha256, part.chunk_root)
            for part in item.artefacts
            if part.kind in learned
        }

    async def _trial(self, device: str, fault: str, choice: random.Random) -> None:
        touched = [device, self._partner(device, choice)] if fault == "swapped-files" else [device]
        async with contextlib.AsyncExitStack() as held:
            for name in sorted(touched):  # always in one order, so that no two trials wait for each other
                await held.enter_async_context(self._locks[name])
            await self._check(device, fault, touched, choice)
        self.outcome.trials[fault] += 1

    def _partner(self, device: str, choice: random.Random) -> str:
        """Choose another device of the same kind."""
        kind = self.bench.sites[device].kind
        return choice.choice([name for name, site in self.bench.sites.items() if name != device and site.kind is kind])

    async def _check(self, device: str, fault: str, touched: list[str], choice: random.Random) -> None:
        """Do one trial: with the fault in force, and after it was undone."""
        covered = CATALOGUE[fault].changes == BYTES and choice.random() < _TOGETHER and len(touched) == 1
        await self._act(device, self._body(fault, touched, choice))
        if covered and not CATALOGUE[fault].condition:
            await self._under_disturbance(device, fault, choice)
        for name in touched:
            await self._judge_with(name, fault)
        await self._act(device, {"action": "clear-fault"})
        for name in touched:
            await self._act(name, {"action": "restore"})
        for name in touched:
            right = expected_after(self.bench.sites[name].kind, fault, counts=self._counts(name))
            await self._quiet(name, f"after {fault}", right)

    def _body(self, fault: str, touched: list[str], choice: random.Random) -> dict[str, Any]:
        body: dict[str, Any] = {"action": "fault", "fault": fault}
        if len(touched) > 1:
            body["with"] = touched[1]
        if CATALOGUE[fault].changes == LINK:
            body |= self._disturbance(touched[0], fault, choice)
        return body

    def _disturbance(self, device: str, fault: str, choice: random.Random) -> dict[str, Any]:
        """Choose how long a disturbed link lasts, and which requests it hits."""
        if fault == "slow":
            return {"requests": choice.randint(1, 20)}
        found: dict[str, Any] = {"delay_ms": SHORT_DELAY_MS} if fault == "late" else {}
        if fault == "busy":
            found["requests"] = choice.randint(1, BUSY_REQUESTS_MAX)
        elif fault not in {"restart-in-transfer", "half-open", "offline", "single-connection"}:
            modbus = self.bench.sites[device].config.protocol == MODBUS
            some = {"functions": [choice.choice((4, 20, 43))]} if modbus else {"requests": 3}
            found |= choice.choice(({}, {"requests": 1}, {"requests": 2}, some))
        return found

    async def _under_disturbance(self, device: str, fault: str, choice: random.Random) -> None:
        """Poll while the link is disturbed, too: only a complete poll may say anything, and then the right thing."""
        faults = faults_of(self.bench.sites[device].config.protocol)
        disturbed = choice.choice([name for name in faults if CATALOGUE[name].changes == LINK])
        how = self._disturbance(device, disturbed, choice)
        before = self._item(device)
        await self._act(device, {"action": "fault", "fault": disturbed, **how})
        if await self._poll(device):
            self._compare(device, fault, f"under {disturbed}")
        elif self._item(device) is not before:
            self._problem(device, f"{fault} under {disturbed}: a poll that failed changed what is known")
        await self._act(device, {"action": "clear-fault"})

    async def _judge_with(self, device: str, fault: str) -> None:
        """Poll with the fault in force; of the link, one poll; else until it is read, and the first must show it."""
        if CATALOGUE[fault].changes == LINK:
            await self._poll(device)
            self._must_stand(device, f"{fault}:", frozenset())
            return
        if not await self._until_read(device):
            last = self._pollers[device].figures.last_error
            self._problem(device, f"{fault}: could not be read with a fault that leaves the link alone: {last}")
            return
        self._compare(device, fault, "in force")

    def _compare(self, device: str, fault: str, when: str) -> None:
        wanted = expected(self.bench.sites[device].kind, fault, counts=self._counts(device))
        if self._must_stand(device, f"{fault} {when}:", wanted):
            self.outcome.detected[fault] += bool(wanted)

    def _must_stand(self, device: str, when: str, wanted: frozenset[str]) -> bool:
        """Tell whether just these alarms stand on a device, and note a problem if not.

        An alarm of a change that only the revision counter shows stands for as long as the item that told of it.
        """
        state = self._pollers[device].state
        item = None if state is None else state.item_digest
        if ALTERED in wanted:
            self._altered[device] = item
        if device in self._altered and self._altered[device] == item:
            wanted |= {ALTERED}
        assert self._ledger is not None
        raised = self._ledger.alarms(device) - OF_THE_LINK
        if raised == wanted:
            return True
        what = "false" if wanted < raised else "missed" if raised < wanted else "wrong"
        self._problem(device, f"{when} a {what} alarm, {sorted(raised)} where {sorted(wanted)} is right")
        return False

    async def _quiet(self, device: str, when: str, wanted: frozenset[str]) -> None:
        """Poll until the device is read; then everything must be right again."""
        if not await self._until_read(device):
            last = self._pollers[device].figures.last_error
            self._problem(device, f"{when}: could not be read in {SETTLE_POLLS} polls: {last}")
        else:
            self._must_stand(device, f"{when}:", wanted)

    async def _until_read(self, device: str) -> bool:
        for _ in range(SETTLE_POLLS):
            if await self._poll(device):
                return True
            await asyncio.sleep(SETTLE_S)
        return False

    async def _poll(self, device: str) -> bool:
        """Poll once and tell whether the poll came to its end."""
        poller = self._pollers[device]
        await poller.poll()
        self.outcome.polls += 1
        done = poller.state is not None and poller.state.status == "read"
        self.outcome.unread += not done
        if self._ledger is not None and device in self._unreported:
            await self._report(self._ledger, device)
        return done

    async def _report(self, ledger: Ledger, device: str) -> None:
        """Let the gateway of a device report all its devices, as it does on any change, and take the receipts."""
        mates = [name for name, gateway in ledger.gateway_of.items() if gateway == ledger.gateway_of[device]]
        self._unreported.discard(device)
        states = [state for name in mates if (state := self._pollers[name].state) is not None]
        for evidence in await ledger.report(device, states):
            for entry in evidence.devices:
                poller = self._pollers[entry.device]
                if poller.state is not None:
                    poller.state = after_receipt(poller.state, evidence)

    def _item(self, device: str) -> Item | None:
        state = self._pollers[device].state
        return None if state is None else state.item

    def _counts(self, device: str) -> bool:
        item = self._item(device)
        return item is not None and item.revision is not None

    async def _act(self, device: str, body: dict[str, Any]) -> None:
        """Ask the control port for an action."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._control, device, body)

    def _control(self, device: str, body: dict[str, Any]) -> None:
        if not hasattr(self._local, "control"):
            self._local.control = Control(self.bench.control)
        self._local.control.tamper(device, body)

    def _problem(self, device: str, text: str) -> None:
        self.outcome.problems.append(f"{device}: {text}")

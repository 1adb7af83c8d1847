"""The ledger of a campaign: signed reports go through the real contracts on a real store, and alarms come out.

Nodes and network are left out: one application proposes a block of all reports that wait, and the store commits it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from agent.attest import DeviceState, Signer, build_evidence
from master.io.store import Store
from master.ledger.application import Application
from tests.campaign.bench import Site
from tests.unit.ledger.worlds import key_of, make_genesis
from wire.cbor import Value
from wire.certificate import Step, build_certificate
from wire.evidence import Clock, Evidence, SeenBlock
from wire.genesis import AccountKey, Device, Gateway, Genesis
from wire.receipt import Event, decode_outcome
from wire.release import Reference, Release
from wire.tx import SignedTx, Transaction, open_tx
from wire.types import sha256

GATEWAY_DEVICES: Final = 10
MAP_BYTES: Final = 16 << 30
BLOCK_TRANSACTIONS_MAX: Final = 64
MANUFACTURER: Final = "maker-a"
LABORATORY: Final = "lab"
REGULATOR: Final = "regulator"
RAISED: Final = "alarm_raised"
RETURNED: Final = "alarm_returned"
_VALID_MS: Final = 3_600_000


@dataclass(slots=True)
class _Reporter:
    """What a gateway counts."""

    signer: Signer
    evidence_seq: int = 0


class Ledger:
    """One ledger with all devices of a bench; a gateway for every ten of them.

    Args:
        folder: For the store; must not exist.
        sites: By device, with the reference values that become effective.
    """

    def __init__(self, folder: Path, sites: Mapping[str, Site]) -> None:
        names = list(sites)
        self.gateway_of = {name: f"gw-{number // GATEWAY_DEVICES + 1}" for number, name in enumerate(names)}
        self._genesis = _genesis(sites, self.gateway_of)
        self._store = Store.create(folder, self._genesis, map_bytes=MAP_BYTES)
        self._application = Application(self._genesis, self._store, self._store.state_tree(), SignedTx.verify)
        chain = self._genesis.chain()
        gateways = sorted(set(self.gateway_of.values()))
        self._reporters = {name: _Reporter(Signer(name, chain, key_of(name))) for name in gateways}
        self._seqs: Counter[str] = Counter()
        self._waiting: list[tuple[SignedTx, asyncio.Future[None]]] = []
        self._block: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._raised: defaultdict[str, set[str]] = defaultdict(set)
        self.events: Counter[str] = Counter()
        """Events so far, by type."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._store.close()

    @property
    def height(self) -> int:
        """Height of the newest block."""
        return self._store.head().height

    def make_effective(self, sites: Mapping[str, Site]) -> None:
        """Submit the earlier release of each device and then its present one, and have both endorsed."""
        for name, values in (("old", "old"), ("new", "slots")):
            releases = [_release(name, device, getattr(site, values)) for device, site in sites.items()]
            self._call(MANUFACTURER, "submit", [{"release": release.encode()} for release in releases])
            endorsed: list[dict[str, Value]] = [
                {"release": release.digest(), "report": sha256(b"report")} for release in releases
            ]
            self._call(LABORATORY, "test", [{**args, "verdict": "pass"} for args in endorsed])
            self._call(REGULATOR, "endorse", endorsed)

    def alarms(self, device: str) -> frozenset[str]:
        """Return the causes of the alarms that stand raised on a device."""
        return frozenset(self._raised[device])

    async def report(self, device: str, states: Iterable[DeviceState]) -> Sequence[Evidence]:
        """Have the gateway of a device report, and return once a block holds all of it.

        Args:
            device: Whose gateway it is.
            states: Of all devices of that gateway.
        """
        reporter = self._reporters[self.gateway_of[device]]
        now_ms = _now_ms()
        head = self._store.head()
        numbers = (1, reporter.evidence_seq + 1)
        clock, seen = Clock(now_ms, "ntp", 0, "synchronised"), SeenBlock(head.height, head.digest)
        parts = build_evidence(reporter.signer.gateway, numbers, clock, seen, states)
        reporter.evidence_seq += len(parts)
        for part in parts:
            raw = reporter.signer.transaction(part.encode(), self._seq(reporter.signer.gateway), now_ms + _VALID_MS)
            await self._committed(open_tx(raw))
        return parts

    async def _committed(self, tx: SignedTx) -> None:
        """Wait until a block holds a transaction; reports that come while one is made share the next."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((tx, done))
        while not done.done():
            if self._block is None:
                self._block = asyncio.create_task(self._take_waiting())
            block = self._block
            await asyncio.shield(block)
            if self._block is block:
                self._block = None
        await done

    async def _take_waiting(self) -> None:
        taken, self._waiting = self._waiting[:BLOCK_TRANSACTIONS_MAX], self._waiting[BLOCK_TRANSACTIONS_MAX:]
        loop = asyncio.get_running_loop()
        events = await loop.run_in_executor(self._thread, self._execute, [tx for tx, _ in taken])
        self._note(events)
        for _, done in taken:
            done.set_result(None)

    def _call(self, sender: str, method: str, arguments: Sequence[dict[str, Value]]) -> None:
        """Have one account call the contract `references`, all in blocks of many calls."""
        calls = [self._sign(sender, method, args) for args in arguments]
        for start in range(0, len(calls), BLOCK_TRANSACTIONS_MAX):
            self._note(self._execute(calls[start : start + BLOCK_TRANSACTIONS_MAX]))

    def _sign(self, sender: str, method: str, args: dict[str, Value]) -> SignedTx:
        call = Transaction(
            chain=self._genesis.chain(),
            sender=sender,
            contract="references",
            version=1,
            method=method,
            args=args,
            seq=self._seq(sender),
            valid_until_ms=_now_ms() + _VALID_MS,
        )
        return open_tx(call.sign(key_of(sender)))

    def _seq(self, sender: str) -> int:
        self._seqs[sender] += 1
        return self._seqs[sender]

    def _execute(self, candidates: Sequence[SignedTx]) -> list[Event]:
        """Commit one block with all candidates; each must be in it, and have the outcome ok."""
        head, validators = self._store.head(), self._genesis.validator_set().digest()
        execution, refused = self._application.propose(
            head,
            proposer="dispatch",
            epoch=0,
            validators_hash=validators,
            next_validators_hash=validators,
            time_ms=max(head.time_ms + 1, _now_ms()),
            candidates=candidates,
            bytes_max=1 << 20,
        )
        outcomes = [decode_outcome(raw) for raw in execution.outcomes]
        assert not refused, refused
        assert [outcome.code for outcome in outcomes] == ["ok"] * len(candidates)
        height = execution.block.header.height
        certificate = build_certificate(Step.COMMIT, 0, height, 0, execution.head.digest, [])
        self._store.commit(execution, certificate)
        self._application.committed(execution)
        return [event for outcome in outcomes for event in outcome.events]

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            self.events[event.type] += 1
            if event.type == RAISED:
                self._raised[event.subject].add(str(event.data["cause"]))
            elif event.type == RETURNED:
                self._raised[event.subject].discard(str(event.data["cause"]))


def _genesis(sites: Mapping[str, Site], gateway_of: Mapping[str, str]) -> Genesis:
    plain = make_genesis()
    gateways = sorted(set(gateway_of.values()))
    organisations = {entry.id for entry in plain.organisations}
    owner, station = plain.stations[0].organisation, plain.stations[0].id
    keys = [
        *(entry for entry in plain.keys if entry.sender in organisations),
        *(AccountKey(key_of(name).verify_key.encode(), name, owner) for name in gateways),
    ]
    devices = [
        Device(name, gateway_of[name], MANUFACTURER, site.nameplate.model, site.nameplate.serial)
        for name, site in sites.items()
    ]
    return replace(
        plain,
        name="campaign",
        time_ms=_now_ms(),
        keys=tuple(sorted(keys, key=lambda entry: entry.key)),
        gateways=tuple(Gateway(name, station) for name in gateways),
        devices=tuple(sorted(devices, key=lambda entry: entry.id)),
    )


def _release(name: str, device: str, values: Mapping[str, Reference]) -> Release:
    return Release(f"{device}-{name}", MANUFACTURER, device, None, tuple(values[kind] for kind in sorted(values)))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

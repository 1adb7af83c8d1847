"""The simulated shell performs effects in the order of the real engine, so that what holds here holds there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from master.consensus.events import Broadcast, Effect, Persist, Seal, Send
from master.consensus.guard import SignerGuard
from master.consensus.message_codec import encode_message
from master.consensus.messages import GetBlocks, Message, Vote
from master.consensus.records import Signed, encode_record
from master.consensus.replica import Replica
from master.consensus.state import Settings
from tests.simulation.disk import Disk
from tests.simulation.judge import Judge
from tests.simulation.keys import KeyRing
from tests.simulation.network import Agenda
from tests.simulation.node import Node
from tests.simulation.plan import Plan
from tests.simulation.toy import CHAIN, EPOCH, Ledger
from tests.unit.master.engine_world import World
from wire.certificate import Step
from wire.types import sha256

pytestmark = pytest.mark.simulation

KEYS = KeyRing(4, is_keyed=True)
Line = tuple[str, object]


def drawn_effects(seed: int) -> list[Effect]:
    """Return what several steps of a replica could ask for, one behind the other."""
    rng = Random(seed)
    made: list[Effect] = []
    for number in range(40):
        vote = Vote("node-0", Step.PREPARE, EPOCH, 1, number, sha256(b"d"), bytes(64))
        match rng.randrange(4):
            case 0:
                made += [Persist((encode_record(Signed(vote)),)), Seal(SignerGuard(height=number)), Broadcast(vote)]
            case 1:
                made.append(Seal(SignerGuard(height=number)))
            case 2:
                made.append(Send("node-1", GetBlocks(number + 1)))
            case _:
                made.append(Broadcast(GetBlocks(number + 1)))
    return made


class EngineDiary(World):
    """The real engine over parts that write down what is asked of them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        super().__init__("a")

    def append(self, records: Iterable[bytes]) -> None:
        self.lines.append(("persist", tuple(records)))

    def save(self, guard: SignerGuard) -> None:
        self.lines.append(("seal", guard.height))

    def send(self, member: str, message: bytes) -> None:
        self.lines.append(("send", message))

    def broadcast(self, message: bytes) -> None:
        self.lines.append(("send", message))


class ShellDiary(Disk):
    """The simulated shell's disk and cluster of two, which write down the same."""

    def __init__(self) -> None:
        super().__init__(Ledger(KEYS.validators), "node-0", Random(1))
        self.lines: list[Line] = []

    def append(self, records: tuple[bytes, ...]) -> None:
        self.lines.append(("persist", records))

    def seal(self, guard: SignerGuard) -> None:
        self.lines.append(("seal", guard.height))

    def send(self, endpoint: str, member: str, message: Message) -> None:
        self.lines.append(("send", encode_message(message)))

    def others(self, endpoint: str) -> list[str]:
        return ["node-1"]

    def crashed(self, endpoint: str) -> None:
        raise AssertionError(endpoint)


# holds CM-25
@pytest.mark.parametrize("seed", range(3))
def test_shell_performs_effects_in_the_order_of_the_engine(seed: int) -> None:
    effects, engine, shell = drawn_effects(seed), EngineDiary(), ShellDiary()
    asyncio.run(engine.engine._perform_all(list(effects)))
    agenda, plan = Agenda(), Plan(seed, 4, is_keyed=True, disk_ms=5)
    settings = Settings("node-0", CHAIN, EPOCH, KEYS.validators)
    node = Node("node-0", settings, KEYS.signer("node-0"), shell, Judge(KEYS, frozenset()))
    node.join(shell, agenda, plan, Random(seed))
    node.replica = cast("Replica", SimpleNamespace(_height=SimpleNamespace(bodies={})))
    node._effects.extend(effects)
    node._pump()
    agenda.run(10_000)
    assert shell.lines == engine.lines
    assert len(shell.lines) >= len(effects)

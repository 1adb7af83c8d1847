"""What ends or holds back the engine's signing: a full disk, a damaged log, our own mistakes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from kit.exitcodes import ConfigurationError, DiskFullError, StorageError
from master import engine
from master.consensus.events import (
    Connected,
    Head,
)
from master.consensus.guard import SignerGuard
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import (
    Blocks,
    GetBlocks,
    Status,
)
from master.seams import Restart
from tests.unit.master.engine_world import CHAIN, GENESIS, KEYS, World, block
from wire.block import Block
from wire.certificate import Certificate, Step, vote_bytes


# holds CM-8
def test_engine_with_full_disk_sends_no_vote_and_says_why() -> None:
    world = World("a")
    world.is_disk_full = True
    asyncio.run(world.run_until(lambda: world.engine.failure is not None))
    assert "No space left" in (world.engine.failure or "")
    assert not [entry for entry in world.diary if entry in ("send Propose", "send Vote")]
    assert "storage" in world.reports


class Disk:
    """A disk that is full until it is told otherwise, behind the fakes of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checks = 0
        self.boots = 0
        self.is_full = True
        self.full_from = "append"
        self.records: list[bytes] = []
        self._append, self._save, self._apply = world.append, world.save, world.apply
        world.append = self.append  # type: ignore[method-assign]
        world.save = self.save  # type: ignore[method-assign]
        world.apply = self.apply  # type: ignore[method-assign]
        world.engine.restart = Restart(self.check, self.boot)

    def fill(self, step: str) -> None:
        if self.is_full and step == self.full_from:
            raise DiskFullError("No space left on device")

    def append(self, records: Iterable[bytes]) -> None:
        held = list(records)
        self.fill("append")
        self.records += held
        self._append(held)

    def save(self, guard: SignerGuard) -> None:
        self.fill("save")
        self._save(guard)

    def apply(self, final: Block, certificate: Certificate) -> Head:
        self.fill("apply")
        self.records.clear()
        return self._apply(final, certificate)

    def check(self) -> Sequence[bytes]:
        self.checks += 1
        self.world.diary.append("check")
        if self.checks < 3:
            raise DiskFullError("still no space left")
        self.is_full = False
        return list(self.records)

    def boot(self) -> None:
        self.boots += 1
        settings = self.world.engine._settings
        self.world.boot(settings, GENESIS, SignerGuard())
        self.world.clock.advance(settings.timeout_ms)


# holds EL-7
@pytest.mark.parametrize("full_from", ["append", "save", "apply"])
def test_engine_on_a_full_disk_signs_nothing_until_there_is_room_and_begins_anew(
    full_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ROOM_RETRY_S", 0.002)
    world = World("a")
    disk = Disk(world)
    disk.full_from = full_from
    failures: set[str | None] = set()

    def is_done() -> bool:
        failures.add(world.engine.failure)
        return "applied 1" in world.diary

    asyncio.run(world.run_until(is_done))
    assert (disk.checks, disk.boots) == (3, 1)
    assert failures >= {"No space left on device", None}
    assert world.engine.failure is None
    full, room = world.diary.index("check"), len(world.diary) - world.diary[::-1].index("check")
    assert "send Vote" not in world.diary[full:room]
    signed_before = [entry for entry in world.diary[:full] if entry in ("send Propose", "send Vote")]
    assert bool(signed_before) == (full_from == "apply")
    assert world.reports[:1] == ["disk-full"]
    assert world.reports.count("disk-room") == 1
    assert [entry for entry in world.diary[room:] if entry.startswith(("persist", "seal", "applied"))]


# holds EL-7
def test_engine_whose_disk_fails_while_it_waits_for_room_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ROOM_RETRY_S", 0.002)
    world = World("a")
    disk = Disk(world)

    def damaged() -> Sequence[bytes]:
        raise StorageError("the log is damaged")

    world.engine.restart = Restart(damaged, disk.boot)
    asyncio.run(world.engine.run(lambda: ()))
    assert world.engine.failure == "the log is damaged"
    assert world.reports == ["disk-full", "storage"]
    assert disk.boots == 0


def test_engine_that_has_stopped_forgets_what_waits() -> None:
    world = World("abcd")
    world.engine.post(Connected("b"))
    asyncio.run(world.engine.run(lambda: [b"\xff"]))
    world.engine.post(Connected("b"))
    world.engine.wake()
    assert world.reports == ["storage"]
    assert not world.engine._inbox._turns


# holds EL-6
def test_engine_with_a_mistake_of_ours_signs_nothing_more_and_keeps_the_incident() -> None:
    world = World("a")

    def break_down(final: Block, certificate: Certificate) -> Head:
        raise KeyError((final.header.height, certificate.view))

    world.apply = break_down  # type: ignore[method-assign]
    asyncio.run(world.engine.run(lambda: ()))
    assert world.engine.failure is not None
    assert "KeyError" in world.engine.failure
    assert world.incidents == [world.engine.failure]
    assert world.reports == ["unexpected"]


# holds GV-8
def test_engine_whose_software_lacks_the_next_code_signs_nothing_more_and_lets_the_program_end() -> None:
    world = World("a")

    def end(applied: Block) -> None:
        raise ConfigurationError(f"block {applied.header.height + 1} is executed by other code")

    world.engine._hooks = replace(world.engine._hooks, applied=end)
    with pytest.raises(ConfigurationError, match="block 2 is executed by other code"):
        asyncio.run(world.engine.run(lambda: ()))
    assert len(world.stored) == 1
    assert (world.reports, world.incidents) == (["code-due"], [])


def test_engine_with_damaged_log_signs_nothing_and_says_why() -> None:
    world = World("a")
    asyncio.run(world.engine.run(lambda: [b"\xff"]))
    assert world.engine.failure is not None
    assert "write-ahead log is damaged" in world.engine.failure
    assert (world.reports, world.stored) == (["storage"], [])
    assert not any(entry.startswith("send") for entry in world.diary)


# holds CM-8
def test_engine_whose_log_cannot_be_read_signs_nothing_and_goes_on_serving() -> None:
    world = World("a")

    def read() -> list[bytes]:
        raise StorageError("the write-ahead log cannot be read: Input/output error")

    asyncio.run(world.engine.run(read))
    assert world.engine.failure == "the write-ahead log cannot be read: Input/output error"
    assert (world.reports, world.stored, world.sent) == (["storage"], [], [])


# holds CM-16
def test_engine_certified_block_that_differs_here_stops_signing() -> None:
    world = World("abcd")
    world.is_pending = False
    world.diverges = True
    final = block(1, GENESIS.digest, "abcd", proposer="a")
    signed = vote_bytes(CHAIN, 0, Step.COMMIT, 1, 0, final.header.digest())
    signatures = tuple((name, KEYS[name].sign(signed).signature) for name in "bcd")
    certificate = Certificate(Step.COMMIT, 0, 1, 0, final.header.digest(), signatures)
    message = encode_message(Blocks(((final, certificate),)))

    def answered() -> bool:
        # blocks count only as an answer, and a node asks once another stays ahead of it
        world.clock.advance(50)
        if any(isinstance(decode_message(raw), GetBlocks) for _, raw in world.sent):
            world.engine.on_message("b", message)
        return world.engine.failure is not None

    ahead = encode_message(Status(2, 0, "new"))
    asyncio.run(world.run_until(answered, lambda: world.engine.on_message("b", ahead)))
    assert "came out differently" in (world.engine.failure or "")
    assert world.stored == []

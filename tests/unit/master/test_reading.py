from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kit.clock import FakeClock
from kit.config import HostPort
from kit.exitcodes import StorageError
from kit.keystore import create_key, load_signing_key
from master import reading
from master.api.ports import SubmitResult
from master.api.signed import AccessError, BlobLabel, Reading
from master.config import ApiSection, NodeConfig, ReadsSection
from master.io.readlog import ReadLog
from master.ledger.rows import Head
from master.reading import Anchoring, AnchorRule, ReadingRoom, Reads, keep_anchored
from tests.unit.contracts.model_calls import store
from tests.unit.contracts.test_access import BLOB, CONTENT, register, seal
from tests.unit.ledger.worlds import MemoryState, World, key_of
from wire.cose import kid_of
from wire.genesis import AccountKey
from wire.tx import open_tx
from wire.types import sha256

TAGS = ("gridwitness/test-01234567/dispatch.example/00ff",)


class Ledger(MemoryState):
    """The state of a world as a node's store shows it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.entries = world, world.state.entries

    def head(self) -> Head:
        return self.world.head


def asked(account: str) -> Reading:
    return Reading(account, bytes(16), "settings", "device/dev-1", None, "/v1/blobs/00")


def test_permitted_read_is_logged_and_another_is_not(tmp_path: Path) -> None:
    world = World()
    with ReadLog(tmp_path, world.genesis.chain(), "dispatch") as log:
        room = ReadingRoom(Ledger(world), log, FakeClock(), TAGS)
        assert [room.admit(asked(account)) for account in ("grid", "lab", "gw-1")] == ["owner", None, "gateway"]
        assert log.position()[0] == 2
        public = key_of("lab").verify_key.encode()
        assert room.account_key(kid_of(public)) == AccountKey(public, "lab", "lab")
        assert room.account_key(bytes(16)) is None
        assert room.tags == TAGS


# holds HR-7
def test_blob_is_restricted_when_a_content_names_it_and_unknown_before_a_block_does(tmp_path: Path) -> None:
    world = World()
    with ReadLog(tmp_path, world.genesis.chain(), "dispatch") as log:
        room = ReadingRoom(Ledger(world), log, FakeClock(), TAGS)
        assert room.label(BLOB) is None
        assert register(world, "maker-a", "maker").code == "ok"
        assert seal(world).code == store(world).code == "ok"
        assert room.label(BLOB) == BlobLabel("settings", "device/dev-1", CONTENT)
        assert room.label(sha256(b"case 1")) == BlobLabel("public", "all", None)


# holds HR-4
@pytest.mark.parametrize(
    ("listen", "names", "found"),
    [
        (HostPort("10.0.0.1", 8080), (), ("10.0.0.1:8080",)),
        (HostPort("::1", 8080), (), ("[::1]:8080", "localhost:8080")),
        (HostPort("::", 8080), (), ()),
        (HostPort("127.0.0.1", 8080), ("dispatch.example",), ("dispatch.example",)),
    ],
)
def test_node_goes_by_the_names_it_was_given_or_by_where_it_listens(
    listen: HostPort, names: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert ApiSection(listen, names).own_names() == found


# holds RD-5
def test_permitted_read_that_the_disk_does_not_take_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    with ReadLog(tmp_path, world.genesis.chain(), "dispatch") as log:
        room = ReadingRoom(Ledger(world), log, FakeClock(), TAGS)

        def full(_: object) -> None:
            raise StorageError("the disk is full")

        monkeypatch.setattr(log, "append", full)
        with pytest.raises(AccessError, match="the disk is full"):
            room.admit(asked("grid"))


class Bench:
    """A log, its anchoring, and the ledger that it is anchored in."""

    def __init__(self, folder: Path, rule: AnchorRule) -> None:
        self.world, self.clock = World(), FakeClock()
        ledger, chain = Ledger(self.world), self.world.genesis.chain()
        self.log = ReadLog(folder / "reads", chain, "dispatch")
        self.room = ReadingRoom(ledger, self.log, self.clock, TAGS)
        create_key(folder, "dispatch")
        self.key_path = folder / "dispatch.key"
        self.anchoring = Anchoring(ledger, self.log, self.key_path, "dispatch", chain, rule, self.clock)

    def commit(self, raw: bytes) -> str:
        """Execute an anchor; the ledger knows another key of the account."""
        signed = open_tx(raw)
        signed.verify(load_signing_key(self.key_path).public)
        return self.world.call("dispatch", "access", signed.tx.method, signed.tx.args).code


# holds RD-4
def test_anchor_is_sent_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path, AnchorRule(after_ms=10_000, entries=3))
    assert bench.anchoring.due() is None
    bench.room.admit(asked("grid"))
    assert bench.anchoring.due() is None
    bench.clock.advance(10_000)
    first = bench.anchoring.due()
    assert first is not None
    assert bench.anchoring.due() is None, "one is under way"
    assert bench.commit(first) == "ok"
    assert bench.anchoring.due() is None
    for _ in range(3):
        bench.room.admit(asked("grid"))
    bench.clock.advance(60_000)
    second = bench.anchoring.due()
    assert second is not None
    assert open_tx(second).tx.args == {"number": 2, "entries": 4, "head": bench.log.position()[1]}
    assert bench.commit(second) == "ok"
    bench.log.close()


def test_anchor_that_is_refused_or_cannot_be_signed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_LOOK_EVERY_S", 0)
    bench = Bench(tmp_path, AnchorRule(after_ms=0, entries=1))
    bench.room.admit(asked("grid"))
    hidden = bench.key_path.rename(tmp_path / "hidden")
    sent: list[bytes] = []

    def submit(raw: bytes) -> SubmitResult:
        sent.append(raw)
        bench.clock.advance(60_000)
        return SubmitResult(sha256(raw), "refused" if len(sent) == 1 else "pending", "mempool-full")

    async def run() -> None:
        task = asyncio.create_task(keep_anchored(bench.anchoring, submit))
        async with asyncio.timeout(60):
            for _ in range(5):
                await asyncio.sleep(0)
            hidden.rename(bench.key_path)
            while len(sent) < 2:
                bench.clock.advance(60_000)
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    assert [open_tx(raw).tx.args["number"] for raw in sent[:2]] == [1, 1]
    bench.log.close()


@pytest.mark.parametrize("is_anchored", [False, True])
def test_reads_of_a_node_are_logged_behind_its_newest_anchor_and_anchored_with_a_key(
    tmp_path: Path, *, is_anchored: bool
) -> None:
    world = World()
    head = sha256(b"lost")
    assert world.call("dispatch", "access", "anchor", {"number": 1, "entries": 7, "head": head}).code == "ok"
    create_key(tmp_path, "dispatch")
    section = ReadsSection(tmp_path / "dispatch.key", anchor_s=1, anchor_entries=1)
    config = SimpleNamespace(
        node=SimpleNamespace(member="dispatch", data_dir=tmp_path),
        api=ApiSection(HostPort("127.0.0.1", 8080)),
        reads=section if is_anchored else None,
    )
    chain = world.genesis.chain()
    reads = Reads(cast("NodeConfig", config), Ledger(world), chain, FakeClock(), "00ff")
    assert reads.room.tags == tuple(f"gridwitness/{chain}/{name}:8080/00ff" for name in ("127.0.0.1", "localhost"))
    assert reads.room.admit(asked("grid")) == "owner"
    assert reads.log.position()[0] == 8
    sent: list[bytes] = []

    def submit(raw: bytes) -> SubmitResult:
        sent.append(raw)
        return SubmitResult(sha256(raw), "pending")

    async def run() -> None:
        task = asyncio.create_task(reads.run(submit))
        async with asyncio.timeout(60):
            while is_anchored and not sent:  # noqa: ASYNC110 - the log has no event for tests
                await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    asyncio.run(run())
    assert [open_tx(raw).tx.args["number"] for raw in sent] == ([2] if is_anchored else [])
    reads.log.close()

"""The shell around blobs: two nodes with a disk each, and nothing but messages between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.clock import FakeClock
from master import blobsync, uploads
from master.api.ports import BlobRefusedError
from master.blobsync import Around, BlobSync
from master.consensus.blob_messages import PART_BYTES_MAX, BlobPart, GetBlob
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import Status
from master.io.blobs import BlobStore, path_of
from master.ledger.blobs import known_blobs, known_size, named_blobs
from master.uploads import COPIES_MAX, SLOW_MS
from tests.unit.contracts.model_calls import arguments
from tests.unit.ledger.worlds import World
from wire.blob import BlobRef
from wire.block import Block
from wire.tx import SignedTx, open_tx
from wire.types import Digest, sha256

CONTENT = bytes(range(256)) * (PART_BYTES_MAX // 256 + 1)
OFFICE = ("dispatch", False)
BLOB = BlobRef(sha256(CONTENT), len(CONTENT))


class Town:
    """Nodes that hear each other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.world = folder, World()
        self.nodes: dict[str, Place] = {}
        self.clock = FakeClock()

    def node(self, name: str, bytes_max: int = 1 << 24) -> Place:
        self.nodes[name] = Place(self, name, bytes_max)
        return self.nodes[name]

    async def settle(self, until: Callable[[], bool]) -> None:
        """Let time pass until something holds."""
        async with asyncio.timeout(60):
            while not until():
                self.clock.advance(100)
                for node in self.nodes.values():
                    node.sync._go_on()
                await asyncio.sleep(0.001)

    def call(self, content: bytes = CONTENT, sender: str = "dispatch", **changes: Any) -> SignedTx:  # noqa: ANN401
        return self.world.sign(sender, "models", "store", arguments(content, **changes))

    def block(self, *calls: SignedTx) -> Block:
        return self.world.propose(*calls)[0].block


class Place:
    """One node."""

    def __init__(self, town: Town, name: str, bytes_max: int) -> None:
        self.town, self.name = town, name
        self.disk = BlobStore(town.folder / name, bytes_max)
        self.released: list[Digest] = []
        self.admitted: list[tuple[SignedTx, str]] = []
        self.reports: list[str] = []
        world = town.world
        self.around = Around(
            send=self._send,
            members=lambda: [other for other in town.nodes if other != name],
            report=lambda code, _: self.reports.append(code),
            release=self.released.append,
            admit=lambda signed, _party, way: self.admitted.append((signed, way)),
            outcome_of=lambda signed: world.application.outcome_of(
                signed, world.head.height + 1, world.head.time_ms + 1
            ),
            known_size=lambda digest: known_size(world.state, digest),
            known_blobs=lambda: known_blobs(world.state),
            brought=self._named,
            named_in=self._named,
        )
        self.sync = BlobSync(self.disk, self.around, town.clock)

    @staticmethod
    def _named(block: Block) -> tuple[BlobRef, ...]:
        return tuple(blob for raw in block.transactions for blob in named_blobs(open_tx(raw).tx))

    def _send(self, member: str, raw: bytes) -> None:
        other = self.town.nodes[member]
        asyncio.get_running_loop().call_soon(other.sync.overheard, self.name, decode_message(raw))

    def fill(self, content: bytes = CONTENT) -> None:
        arriving = self.disk.begin(BlobRef(sha256(content), len(content)))
        arriving.write(content)
        arriving.finish()


# holds BL-7 BL-8
def test_block_is_held_back_until_its_blob_has_come_from_another_node(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here, there = town.node("here"), town.node("there")
        there.fill()
        block = town.block(town.call())
        assert not there.sync.holds_back(block)
        assert here.sync.holds_back(block)
        await town.settle(lambda: bool(here.released))
        assert here.released == [block.header.digest()]
        assert here.disk.holds(BLOB)
        assert not here.sync.holds_back(block)
        assert (here.sync.fetch.wanted, here.reports) == ((), ["blobs-awaited"])
        for node in (here, there):
            node.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-8
def test_blob_that_a_liar_sends_is_rejected_and_fetched_from_another(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here, liar, there = town.node("here"), town.node("a-liar"), town.node("there")
        there.fill()
        original = liar.sync.overheard

        def lie(member: str, message: Any) -> bool:  # noqa: ANN401
            if isinstance(message, GetBlob):
                size = min(PART_BYTES_MAX, BLOB.size - message.offset)
                liar._send(member, encode_message(BlobPart(message.digest, message.offset, bytes(size))))
                return True
            return original(member, message)

        liar.sync.overheard = lie  # type: ignore[method-assign]
        here.sync.fetch.want(BLOB, is_urgent=True, hint="a-liar")
        await town.settle(lambda: here.disk.holds(BLOB))
        assert here.reports == ["blob-rejected"]
        assert here.sync._arriving == {}
        for node in town.nodes.values():
            node.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-9
def test_transaction_waits_for_its_blob_and_goes_on_when_it_is_uploaded(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here = town.node("here")
        signed = town.call()
        assert here.sync.expected(BLOB.digest) is None
        with pytest.raises(BlobRefusedError, match="submit the transaction first") as caught:
            here.sync.begin(BLOB.digest)
        assert (caught.value.status, caught.value.code) == (404, "blob-not-named")
        for _ in range(2):
            result = here.sync.gate(signed, OFFICE, "http")
            assert result is not None
            assert (result.status, result.blobs) == ("pending", (BLOB.digest,))
        assert here.sync.expected(BLOB.digest) == BLOB.size
        upload = here.sync.begin(BLOB.digest)
        upload.write(CONTENT)
        upload.finish()
        assert here.admitted == []
        upload.done()
        assert here.admitted == [(signed, "http")]
        assert (here.sync.size_of(BLOB.digest), len(here.sync.room)) == (BLOB.size, 0)
        assert here.sync.gate(signed, OFFICE, "http") is None
        with here.sync.open(BLOB.digest) as file:
            assert file.read() == CONTENT
        here.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-8
def test_transaction_that_was_passed_on_has_its_blob_fetched_from_who_passed_it_on(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here = town.node("here")
        for name in ("a", "b", "c"):
            town.node(name)
        town.nodes["c"].fill()
        here.sync.gossips("c")
        signed = town.call()
        here.sync.gate(signed, OFFICE, "gossip")
        here.sync._go_on()
        await town.settle(lambda: bool(here.admitted))
        assert here.admitted == [(signed, "gossip")]
        for node in town.nodes.values():
            node.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-9
def test_transaction_that_its_contract_would_refuse_lets_nobody_upload(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here")
    result = here.sync.gate(town.call(sender="maker-a"), OFFICE, "http")
    assert result is not None
    assert (result.status, result.code, result.http_status) == ("refused", "wrong-role", 409)
    expired = here.sync.gate(replace_time(town), OFFICE, "gossip")
    assert expired is not None
    assert expired.code == "expired"
    assert here.sync.expected(BLOB.digest) is None


def replace_time(town: Town) -> SignedTx:
    """Return a call whose time has passed."""
    return town.world.sign("dispatch", "models", "store", arguments(CONTENT), valid_until_ms=1)


# holds BL-9
def test_transactions_of_one_organisation_that_wait_are_bounded(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here")
    results = [here.sync.gate(town.call(bytes([n]), model=f"m-{n}"), OFFICE, "http") for n in range(17)]
    assert [result.status for result in results if result is not None] == ["pending"] * 16 + ["refused"]
    assert results[16] is not None
    assert results[16].code == "sender-full"


# holds BL-5 BL-9
def test_upload_of_other_bytes_is_refused_and_may_be_tried_again(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here")
    here.sync.gate(town.call(), OFFICE, "http")
    upload = here.sync.begin(BLOB.digest)
    upload.write(b"x")
    with pytest.raises(BlobRefusedError) as caught:
        upload.finish()
    assert (caught.value.status, caught.value.code) == (400, "blob-differs")
    upload.done()
    assert here.admitted == []
    broken = here.sync.begin(BLOB.digest)
    broken.write(CONTENT[:1])
    broken.done()
    assert list((tmp_path / "here" / "part").iterdir()) == []


# holds BL-9 MB-16
def test_uploads_of_one_organisation_leave_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOADS_MAX", 2)
    town = Town(tmp_path)
    here = town.node("here")
    contents = [bytes([n]) for n in range(3)]
    for content, party in zip(contents, (OFFICE, OFFICE, ("lab", False)), strict=True):
        here.sync.gate(town.call(content, model=f"m-{content[0]}"), party, "http")
    first = here.sync.begin(sha256(contents[0]))
    with pytest.raises(BlobRefusedError, match="1 blobs of this organisation") as caught:
        here.sync.begin(sha256(contents[1]))
    assert (caught.value.status, caught.value.code) == (429, "busy")
    other = here.sync.begin(sha256(contents[2]))
    first.done()
    other.done()
    here.sync.begin(sha256(contents[1])).done()


# holds BL-9
def test_blob_comes_several_times_at_once_and_the_first_that_is_whole_ends_the_others(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here")
    signed = town.call()
    here.sync.gate(signed, OFFICE, "http")
    slow, quick, wrong = (here.sync.begin(BLOB.digest) for _ in range(3))
    slow.write(CONTENT[:1])
    wrong.write(bytes(BLOB.size))
    with pytest.raises(BlobRefusedError):
        wrong.finish()
    wrong.done()
    assert not slow.over.is_set()
    quick.write(CONTENT)
    quick.finish()
    assert not slow.over.is_set()
    quick.done()
    assert (slow.over.is_set(), quick.over.is_set(), here.admitted) == (True, False, [(signed, "http")])
    slow.done()
    assert here.disk.holds(BLOB)
    assert list((tmp_path / "here" / "part").iterdir()) == []


# holds BL-9
def test_upload_ends_the_slowest_of_too_many_of_the_same_blob(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here")
    here.sync.gate(town.call(), OFFICE, "http")
    held = []
    for _ in range(COPIES_MAX):
        town.clock.advance(10)
        held.append(here.sync.begin(BLOB.digest))
    town.clock.advance(10)
    for upload in held[:-1]:
        upload.write(CONTENT[:1])
    newest = here.sync.begin(BLOB.digest)
    assert [upload.over.is_set() for upload in (*held, newest)] == [False, False, False, True, False]
    for upload in (*held, newest):
        upload.done()
    assert not here.disk.holds(BLOB)
    here.sync.begin(BLOB.digest).done()


# holds BL-9 MB-16
def test_upload_that_has_come_to_a_stop_makes_room_for_another_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOADS_MAX", 4)
    town = Town(tmp_path)
    here = town.node("here")
    contents = [bytes([n]) for n in range(4)]
    for content in contents:
        here.sync.gate(town.call(content, model=f"m-{content[0]}"), OFFICE, "http")
    first, second = (here.sync.begin(sha256(content)) for content in contents[:2])
    for _ in range(2):
        town.clock.advance(SLOW_MS - 1)
        second.write(b"")
        if not first.over.is_set():
            first.write(b"")
        with pytest.raises(BlobRefusedError, match="2 blobs of this organisation"):
            here.sync.begin(sha256(contents[2]))
    town.clock.advance(SLOW_MS)
    second.write(b"")
    third = here.sync.begin(sha256(contents[2]))
    assert [upload.over.is_set() for upload in (first, second, third)] == [True, False, False]
    with pytest.raises(BlobRefusedError) as caught:
        here.sync.begin(sha256(contents[3]))
    assert (caught.value.status, caught.value.code) == (429, "busy")
    for upload in (first, second, third):
        upload.done()


# holds BL-9 MB-16
def test_upload_of_who_has_none_takes_the_place_of_the_slowest_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "UPLOADS_MAX", 2)
    town = Town(tmp_path)
    here = town.node("here")
    parties = (OFFICE, ("lab", False), ("grid", False))
    contents = [bytes([n]) for n in range(3)]
    for content, party in zip(contents, parties, strict=True):
        here.sync.gate(town.call(content, model=f"m-{content[0]}"), party, "http")
    first, second = (here.sync.begin(sha256(content)) for content in contents[:2])
    with pytest.raises(BlobRefusedError, match="as many blobs as this node takes at once") as caught:
        here.sync.begin(sha256(contents[2]))
    assert (caught.value.status, caught.value.code) == (429, "busy")
    town.clock.advance(SLOW_MS)
    first.write(b"")
    third = here.sync.begin(sha256(contents[2]))
    assert [upload.over.is_set() for upload in (first, second, third)] == [False, True, False]
    for upload in (first, second, third):
        upload.done()


# holds BL-9
def test_upload_that_cannot_begin_ends_no_other(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here", bytes_max=COPIES_MAX * BLOB.size)
    here.sync.gate(town.call(), OFFICE, "http")
    held = [here.sync.begin(BLOB.digest) for _ in range(COPIES_MAX)]
    with pytest.raises(BlobRefusedError, match="blobs_mib"):
        here.sync.begin(BLOB.digest)
    assert not any(upload.over.is_set() for upload in held)
    for upload in held:
        upload.done()


# holds BL-6
def test_upload_beyond_the_quota_is_refused(tmp_path: Path) -> None:
    town = Town(tmp_path)
    here = town.node("here", bytes_max=10)
    here.sync.gate(town.call(), OFFICE, "http")
    with pytest.raises(BlobRefusedError, match="blobs_mib") as caught:
        here.sync.begin(BLOB.digest)
    assert (caught.value.status, caught.value.code, here.reports) == (507, "blobs-full", ["blobs-full"])


# holds BL-6 BL-7
def test_blob_for_a_vote_may_exceed_the_quota_and_another_may_not(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here, there = town.node("here", bytes_max=10), town.node("there")
        there.fill()
        here.sync.gate(town.call(), OFFICE, "gossip")
        await town.settle(lambda: "blobs-full" in here.reports)
        assert here.sync.holds_back(town.block(town.call()))
        await town.settle(lambda: here.disk.holds(BLOB))
        for node in (here, there):
            node.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-10
def test_blob_of_a_final_block_that_is_missing_is_fetched_later_and_ghosts_are_forgotten(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here, there = town.node("here"), town.node("there")
        ghost = town.block(town.call(b"ghost", model="ghost"))
        assert here.sync.holds_back(ghost)
        call = town.call()
        (done,) = town.world.run(call)
        here.sync.applied(done.execution.block)
        assert here.sync.fetch.wanted == (BLOB,)
        there.fill()
        await town.settle(lambda: here.disk.holds(BLOB))
        here.sync.applied(done.execution.block)
        assert [*here.sync.fetch.wanted, *here.released] == []
        for node in (here, there):
            node.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-10
def test_blob_that_arrives_and_nobody_needs_any_more_is_given_up(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here, there = town.node("here"), town.node("there")
        there.fill()
        original = there.sync.overheard

        def stop_half_way(member: str, message: Any) -> bool:  # noqa: ANN401
            return (isinstance(message, GetBlob) and message.offset > 0) or original(member, message)

        there.sync.overheard = stop_half_way  # type: ignore[method-assign]
        assert here.sync.holds_back(town.block(town.call()))
        await town.settle(lambda: bool(here.sync._arriving))
        (done,) = town.world.run(town.world.sign("gw-1", "notary", "put", {"key": "k", "data": b"d"}))
        here.sync.applied(done.execution.block)
        await town.settle(lambda: not any((tmp_path / "here" / "part").iterdir()))
        assert here.sync._arriving == {}
        here.disk.begin(BlobRef(bytes(32), (1 << 24))).abort()  # its room is free again
        for node in (here, there):
            node.sync._worker.shutdown()

    asyncio.run(scene())


# holds BL-10
def test_sweep_finds_what_is_missing_and_removes_what_nobody_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here = town.node("here")
        here.fill(b"orphan")
        town.world.run(town.call())
        monkeypatch.setattr(blobsync, "ORPHAN_S", -(10**9))
        running = asyncio.create_task(here.sync.run())
        await town.settle(lambda: here.disk.count == 0)
        assert here.sync.fetch.wanted == (BLOB,)
        assert here.sync.expected(BLOB.digest) == BLOB.size  # whoever still has it may bring it
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scene())


# holds BL-6 BL-8
def test_blob_that_is_damaged_is_not_served(tmp_path: Path) -> None:
    async def scene() -> None:
        town = Town(tmp_path)
        here, there = town.node("here"), town.node("there")
        there.fill()
        path_of(tmp_path / "there", BLOB.digest).write_bytes(b"rotten")
        here.sync.fetch.want(BLOB)
        await town.settle(lambda: there.disk.count == 0)
        assert here.disk.count == 0
        with pytest.raises(BlobRefusedError, match="is not here"):
            there.sync.open(BLOB.digest)
        assert not here.sync.overheard("there", Status(1, 0, "new"))
        for node in (here, there):
            node.sync._worker.shutdown()

    asyncio.run(scene())

"""Blobs over HTTP."""

from __future__ import annotations

import asyncio
import io
from typing import BinaryIO

import pytest
from starlette.applications import Starlette

from master.api.app import build_api
from master.api.context import Limits
from master.api.ports import BlobRefusedError, SubmitResult, Upload
from master.api.signed import BlobLabel, NoAccess
from tests.unit.master.api.fakes import World, signed
from tests.unit.master.api.http import STALLED, Reply, fetch, send
from wire.types import sha256

CONTENT = bytes(range(256)) * 3000
DIGEST = sha256(CONTENT)
PATH = f"/v1/blobs/{DIGEST.hex()}"


class FakeBlobs:
    """Implements `BlobPort` in memory."""

    def __init__(self, *, here: bool = False, named: bool = True) -> None:
        self.kept = {DIGEST: CONTENT} if here else {}
        self.named = named
        self.is_gone = self.is_busy = False
        self.written = b""
        self.begun = self.done = 0

    def size_of(self, digest: bytes) -> int | None:
        return len(self.kept[digest]) if digest in self.kept else None

    def expected(self, digest: bytes) -> int | None:
        return len(CONTENT) if self.named and digest == DIGEST else None

    def begin(self, digest: bytes) -> Upload:
        if self.expected(digest) is None:
            raise BlobRefusedError(404, "blob-not-named", "submit the transaction first")
        if self.is_busy:
            raise BlobRefusedError(429, "busy", "bring it later")
        self.begun += 1
        return FakeUpload(self)

    def open(self, digest: bytes) -> BinaryIO:
        if self.is_gone:
            raise BlobRefusedError(404, "not-found", "it was damaged")
        return io.BytesIO(self.kept[digest])


class FakeUpload:
    """Implements `Upload`."""

    def __init__(self, blobs: FakeBlobs) -> None:
        self._blobs = blobs
        self.over = asyncio.Event()

    def write(self, data: bytes) -> None:
        self._blobs.written += data

    def finish(self) -> None:
        if self._blobs.written != CONTENT:
            raise BlobRefusedError(400, "blob-differs", "other bytes came")
        self._blobs.kept[DIGEST] = CONTENT

    def done(self) -> None:
        self._blobs.done += 1


class Open(NoAccess):
    """Every blob is public."""

    def label(self, blob: bytes) -> BlobLabel:
        del blob
        return BlobLabel("public", "all", None)


def api_of(blobs: FakeBlobs, limits: Limits | None = None) -> Starlette:
    world = World()
    return build_api(
        world.node,
        world.ledger,
        world.proofs,
        world.tables,
        type(world.registry)(),
        limits or Limits(),
        blobs=blobs,
        access=Open(),
    )


def ask(blobs: FakeBlobs, body: bytes | list[bytes] | None = None, limits: Limits | None = None, **more: str) -> Reply:
    method = more.pop("method", "GET" if body is None else "PUT")
    return fetch(api_of(blobs, limits), more.pop("path", PATH), method=method, body=body or b"", headers=more)


# holds BL-9
def test_blob_is_answered_whole_with_its_length() -> None:
    reply = ask(FakeBlobs(here=True))
    assert (reply.status, reply.body) == (200, CONTENT)
    assert reply.headers["content-length"] == str(len(CONTENT))
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["etag"] == f'"{DIGEST.hex()}"'
    head = ask(FakeBlobs(here=True), method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))


# holds BL-9
def test_blob_that_is_not_here_or_is_damaged_is_not_found() -> None:
    assert ask(FakeBlobs()).status == 404
    blobs = FakeBlobs(here=True)
    blobs.is_gone = True
    reply = ask(blobs)
    assert (reply.status, reply.json()["detail"]) == (404, "it was damaged")
    assert ask(blobs, path="/v1/blobs/xyz").status == 400


# holds BL-9
def test_blob_that_is_named_is_taken_in_parts() -> None:
    blobs = FakeBlobs()
    reply = ask(blobs, [CONTENT[:300_000], CONTENT[300_000:]])
    assert (reply.status, reply.json()) == (201, {"digest": DIGEST.hex(), "size": len(CONTENT)})
    assert (blobs.written, blobs.done) == (CONTENT, 1)
    again = ask(blobs, CONTENT)
    assert (again.status, blobs.done) == (200, 1)


def patience(body: bytes | list[bytes]) -> Limits:
    """Wait long, except for what never comes."""
    return Limits(stall_s=0.05 if STALLED in body else 60)


# holds BL-9
@pytest.mark.parametrize(
    ("blobs", "body", "status", "code"),
    [
        (FakeBlobs(named=False), CONTENT, 404, "blob-not-named"),
        (FakeBlobs(), CONTENT[:-1], 400, "blob-differs"),
        (FakeBlobs(), [CONTENT[:100_000], b""], 400, "malformed"),
        (FakeBlobs(), [CONTENT[:100_000], STALLED], 408, "body-too-slow"),
    ],
)
def test_blob_that_is_not_wanted_or_not_whole_is_refused(
    blobs: FakeBlobs, body: bytes | list[bytes], status: int, code: str
) -> None:
    reply = ask(blobs, body, patience(body))
    assert (reply.status, reply.json()["type"]) == (status, f"urn:gridwitness:problem:{code}")
    assert DIGEST not in blobs.kept
    assert blobs.done == (code != "blob-not-named")


# holds BL-9
@pytest.mark.parametrize(("rest", "status"), [(b"", 400), (STALLED, 408)])
def test_upload_has_no_place_before_its_first_piece_is_here(rest: bytes, status: int) -> None:
    blobs = FakeBlobs()
    body = [CONTENT[:65_535], rest]
    assert ask(blobs, body, patience(body)).status == status
    assert (blobs.begun, blobs.done) == (0, 0)


# holds BL-9
def test_upload_that_has_waited_longest_for_its_first_piece_ends_for_another() -> None:
    async def work() -> tuple[Reply, Reply]:
        api = api_of(FakeBlobs(), Limits(bodies_max=1))
        idle = asyncio.create_task(send(api, PATH, method="PUT", body=[CONTENT[:1], STALLED]))
        for _ in range(100):
            await asyncio.sleep(0)
        whole = await send(api, PATH, method="PUT", body=[CONTENT])
        return whole, await asyncio.wait_for(idle, 60)

    whole, idle = asyncio.run(work())
    assert (whole.status, idle.status, idle.headers["retry-after"]) == (201, 429, "1")


# holds BL-9
def test_blob_that_came_while_its_first_piece_did_is_answered_at_once() -> None:
    class Late(FakeBlobs):
        def expected(self, digest: bytes) -> int | None:
            self.kept[DIGEST] = CONTENT
            return super().expected(digest)

    blobs = Late()
    assert (ask(blobs, CONTENT).status, blobs.begun) == (200, 0)


# holds BL-9
def test_blob_longer_than_it_was_named_is_refused_by_its_length() -> None:
    blobs = FakeBlobs()
    reply = ask(blobs, b"x", None, **{"content-length": str(len(CONTENT) + 1)})
    assert (reply.status, blobs.done) == (413, 0)


# holds BL-9
@pytest.mark.parametrize("is_upload", [True, False])
def test_blobs_on_their_way_are_bounded(*, is_upload: bool) -> None:
    blobs = FakeBlobs(here=not is_upload)
    blobs.is_busy = True
    reply = ask(blobs, CONTENT if is_upload else None, Limits(blobs_max=0))
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")


# holds BL-9
def test_blob_is_taken_while_as_many_as_may_be_are_sent() -> None:
    assert ask(FakeBlobs(), CONTENT, Limits(blobs_max=0)).status == 201


# holds BL-9
def test_blob_that_comes_byte_by_byte_is_cut_off() -> None:
    blobs = FakeBlobs()
    reply = ask(blobs, [CONTENT[:1]] * 20_000, Limits(stall_s=0.05))
    assert (reply.status, reply.json()["type"], blobs.written) == (408, "urn:gridwitness:problem:body-too-slow", b"")


# holds BL-9
@pytest.mark.parametrize("rest", [STALLED, CONTENT[100_000:]])
@pytest.mark.parametrize(("is_here", "status"), [(True, 200), (False, 429)])
def test_upload_that_is_to_end_is_answered_at_once(*, is_here: bool, status: int, rest: bytes) -> None:
    class Ending(FakeUpload):
        """Is to end once its first piece has come."""

        def write(self, data: bytes) -> None:
            super().write(data)
            if is_here:
                blobs.kept[DIGEST] = CONTENT
            self.over.set()

    class Crowded(FakeBlobs):
        def begin(self, digest: bytes) -> Upload:
            del digest
            return Ending(self)

    blobs = Crowded()
    reply = ask(blobs, [CONTENT[:100_000], rest])
    assert (reply.status, blobs.done, blobs.written) == (status, 1, CONTENT[:100_000])
    if is_here:
        assert reply.json() == {"digest": DIGEST.hex(), "size": len(CONTENT)}
    else:
        assert (reply.json()["type"], reply.headers["retry-after"]) == ("urn:gridwitness:problem:busy", "1")


# holds BL-9
def test_submission_says_which_blobs_are_to_be_brought() -> None:
    world = World()
    raw = signed(1)
    world.node.refuse = SubmitResult(sha256(raw), "pending", blobs=(DIGEST,))
    reply = fetch(world.api, "/v1/tx", method="POST", body=raw, headers={"content-type": "application/octet-stream"})
    assert reply.json()["results"] == [{"id": sha256(raw).hex(), "status": "pending", "blobs": [DIGEST.hex()]}]


def test_node_without_blobs_has_none_and_takes_none() -> None:
    world = World()
    assert fetch(world.api, PATH).status == 404
    assert fetch(world.api, PATH, method="PUT", body=CONTENT).status == 404

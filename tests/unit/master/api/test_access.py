"""Restricted reads over HTTP: who signs, who may, and what is logged."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import pytest
from nacl.signing import SigningKey
from starlette.applications import Starlette

from master.api.app import build_api
from master.api.ports import BlobRefusedError, Upload
from master.api.signed import NONCES_MAX, AccessError, BlobLabel, NoAccess, Nonces, Reading
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import Reply, fetch
from wire.cose import kid_of
from wire.genesis import AccountKey
from wire.httpsig import SIGNATURE, SIGNATURE_INPUT, Message, audience, sign_request
from wire.sealed import Label, SealedFile, Wrap
from wire.types import sha256

KEY = SigningKey(sha256(b"lab"))
KID = kid_of(KEY.verify_key.encode())
LAB = AccountKey(KEY.verify_key.encode(), "lab", "lab")
TAG = audience("test-01234567", "dispatch.example", "00ff")
INSIDE = audience("test-01234567", "10.0.0.1:8080", "00ff")
SEALED = SealedFile(
    Label("test-01234567", "settings", "device/dev-1", "linden"),
    sha256(b"content"),
    bytes(64),
    (Wrap("lab", bytes(16), bytes(80)),),
).encode()
BARE = b"values that somebody named as a sealed file and did not seal"
OPEN = b"a model that everybody may read" * 10
WAITING = b"what a transaction names that is in no block"
RESTRICTED = BlobLabel("settings", "device/dev-1", sha256(b"content"))
LABELS = {
    sha256(SEALED): RESTRICTED,
    sha256(BARE): RESTRICTED,
    sha256(OPEN): BlobLabel("public", "all", None),
}
NONCE = "0123456789abcdef"


class Blobs:
    """Implements `BlobPort` in memory."""

    def __init__(self) -> None:
        self.kept = {sha256(raw): raw for raw in (SEALED, BARE, OPEN, WAITING)}
        self.files: list[io.BytesIO] = []

    def size_of(self, digest: bytes) -> int | None:
        return len(self.kept[digest]) if digest in self.kept else None

    def expected(self, digest: bytes) -> int | None:
        return None

    def begin(self, digest: bytes) -> Upload:
        raise BlobRefusedError(404, "blob-not-named", "nobody names it")

    def open(self, digest: bytes) -> BinaryIO:
        self.files.append(io.BytesIO(self.kept[digest]))
        return self.files[-1]


@dataclass
class Access:
    """Implements `AccessPort` in memory."""

    grant: str | None = "owner"
    failure: str = ""
    tags: tuple[str, ...] = (TAG, INSIDE)
    asked: list[Reading] = field(default_factory=list)

    def account_key(self, kid: bytes) -> AccountKey | None:
        return LAB if kid == KID else None

    def label(self, blob: bytes) -> BlobLabel | None:
        return LABELS.get(blob)

    def admit(self, reading: Reading) -> str | None:
        if self.failure:
            raise AccessError(self.failure)
        self.asked.append(reading)
        return self.grant


@dataclass
class Site:
    """A node's API with four blobs."""

    access: Access = field(default_factory=Access)
    blobs: Blobs = field(default_factory=Blobs)

    def __post_init__(self) -> None:
        world = World()
        self.now_s = world.node.now_ms() // 1000
        self.api: Starlette = build_api(
            world.node,
            world.ledger,
            world.proofs,
            world.tables,
            type(world.registry)(),
            blobs=self.blobs,
            access=self.access,
        )

    def sign(
        self, path: str, *, key: SigningKey = KEY, nonce: str = NONCE, tag: str = TAG, age_s: int = 0
    ) -> dict[str, str]:
        return sign_request(Message("GET", path), key, tag, self.now_s - age_s, nonce)

    def get(self, raw: bytes, headers: dict[str, str] | None = None) -> Reply:
        return fetch(self.api, path_of(raw), headers=headers)


def path_of(raw: bytes) -> str:
    return f"/v1/blobs/{sha256(raw).hex()}"


def code_of(reply: Reply) -> str:
    return str(reply.json()["type"]).removeprefix("urn:gridwitness:problem:")


# holds HR-7
def test_blob_that_is_public_is_open_to_everybody() -> None:
    site = Site()
    reply = site.get(OPEN)
    assert (reply.status, reply.body, reply.headers["gridwitness-grant"]) == (200, OPEN, "public")
    assert fetch(site.api, "/v1/status").headers["gridwitness-grant"] == "public"
    assert not site.access.asked


# holds HR-7 BL-9
def test_blob_that_no_block_names_is_given_to_nobody() -> None:
    site = Site()
    for headers in (None, site.sign(path_of(WAITING))):
        reply = site.get(WAITING, headers)
        assert (reply.status, code_of(reply)) == (404, "not-found")
    assert not site.blobs.files


# holds HR-1 HR-7
@pytest.mark.parametrize("raw", [SEALED, BARE])
@pytest.mark.parametrize("tag", [TAG, INSIDE])
def test_restricted_blob_is_read_with_a_signature_and_a_permission(raw: bytes, tag: str) -> None:
    site = Site(Access(grant="ab" * 32))
    reply = site.get(raw, site.sign(path_of(raw), tag=tag))
    assert (reply.status, reply.body, reply.headers["gridwitness-grant"]) == (200, raw, "ab" * 32)
    (reading,) = site.access.asked
    assert reading == Reading("lab", KID, "settings", "device/dev-1", sha256(b"content"), path_of(raw))


# holds HR-4 HR-5 HR-7
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": SigningKey(bytes(32))}, "unknown-key"),
        ({"tag": audience("test-01234567", "centre-east.example", "00ff")}, "bad-signature"),
        ({"age_s": 3600}, "stale-signature"),
        ({"path": path_of(OPEN)}, "bad-signature"),
    ],
)
def test_request_without_a_good_signature_gets_401(changes: dict[str, object], code: str) -> None:
    site = Site()
    headers = site.sign(**{"path": path_of(SEALED)} | changes)  # type: ignore[arg-type]
    reply = site.get(SEALED, headers)
    assert (reply.status, code_of(reply)) == (401, code)
    assert f'tag="{TAG}"' in reply.headers["accept-signature"]
    assert "gridwitness-grant" not in reply.headers
    assert not site.access.asked
    assert not site.blobs.files


# holds HR-7
def test_request_without_a_signature_or_with_another_form_gets_401() -> None:
    site = Site()
    assert code_of(site.get(SEALED)) == code_of(site.get(BARE)) == "signature-required"
    good = site.sign(path_of(SEALED))
    assert code_of(site.get(SEALED, good | {SIGNATURE_INPUT: "sig1=()"})) == "bad-signature"
    assert code_of(site.get(SEALED, good | {SIGNATURE: "gridwitness=::"})) == "bad-signature"


# holds HR-6
def test_signed_request_that_is_sent_again_is_refused() -> None:
    site = Site()
    headers = site.sign(path_of(SEALED))
    assert site.get(SEALED, headers).status == 200
    again = site.get(SEALED, headers)
    assert (again.status, code_of(again)) == (401, "replayed")
    assert site.get(SEALED, site.sign(path_of(SEALED), nonce=NONCE + "2")).status == 200


# holds HR-7
def test_head_of_a_restricted_blob_wants_what_get_wants() -> None:
    site = Site()
    assert fetch(site.api, path_of(SEALED), method="HEAD").status == 401
    signed = sign_request(Message("HEAD", path_of(SEALED)), KEY, TAG, site.now_s, NONCE)
    reply = fetch(site.api, path_of(SEALED), method="HEAD", headers=signed)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", str(len(SEALED)))
    assert reply.headers["gridwitness-grant"] == site.access.grant
    assert fetch(site.api, path_of(OPEN), method="HEAD").headers["gridwitness-grant"] == "public"


# holds HR-7
def test_read_without_a_permission_gets_403_and_is_not_logged() -> None:
    site = Site(Access(grant=None))
    reply = site.get(SEALED, site.sign(path_of(SEALED)))
    assert (reply.status, code_of(reply)) == (403, "no-grant")
    assert "lab may not read settings of device/dev-1" in reply.json()["detail"]


# holds RD-5
def test_read_that_cannot_be_logged_is_refused() -> None:
    site = Site(Access(failure="the disk is full"))
    reply = site.get(SEALED, site.sign(path_of(SEALED)))
    assert (reply.status, code_of(reply), reply.json()["detail"]) == (503, "read-log", "the disk is full")


# holds HR-4
def test_node_that_knows_no_address_of_its_own_takes_no_signature() -> None:
    site = Site(Access(tags=()))
    reply = site.get(SEALED, site.sign(path_of(SEALED)))
    assert (reply.status, code_of(reply)) == (503, "no-name")
    assert site.get(OPEN).status == 200


def test_node_without_access_lets_nobody_read() -> None:
    world = World()
    registry = type(world.registry)()
    api = build_api(world.node, world.ledger, world.proofs, world.tables, registry, blobs=Blobs())
    headers = sign_request(Message("GET", path_of(SEALED)), KEY, TAG, world.node.now_ms() // 1000, NONCE)
    assert code_of(fetch(api, path_of(SEALED), headers=headers)) == "not-found"
    nobody = NoAccess()
    assert (nobody.tags, nobody.account_key(KID)) == ((), None)
    assert nobody.admit(Reading("lab", KID, "settings", "device/dev-1", None, "/")) is None


# holds HR-6
def test_nonce_is_taken_once_until_it_ends() -> None:
    nonces, other = Nonces(), replace(LAB, key=bytes(32))
    assert [nonces.take(LAB, KID, NONCE, 1000, now_ms) for now_ms in (0, 1, 1000)] == [True, False, False]
    assert nonces.take(other, bytes(16), NONCE, 1000, 1) is True
    assert nonces.take(LAB, KID, NONCE, 2000, 1001) is True


# holds HR-6
def test_nonces_of_one_organisation_are_bounded_and_take_no_room_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NONCES_MAX == 4_096
    monkeypatch.setattr("master.api.signed.NONCES_MAX", 2)
    nonces, operator = Nonces(), replace(LAB, key=bytes(32), sender="lab-op")
    assert [nonces.take(LAB, KID, f"{number:016}", 5, 0) for number in range(3)] == [True, True, None]
    assert nonces.take(operator, bytes(16), NONCE, 5, 0) is None
    for number in range(20):
        assert nonces.take(AccountKey(bytes(32), f"o-{number}", f"o-{number}"), bytes([number]) * 16, NONCE, 5, 0)
    assert nonces.take(LAB, KID, f"{9:016}", 9, 6) is True
    assert len(nonces._until) == 1


def test_too_many_signatures_of_one_organisation_get_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.api.signed.NONCES_MAX", 0)
    site = Site()
    reply = site.get(SEALED, site.sign(path_of(SEALED)))
    assert (reply.status, reply.headers["retry-after"]) == (429, "10")

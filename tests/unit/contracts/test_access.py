from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest
from nacl.public import PrivateKey

from master.contracts import access_records, member_places
from master.contracts.access import ENTRIES_AHEAD_MAX
from master.contracts.access_records import GATEWAY, OWNER, SEALER, Question, permission
from master.ledger.call import StateReads
from tests.unit.contracts.members_site import Site
from tests.unit.contracts.members_site import public as account_key
from tests.unit.contracts.model_calls import store
from tests.unit.ledger.worlds import Done, World
from wire import cbor
from wire.cbor import Value
from wire.cose import kid_of
from wire.grants import PAGE_GRANTS, PAGES_MAX, PastGrant, decode_past, page_key, past_count_key, past_key
from wire.membership import REGISTER
from wire.types import sha256

CONTENT, BLOB = sha256(b"content"), sha256(b"sealed file")
NOTHING: Mapping[str, Value] = MappingProxyType({})
ROOM = Question("settings", "device/dev-1")


def grant(world: World, sender: str = "grid", changes: Mapping[str, Value] = NOTHING, **more: Value) -> Done:
    args: dict[str, Value] = {
        "class": "settings",
        "subject": "device/dev-1",
        "reader": "organisation/lab",
        "from_ms": None,
        "until_ms": None,
    }
    return world.call(sender, "access", "grant", args | dict(changes) | more)


def revoke(world: World, wanted: Value, sender: str = "grid") -> Done:
    return world.call(sender, "access", "revoke", {"grant": wanted})


def public(name: str) -> bytes:
    return PrivateKey(sha256(name.encode())).public_key.encode()


def register(world: World, sender: str, name: str) -> Done:
    return world.call(sender, "access", "register", {"key": public(name)})


def seal(
    world: World,
    sender: str = "maker-a",
    wrapped: Sequence[str] = ("maker",),
    changes: Mapping[str, Value] = NOTHING,
    **more: Value,
) -> Done:
    args: dict[str, Value] = {
        "content": CONTENT,
        "blob": BLOB,
        "size": 4096,
        "class": "settings",
        "subject": "device/dev-1",
        "title": "linden-1-2-4",
        "keys": list[Value](sorted(kid_of(public(key)) for key in wrapped)),
    }
    return world.call(sender, "access", "seal", args | dict(changes) | more)


def allowed(world: World, account: str, question: Question = ROOM, *, later_ms: int = 0) -> str | None:
    head = world.head
    return permission(StateReads(world.state), account, question, head.height, head.time_ms + later_ms)


# holds AC-4
def test_owner_and_gateway_read_their_own_and_nobody_else_does() -> None:
    world = World()
    assert [allowed(world, name) for name in ("grid", "gw-1", "gw-2", "lab", "dispatch", "nobody")] == [
        OWNER,
        GATEWAY,
        None,
        None,
        None,
        None,
    ]
    assert allowed(world, "gw-1", Question("settings", "station/st-1")) == GATEWAY
    assert allowed(world, "gw-1", Question("settings", "organisation/grid")) is None
    assert allowed(world, "grid", Question("settings", "station/st-2")) == OWNER
    assert allowed(world, "grid", Question("settings", "organisation/grid")) == OWNER
    assert allowed(world, "grid", Question("settings", "all")) is None
    assert allowed(world, "grid", Question("settings", "device/unknown")) is None
    assert allowed(world, "grid", Question("settings", "station/unknown")) is None


# holds AC-2 AC-4
@pytest.mark.parametrize("subject", ["device/dev-1", "station/st-1", "organisation/grid"])
def test_grant_on_a_subject_lets_read_what_is_in_it_from_its_block_on(subject: str) -> None:
    world = World()
    done = grant(world, subject=subject)
    assert (done.code, done.event_types) == ("ok", ["access_granted"])
    assert allowed(world, "lab") == done.tx.id.hex()
    assert [allowed(world, name) for name in ("lab-b", "maker-a")] == [None, None]
    assert allowed(world, "lab", Question("measurements", "device/dev-1")) is None


# holds AC-2
@pytest.mark.parametrize(("reader", "able"), [("role/laboratory", ["lab", "lab-b"]), ("account/lab-b", ["lab-b"])])
def test_grant_to_a_role_or_account_is_for_them_alone(reader: str, able: list[str]) -> None:
    world = World()
    assert grant(world, reader=reader).code == "ok"
    assert [name for name in ("lab", "lab-b", "regulator") if allowed(world, name) is not None] == able


# holds AC-3
def test_revocation_counts_from_its_block_on_and_leaves_the_record() -> None:
    world = World()
    given = grant(world)
    held_height = world.head.height
    done = revoke(world, given.tx.id)
    assert (done.code, done.event_types) == ("ok", ["access_revoked"])
    assert allowed(world, "lab") is None
    (record,) = access_records.grants(StateReads(world.state), "settings", "device/dev-1")
    assert (record.ended_height, record.ended_by) == (world.head.height, "grid")
    assert record.holds(held_height, world.head.time_ms)
    assert not record.holds(held_height - 1, world.head.time_ms)
    assert revoke(world, given.tx.id).code == "already-revoked"


# holds AC-3
def test_grant_counts_between_its_times_alone() -> None:
    world = World()
    start = world.head.time_ms
    given = grant(world, from_ms=start + 10_000, until_ms=start + 20_000)
    offset = start - world.head.time_ms
    held = [allowed(world, "lab", later_ms=offset + after) for after in (9_999, 10_000, 19_999, 20_000)]
    assert held == [None, given.tx.id.hex(), given.tx.id.hex(), None]


# holds AC-1
def test_only_the_super_node_grants_for_all_subjects() -> None:
    world = World()
    assert grant(world, subject="all", reader="role/regulator").code == "super-node-only"
    assert grant(world, "dispatch", subject="all", reader="role/regulator").code == "ok"
    assert allowed(world, "regulator") is not None
    given = grant(world, "dispatch", subject="all")
    assert revoke(world, given.tx.id).code == "super-node-only"
    assert revoke(world, given.tx.id, "dispatch").code == "ok"


# holds AC-1
@pytest.mark.parametrize("sender", ["maker-a", "gw-1", "dispatch"])
def test_grant_by_somebody_else_than_the_owner_is_refused(sender: str) -> None:
    world = World()
    assert grant(world, sender).code == "not-the-owner"
    assert revoke(world, grant(world).tx.id, sender).code == "not-the-owner"


# holds AC-1 AC-2
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"class": "public"}, "bad-class"),
        ({"class": 7}, "bad-class"),
        ({"subject": "dev-1"}, "bad-subject"),
        ({"subject": "device/A"}, "bad-subject"),
        ({"subject": 7}, "bad-subject"),
        ({"subject": "device/dev-9"}, "unknown-subject"),
        ({"subject": "station/st-9"}, "unknown-subject"),
        ({"subject": "organisation/gw-1"}, "unknown-subject"),
        ({"reader": "lab"}, "bad-reader"),
        ({"reader": None}, "bad-reader"),
        ({"reader": "role/wizard"}, "bad-reader"),
        ({"reader": "account/A"}, "bad-reader"),
        ({"reader": "organisation/nobody"}, "unknown-reader"),
        ({"reader": "account/nobody"}, "unknown-reader"),
        ({"from_ms": "now"}, "bad-args"),
        ({"until_ms": -1}, "bad-args"),
        ({"until_ms": 5}, "bad-period"),
        ({"from_ms": 2**62}, "bad-period"),
        ({"from_ms": 2**62, "until_ms": 2**62}, "bad-period"),
        ({"more": 1}, "bad-args"),
    ],
)
def test_grant_with_wrong_arguments_is_refused(changes: dict[str, Value], code: str) -> None:
    done = grant(World(), changes=changes)
    assert done.code == code
    assert {namespace for namespace, _ in done.written} == {"sequence"}


def test_revocation_of_what_there_is_not_is_refused() -> None:
    assert revoke(World(), bytes(32)).code == "unknown-grant"
    assert revoke(World(), b"short").code == "bad-args"


# holds AC-3
def test_grants_fill_page_after_page_up_to_a_bound() -> None:
    world = World()
    first = grant(world)
    value = world.state.get("access", page_key("settings", "device/dev-1", 0))
    assert value is not None
    full = value[:1] + value[1:8] + b"\x98\x40" + value[9:] * PAGE_GRANTS
    for page in range(PAGES_MAX - 1):
        world.state.entries["access", page_key("settings", "device/dev-1", page)] = full
    found = list(access_records.grants(StateReads(world.state), "settings", "device/dev-1"))
    assert len(found) == (PAGES_MAX - 1) * PAGE_GRANTS
    assert {entry.id for entry in found} == {first.tx.id}
    world = World()
    for page in range(PAGES_MAX):
        world.state.entries["access", page_key("settings", "device/dev-1", page)] = full
    assert len(list(access_records.grants(StateReads(world.state), "settings", "device/dev-1"))) == 4096
    assert grant(world).code == "too-many-grants"


@pytest.fixture
def two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a class and subject have two places."""
    monkeypatch.setattr("master.contracts.access.PAGE_GRANTS", 2)
    monkeypatch.setattr("master.contracts.access.PAGES_MAX", 1)


# holds AC-3
@pytest.mark.usefixtures("two_places")
def test_grant_that_is_over_gives_up_its_place_once_all_are_taken() -> None:
    world, state = World(), StateReads
    first, second = grant(world), grant(world, reader="role/auditor", until_ms=world.head.time_ms + 4_000)
    assert grant(world).code == "too-many-grants"
    assert world.state.get("access", past_count_key("settings", "device/dev-1")) is None
    world.wait_ms = 5_000
    third = grant(world, reader="organisation/maker-a")
    left_height = world.head.height
    known = [entry.id for entry in access_records.grants(state(world.state), "settings", "device/dev-1")]
    assert known == [first.tx.id, third.tx.id]
    (left,) = past(world)
    assert (left.left_height, left.grant.id, left.grant.reader) == (left_height, second.tx.id, "role/auditor")
    assert [entry.code for entry in (revoke(world, second.tx.id), grant(world))] == ["unknown-grant", "too-many-grants"]
    assert revoke(world, first.tx.id).code == "ok"
    assert grant(world).code == "ok"
    assert [entry.grant.id for entry in past(world)] == [second.tx.id, first.tx.id]
    assert past(world)[1].grant.ended_height is not None
    assert revoke(world, third.tx.id).code == "ok"
    assert grant(world).code == "ok"
    assert [entry.grant.id for entry in past(world, 1)] == [third.tx.id]
    # what moves with the device are the grants that have a place
    assert len(list(access_records.open_grants(state(world.state), "dev-1"))) == 2


def past(world: World, page: int = 0) -> tuple[PastGrant, ...]:
    raw = world.state.get("access", past_key("settings", "device/dev-1", page))
    assert raw is not None
    return decode_past(cbor.decode(raw))


# holds AC-5
def test_reading_key_replaces_the_one_before_and_never_comes_back() -> None:
    world = World()
    assert register(world, "lab", "first").events("reading_key_registered")[0]["replaces"] is None
    done = register(world, "lab", "second")
    assert done.events("reading_key_registered")[0]["replaces"] == kid_of(public("first"))
    assert access_records.reading_key(StateReads(world.state), "lab") == public("second")
    assert [register(world, name, "first").code for name in ("lab", "regulator")] == ["key-in-use", "key-in-use"]
    assert register(world, "gw-1", "gateway").code == "ok"


# holds AC-5
@pytest.mark.parametrize("number", [0, 1, 2**255 - 20, 2**255 - 19, 2**255, 2**255 - 18])
def test_reading_key_of_small_order_is_refused(number: int) -> None:
    args: dict[str, Value] = {"key": number.to_bytes(32, "little")}
    assert World().call("lab", "access", "register", args).code == "bad-key"


# holds AC-5
def test_reading_key_of_an_operator_is_refused() -> None:
    world = World()
    world.state.entries["membership", b"operator/gw-1"] = cbor.encode({"organisation": "grid"})
    del world.state.entries["membership", b"gateway/gw-1"]
    assert register(world, "gw-1", "operator").code == "wrong-sender"
    assert grant(world, "gw-1", subject="station/st-1").code == "ok"


def test_reading_key_of_another_length_is_refused() -> None:
    assert World().call("lab", "access", "register", {"key": bytes(31)}).code == "bad-args"


# holds AC-6
def test_blob_belongs_to_one_content_for_good() -> None:
    world = World()
    for name, key in (("maker-a", "maker"), ("lab", "lab")):
        assert register(world, name, key).code == "ok"
    assert seal(world).code == "ok"
    # who owns another subject would else read the file by naming it again
    taken: dict[str, Value] = {"content": sha256(b"mine"), "subject": "organisation/lab"}
    assert seal(world, "lab", changes=taken).code == "blob-in-use"
    assert seal(world, "lab", changes=taken | {"blob": sha256(b"another file")}).code == "ok"
    assert seal(world, blob=sha256(b"wrapped anew")).code == "ok"
    state = StateReads(world.state)
    assert access_records.blob_label(state, BLOB) == Question("settings", "device/dev-1", CONTENT)
    assert access_records.blob_label(state, sha256(b"wrapped anew")) == Question("settings", "device/dev-1", CONTENT)
    assert access_records.blob_label(state, sha256(b"nobody's")) is None
    assert seal(world).code == "ok", "the file before may be named again"


# holds AC-6 MO-4
def test_blob_is_public_or_restricted_and_never_both() -> None:
    world = World()
    assert register(world, "maker-a", "maker").code == "ok"
    assert seal(world).code == "ok"
    assert store(world, digest=BLOB, size=4096).code == "restricted-blob"
    assert store(world).code == "ok"
    shown = sha256(b"case 1")
    assert seal(world, content=sha256(b"hidden"), blob=shown, size=len(b"case 1")).code == "blob-in-use"
    assert access_records.blob_label(StateReads(world.state), shown) == Question("public", "all")


# holds AC-6
def test_sealed_content_is_read_by_who_sealed_it_and_by_the_owner() -> None:
    world = World()
    register(world, "maker-a", "maker")
    done = seal(world)
    assert (done.code, done.event_types) == ("ok", ["content_sealed"])
    question = Question("settings", "device/dev-1", CONTENT)
    assert [allowed(world, name, question) for name in ("maker-a", "grid", "gw-1", "maker-b")] == [
        SEALER,
        OWNER,
        GATEWAY,
        None,
    ]
    assert allowed(world, "maker-a", Question("settings", "device/dev-1", BLOB)) is None


# holds AC-6
@pytest.mark.parametrize("centre", ["dispatch", None])
def test_sealed_content_names_the_data_centre_through_which_it_entered(centre: str | None) -> None:
    world = World()
    register(world, "maker-a", "maker")
    world.call("maker-a", "membership", "attach", {"data_centre": centre})
    (event,) = seal(world).events("content_sealed")
    raw = world.state.get("access", b"sealed/" + CONTENT)
    assert raw is not None
    entry = cbor.decode(raw)
    assert isinstance(entry, dict)
    assert event["data_centre"] == entry["data_centre"] == centre


# holds AC-6
def test_sealed_content_is_wrapped_anew_for_other_keys_by_its_sealer_alone() -> None:
    world = World()
    for sender in ("maker-a", "lab", "maker-b"):
        register(world, sender, sender)
    assert seal(world, wrapped=["maker-a"]).code == "ok"
    assert seal(world, wrapped=["maker-a"]).code == "already-sealed"
    register(world, "maker-a", "rotated")
    again: dict[str, Value] = {"blob": sha256(b"rewrapped")}
    assert seal(world, wrapped=["maker-a"], changes=again).code == "retired-key"
    assert seal(world, "maker-b", wrapped=["maker-b"], changes=again).code == "not-the-sealer"
    assert seal(world, wrapped=["rotated"], changes=again, title="another").code == "other-content"
    assert seal(world, wrapped=["rotated", "lab"], changes=again).code == "ok"
    record = access_records.sealed(StateReads(world.state), CONTENT)
    assert record is not None
    assert (record.blob, record.keys) == (again["blob"], tuple(sorted(kid_of(public(n)) for n in ("rotated", "lab"))))


# holds AC-6
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"blob": None}, "bad-blob"),
        ({"size": 0}, "bad-blob"),
        ({"content": b"short"}, "bad-args"),
        ({"class": "public"}, "bad-class"),
        ({"subject": "device"}, "bad-subject"),
        ({"subject": "device/dev-9"}, "unknown-subject"),
        ({"title": ""}, "bad-title"),
        ({"title": "x" * 129}, "bad-title"),
        ({"title": "two\nlines"}, "bad-title"),
        ({"title": "a\u200bb"}, "bad-title"),
        ({"title": 1}, "bad-title"),
        ({"keys": []}, "bad-keys"),
        ({"keys": 1}, "bad-keys"),
        ({"keys": [b"short"]}, "bad-keys"),
        ({"keys": [bytes(16), bytes(16)]}, "bad-keys"),
        ({"keys": [bytes(16)]}, "retired-key"),
        ({"more": 1}, "bad-args"),
    ],
)
def test_seal_with_wrong_arguments_is_refused(changes: dict[str, Value], code: str) -> None:
    world = World()
    register(world, "maker-a", "maker")
    assert seal(world, changes=changes).code == code
    assert seal(world, subject="all").code == "ok"


def test_gateway_neither_seals_nor_anchors() -> None:
    world = World()
    register(world, "gw-1", "maker")
    assert seal(world, "gw-1").code == "wrong-sender"
    assert anchor(world, 1, 1, "gw-1").code == "wrong-sender"


def anchor(world: World, number: Value, entries: Value, sender: str = "dispatch") -> Done:
    args: dict[str, Value] = {"number": number, "entries": entries, "head": sha256(str(entries).encode())}
    return world.call(sender, "access", "anchor", args)


# holds AC-7
def test_anchors_of_a_read_log_are_numbered_and_grow() -> None:
    world = World()
    assert anchor(world, 1, 10).event_types == ["read_log_anchored"]
    assert anchor(world, 2, 11).code == "ok"
    assert [anchor(world, *wrong).code for wrong in ((2, 12), (4, 12), (3, 11))] == ["bad-order"] * 3
    assert [anchor(world, *wrong).code for wrong in ((0, 12), (3, "many"), (True, 12))] == ["bad-args"] * 3
    assert anchor(world, 1, 1, "lab").code == "ok"
    assert [anchor(world, 3, 11 + ENTRIES_AHEAD_MAX + more).code for more in (1, 0)] == ["too-far", "ok"]
    assert world.state.get("access", b"anchor/dispatch/2") is not None


# holds AC-4
def test_whoever_is_suspended_reads_nothing() -> None:
    world = World()
    given = grant(world)
    record: Value = {"until_ms": None, "by": "dispatch", "reason": "audit", "height": 1}
    assert allowed(world, "lab") == given.tx.id.hex()
    for account in ("lab", "gw-1", "grid"):
        assert allowed(world, account) is not None
        world.state.entries["membership", b"suspended/" + account.encode()] = cbor.encode(record)
        assert allowed(world, account) is None
    # and with its organisation so does what has not been suspended itself
    del world.state.entries["membership", b"suspended/gw-1"]
    assert allowed(world, "gw-1") is None


def move(site: Site, kind: str, name: str, to: str, *sides: str) -> Done:
    """Let the sides say one after the other that something moves; return the last one's call."""
    done = [site.call(side, "bind", kind=kind, id=name, to=to) for side in sides]
    assert [one.code for one in done] == ["ok"] * len(sides)
    return done[-1]


def ended(world: World, data_class: str = "settings", subject: str = "device/dev-1") -> list[int | None]:
    return [entry.ended_height for entry in access_records.grants(StateReads(world.state), data_class, subject)]


# holds AC-2
def test_grant_to_an_organisation_is_not_for_its_gateways() -> None:
    site = Site()
    assert grant(site.world, reader="organisation/solar").code == "ok"
    assert [allowed(site.world, name) is None for name in ("solar", "gw-3")] == [False, True]


# holds AC-1
def test_gateway_of_the_super_node_grants_nothing() -> None:
    site = Site()
    assert site.call("dispatch", "add-station", station="st-9", area="north").code == "ok"
    word = site.word("gw-9", "dispatch/gw-9", REGISTER, None, account_key("gw-9"))
    made: dict[str, Value] = {"gateway": "gw-9", "station": "st-9", "key": account_key("gw-9"), "signature": word}
    assert site.call("dispatch", "add-gateway", **made).code == "ok"
    given = grant(site.world, "dispatch", subject="all")
    assert grant(site.world, "gw-9", subject="all").code == "super-node-only"
    assert revoke(site.world, given.tx.id, "gw-9").code == "super-node-only"
    assert grant(site.world, "gw-9", subject="station/st-9").code == "not-the-owner"
    assert revoke(site.world, given.tx.id, "dispatch").code == "ok"


# holds AC-6
def test_content_is_sealed_for_the_key_of_a_gateway() -> None:
    world = World()
    assert register(world, "gw-1", "reading key of gw-1").code == "ok"
    assert seal(world, wrapped=("reading key of gw-1",)).code == "ok"


# holds AC-3
def test_grants_of_a_device_end_when_it_gets_another_owner() -> None:
    site = Site()
    world = site.world
    first, second = grant(world), grant(world, changes={"class": "measurements"}, reader="account/lab-b")
    revoke(world, first.tx.id)
    third, station = grant(world), grant(world, subject="station/st-1")
    over = grant(world, until_ms=world.head.time_ms + 2500)
    assert allowed(world, "lab") == third.tx.id.hex()
    moved = move(site, "device", "dev-1", "gw-3", "grid", "solar")
    told = {event["grant"] for event in moved.events("access_revoked")}
    assert told == {second.tx.id, third.tx.id, over.tx.id}
    assert allowed(world, "lab") is None
    height = world.head.height
    assert ended(world)[1:] == [height, height]
    assert ended(world, "measurements") == [height]
    # the new owner grants, and nothing of before comes back with the device
    assert grant(world).code == "not-the-owner"
    assert revoke(world, third.tx.id).code == "already-revoked"
    fresh = grant(world, "solar")
    assert allowed(world, "lab") == fresh.tx.id.hex()
    back = move(site, "device", "dev-1", "gw-2", "solar", "grid")
    assert [event["grant"] for event in back.events("access_revoked")] == [fresh.tx.id]
    assert (allowed(world, "lab"), ended(world, subject="station/st-1")) == (None, [None])
    assert move(site, "device", "dev-1", "gw-1", "grid").events("access_revoked") == []
    assert allowed(world, "lab") == station.tx.id.hex()
    assert not list(world.state.scan("access", b"open/"))


# holds AC-3
def test_grants_end_with_the_move_of_the_gateway_and_stay_where_the_owner_stays() -> None:
    site = Site()
    world = site.world
    made = [grant(world, subject=f"device/dev-{number}") for number in (1, 2, 3)]
    kept = move(site, "gateway", "gw-1", "st-2", "grid")
    assert kept.events("access_revoked") == []
    assert allowed(world, "lab") == made[0].tx.id.hex()
    moved = move(site, "gateway", "gw-1", "st-3", "solar", "grid")
    assert [event["grant"] for event in moved.events("access_revoked")] == [done.tx.id for done in made[:2]]
    assert ended(world, subject="device/dev-3") == [None]


# holds AC-2
def test_grant_to_a_gateway_counts_while_it_is_whose_it_was() -> None:
    site, room = Site(), Question("settings", "device/dev-3")
    first = grant(site.world, subject="device/dev-3", reader="account/gw-3").tx.id.hex()
    assert allowed(site.world, "gw-3", room) == first
    move(site, "gateway", "gw-3", "st-1", "solar", "grid")
    assert allowed(site.world, "gw-3", room) is None
    second = grant(site.world, subject="device/dev-3", reader="account/gw-3").tx.id.hex()
    assert allowed(site.world, "gw-3", room) == second
    move(site, "gateway", "gw-3", "st-3", "grid", "solar")
    assert allowed(site.world, "gw-3", room) == first
    assert ended(site.world, subject="device/dev-3") == [None, None]


# holds MB-13
def test_move_of_more_than_may_be_handed_over_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    monkeypatch.setattr(member_places, "MOVED_GRANTS_MAX", 1)
    wanted: dict[str, Value] = {"kind": "gateway", "id": "gw-1", "to": "st-3"}
    for number in (1, 2):
        assert grant(site.world, subject=f"device/dev-{number}").code == "ok"
    assert site.call("grid", "bind", **wanted).code == "too-many-grants"
    assert site.call("grid", "bind", **{**wanted, "to": "st-2"}).code == "ok"
    monkeypatch.setattr(member_places, "DEVICES_SHOWN_MAX", 1)
    assert site.call("grid", "bind", **wanted).code == "too-many-devices"
    monkeypatch.setattr(member_places, "DEVICES_SHOWN_MAX", 2)
    monkeypatch.setattr(member_places, "MOVED_GRANTS_MAX", 2)
    assert site.call("grid", "bind", **wanted).code == "ok"


# holds MB-17
def test_what_was_granted_of_a_device_that_retired_stays_its_owners() -> None:
    site = Site()
    world = site.world
    given = grant(world, reader="account/lab").tx.id
    assert site.call("grid", "retire-device", device="dev-1", reason="burnt").code == "ok"
    assert allowed(world, "lab") == given.hex()
    # the gateway goes to somebody else, the device stays whose it was
    for by in ("grid", "solar"):
        assert site.call(by, "bind", kind="gateway", id="gw-1", to="st-3").code == "ok"
    assert [allowed(world, name) for name in ("grid", "solar", "gw-1")] == [OWNER, None, None]
    assert revoke(world, given, "solar").code == "not-the-owner"
    assert revoke(world, given).code == "ok"

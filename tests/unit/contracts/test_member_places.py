from __future__ import annotations

from typing import Any

import pytest

from master.contracts import membership
from master.contracts.member_owners import has_left, owns_model
from tests.unit.contracts.members_site import Site, public
from tests.unit.contracts.reports import entry, evidence, item, send
from tests.unit.ledger.worlds import Done
from wire.cbor import Value
from wire.genesis import AccountKey, Device, Gateway, Station
from wire.membership import REGISTER


def gateway(site: Site, name: str = "gw-9", station: str = "st-1", **changes: Value) -> dict[str, Value]:
    word = site.word(name, f"grid/{name}", REGISTER, None, public(name))
    return {"gateway": name, "station": station, "key": public(name), "signature": word, **changes}


def device(name: str = "dev-9", behind: str = "gw-1", model: str = "SC-3", **changes: Value) -> dict[str, Value]:
    return {"device": name, "gateway": behind, "vendor": "maker-a", "model": model, "serial": "s-9", **changes}


def bind(site: Site, by: str, kind: str, name: str, to: str) -> Done:
    return site.call(by, "bind", kind=kind, id=name, to=to)


# holds MB-12
def test_station_gateway_and_device_are_added_and_the_gateway_reports() -> None:
    site = Site()
    assert site.call("grid", "add-station", station="st-9", area="west").code == "ok"
    assert site.call("grid", "add-gateway", **gateway(site, station="st-9")).code == "ok"
    assert site.call("grid", "add-device", **device(behind="gw-9")).code == "ok"
    assert membership.station(site.state, "st-9") == Station("st-9", "west", "grid")
    assert membership.gateway(site.state, "gw-9") == Gateway("gw-9", "st-9")
    assert membership.device(site.state, "dev-9") == Device("dev-9", "gw-9", "maker-a", "SC-3", "s-9")
    assert list(membership.devices_of_model(site.state, "SC-3")) == ["dev-9"]
    assert list(membership.devices_behind(site.state, "gw-9")) == ["dev-9"]
    line = entry("dev-9", item("s-9"))
    assert send(site.world, evidence(line, gateway="gw-9")).code == "ok"


# holds MB-12
@pytest.mark.parametrize(
    ("sender", "args", "code"),
    [
        ("grid", {"station": "st-1", "area": "west"}, "taken"),
        ("grid", {"station": "St", "area": "west"}, "bad-args"),
        ("gw-1", {"station": "st-9", "area": "west"}, "not-an-organisation"),
    ],
)
def test_station_that_cannot_be_added_is_refused(sender: str, args: dict[str, Value], code: str) -> None:
    assert Site().call(sender, "add-station", **args).code == code


# holds MB-12
@pytest.mark.parametrize(
    ("sender", "name", "changes", "code"),
    [
        ("grid", "gw-1", {}, "taken"),
        ("grid", "lab", {}, "taken"),
        ("grid", "gw-9", {"station": "st-3"}, "not-yours"),
        ("grid", "gw-9", {"station": "nowhere"}, "not-yours"),
        ("grid", "gw-9", {"key": public("lab")}, "key-in-use"),
        ("grid", "gw-9", {"signature": bytes(64)}, "bad-signature"),
        ("grid", "gw-9", {"signature": b""}, "bad-args"),
        ("gw-1", "gw-9", {}, "not-an-organisation"),
    ],
)
def test_gateway_that_cannot_be_added_is_refused(sender: str, name: str, changes: dict[str, Any], code: str) -> None:
    site = Site()
    assert site.call(sender, "add-gateway", **gateway(site, name, **changes)).code == code


# holds MB-12
@pytest.mark.parametrize(
    ("sender", "args", "code"),
    [
        ("grid", device("dev-1"), "taken"),
        ("grid", device(behind="gw-3"), "not-yours"),
        ("grid", device(behind="nowhere"), "not-yours"),
        ("town", device(behind="gw-4"), "no-devices-here"),
        ("grid", device(serial=1), "bad-args"),
        ("gw-1", device(), "not-an-organisation"),
        ("grid", device("DEV"), "bad-args"),
    ],
)
def test_device_that_cannot_be_added_is_refused(sender: str, args: dict[str, Value], code: str) -> None:
    assert Site().call(sender, "add-device", **args).code == code


# holds MB-12
def test_owner_registers_more_devices_of_a_model_than_a_transaction_appraises() -> None:
    site = Site(reappraise_devices_max=4)
    assert {site.call("grid", "add-device", **device(f"dev-1{n}")).code for n in range(6)} == {"ok"}


# holds MB-18
def test_owner_that_gave_a_device_up_is_known_for_having_had_it() -> None:
    site = Site()
    begun_ms = site.time_ms

    def owners(*, since_ms: int = begun_ms) -> dict[str, list[bool]]:
        return {
            name: [
                owns_model(site.state, "SC-2", name, since_ms),
                has_left(site.state, "dev-1", name, since_ms),
                has_left(site.state, "dev-3", name, since_ms),
            ]
            for name in ("grid", "solar")
        }

    assert owners() == {"grid": [True, False, False], "solar": [False, False, False]}
    for by in ("grid", "solar"):
        assert bind(site, by, "device", "dev-1", "gw-3").code == "ok"
    assert owners() == {"grid": [True, True, False], "solar": [True, False, False]}
    # a gateway takes its devices with it; a move inside one station changes no owner
    assert bind(site, "grid", "device", "dev-2", "gw-2").code == "ok"
    for by in ("grid", "solar"):
        assert bind(site, by, "gateway", "gw-2", "st-3").code == "ok"
    assert owners() == {"grid": [True, True, True], "solar": [True, False, False]}
    gave_up_ms = site.time_ms
    assert owners(since_ms=gave_up_ms + 1)["grid"] == [False, False, False]
    for name in ("dev-1", "dev-2", "dev-3"):
        assert retire(site, "solar", name).code == "ok"
    assert owners(since_ms=gave_up_ms + 1) == {"grid": [False, False, False], "solar": [True, True, True]}
    assert site.call("solar", "add-device", **device("dev-20", "gw-3", "SC-2")).code == "ok"
    assert owners(since_ms=site.time_ms + 1)["solar"] == [True, False, False]


def retire(site: Site, by: str, name: str, **changes: Value) -> Done:
    return site.call(by, "retire-device", **{"device": name, "reason": "replaced", **changes})


# holds MB-17
def test_device_retires_and_leaves_its_gateway_and_its_model() -> None:
    site = Site()
    assert bind(site, "grid", "device", "dev-1", "gw-3").event_types == ["move_offered"]
    done = retire(site, "grid", "dev-1")
    assert done.event_types == ["offer_closed", "device_retired"]
    assert membership.device(site.state, "dev-1") is None
    assert membership.retired_device(site.state, "dev-1") == (Device("dev-1", "gw-1", "maker-a", "SC-2", "s-1"), "grid")
    assert "dev-1" not in membership.devices_of_model(site.state, "SC-2")
    assert list(membership.devices_behind(site.state, "gw-1")) == ["dev-2"]
    assert site.call("grid", "add-device", **device("dev-1")).code == "taken"
    assert bind(site, "grid", "device", "dev-1", "gw-2").code == "unknown-device"


# holds MB-17
@pytest.mark.parametrize(
    ("sender", "changes", "code"),
    [
        ("grid", {"reason": ""}, "bad-args"),
        ("grid", {"device": "DEV"}, "bad-args"),
        ("grid", {"more": 1}, "bad-args"),
        ("gw-1", {}, "not-an-organisation"),
        ("solar", {}, "not-yours"),
        ("grid", {"device": "dev-9"}, "unknown-device"),
    ],
)
def test_device_that_cannot_retire_is_refused(sender: str, changes: dict[str, Value], code: str) -> None:
    site = Site()
    assert retire(site, sender, "dev-1", **changes).code == code
    assert retire(site, "grid", "dev-1").code == "ok"
    assert retire(site, "grid", "dev-1").code == "unknown-device"


# holds MB-17
def test_evidence_about_a_device_that_retired_is_passed_over_and_the_rest_counts() -> None:
    site = Site()
    both = (entry("dev-1", item("s-1")), entry("dev-2", item("s-2")))
    assert send(site.world, evidence(*both)).code == "ok"
    assert retire(site, "grid", "dev-1").code == "ok"
    done = send(site.world, evidence(*both, pair=(1, 2)))
    (told,) = done.events("report_accepted")
    assert isinstance(told["devices"], list)
    assert [line["device"] for line in told["devices"] if isinstance(line, dict)] == ["dev-2"]
    newest = site.state.namespace("consistency").get(b"gateway/gw-1")
    assert isinstance(newest, dict)
    assert isinstance(newest["devices"], dict)
    assert list(newest["devices"]) == ["dev-2"]
    assert send(site.world, evidence(both[0], pair=(1, 3))).code == "ok"
    assert send(site.world, evidence(both[0], gateway="gw-2")).code == "foreign-device"


# holds MB-13
def test_device_moves_between_gateways_of_one_owner_by_one_call() -> None:
    site = Site()
    assert bind(site, "grid", "device", "dev-1", "gw-2").event_types == ["device_moved"]
    found = membership.device(site.state, "dev-1")
    assert found is not None
    assert found.gateway == "gw-2"
    assert list(membership.devices_behind(site.state, "gw-1")) == ["dev-2"]
    assert "dev-1" in membership.devices_behind(site.state, "gw-2")
    # the gateway of before may not speak about it any more
    assert send(site.world, evidence(entry("dev-1", item("s-1")), gateway="gw-1")).code == "foreign-device"
    assert send(site.world, evidence(entry("dev-1", item("s-1")), gateway="gw-2")).code == "ok"


# holds MB-13
@pytest.mark.parametrize("sides", [("grid", "solar"), ("solar", "grid")])
def test_device_moves_between_owners_when_both_say_so(sides: tuple[str, str]) -> None:
    site = Site()
    assert bind(site, sides[0], "device", "dev-1", "gw-3").event_types == ["move_offered"]
    assert membership.organisation_of_device(site.state, "dev-1") == "grid"
    assert bind(site, sides[0], "device", "dev-1", "gw-3").code == "offered"
    done = bind(site, sides[1], "device", "dev-1", "gw-3")
    assert done.event_types == ["offer_closed", "device_moved"]
    assert membership.organisation_of_device(site.state, "dev-1") == "solar"
    assert not list(site.world.state.scan("membership", b"binding/"))


# holds MB-13
def test_gateway_moves_with_its_keys_to_the_owner_of_its_new_station() -> None:
    site = Site()
    bind(site, "solar", "gateway", "gw-1", "st-3")
    assert bind(site, "grid", "gateway", "gw-1", "st-3").event_types == ["offer_closed", "gateway_moved"]
    key = membership.account_key(site.state, site.kid("gw-1"))
    assert key == AccountKey(public("gw-1"), "gw-1", "solar")
    assert membership.organisation_of_device(site.state, "dev-1") == "solar"
    assert send(site.world, evidence(entry("dev-1", item("s-1")), gateway="gw-1")).code == "ok"
    assert bind(site, "solar", "gateway", "gw-3", "st-3").code == "already-there"


# holds MB-13
@pytest.mark.parametrize(
    ("by", "kind", "name", "to", "code"),
    [
        ("lab", "device", "dev-1", "gw-3", "not-yours"),
        ("grid", "device", "dev-1", "gw-1", "already-there"),
        ("grid", "device", "nobody", "gw-3", "unknown-device"),
        ("grid", "device", "dev-1", "nowhere", "unknown-gateway"),
        ("grid", "device", "dev-1", "gw-4", "no-devices-here"),
        ("grid", "gateway", "gw-1", "nowhere", "unknown-station"),
        ("grid", "gateway", "nobody", "st-3", "unknown-gateway"),
        ("grid", "gateway", "gw-1", "st-4", "no-devices-here"),
        ("solar", "gateway", "gw-3", "st-4", "ok"),
        ("grid", "station", "st-1", "st-3", "bad-args"),
        ("gw-1", "device", "dev-1", "gw-2", "not-an-organisation"),
    ],
)
def test_move_that_cannot_be_is_refused(by: str, kind: str, name: str, to: str, code: str) -> None:
    assert bind(Site(), by, kind, name, to).code == code


# holds MB-13
def test_offer_of_somebody_who_is_no_side_any_more_moves_nothing() -> None:
    site = Site()
    bind(site, "solar", "device", "dev-1", "gw-3")
    bind(site, "grid", "gateway", "gw-3", "st-1")
    bind(site, "solar", "gateway", "gw-3", "st-1")
    # the gateway belongs to the device's owner by now: one call does
    done = bind(site, "grid", "device", "dev-1", "gw-3")
    assert done.event_types == ["offer_closed", "device_moved"]
    bind(site, "grid", "device", "dev-2", "gw-4")
    other = Site()
    bind(other, "solar", "device", "dev-1", "gw-3")
    assert bind(other, "grid", "device", "dev-1", "gw-2").event_types == ["offer_closed", "device_moved"]


# holds MB-13
def test_offer_to_a_gateway_that_got_another_owner_is_not_for_that_one() -> None:
    site = Site()
    assert site.call("trade", "add-station", station="st-8", area="south").code == "ok"
    assert bind(site, "grid", "device", "dev-1", "gw-3").event_types == ["move_offered"]
    for by in ("solar", "trade"):
        assert bind(site, by, "gateway", "gw-3", "st-8").code == "ok"
    assert bind(site, "trade", "device", "dev-1", "gw-3").code == "offered-elsewhere"
    assert membership.organisation_of_device(site.state, "dev-1") == "grid"
    assert bind(site, "grid", "device", "dev-1", "gw-3").event_types == ["move_offered"]
    assert bind(site, "trade", "device", "dev-1", "gw-3").event_types == ["offer_closed", "device_moved"]
    assert membership.organisation_of_device(site.state, "dev-1") == "trade"


# holds MB-13
def test_offer_of_the_owner_is_not_replaced_by_others_who_want_the_thing() -> None:
    site = Site()
    assert site.call("trade", "add-station", station="st-8", area="south").code == "ok"
    # whoever else wants it may say so while its owner has said nothing
    assert bind(site, "trade", "gateway", "gw-1", "st-8").event_types == ["move_offered"]
    assert bind(site, "grid", "gateway", "gw-1", "st-3").event_types == ["move_offered"]
    assert bind(site, "trade", "gateway", "gw-1", "st-8").code == "offered-elsewhere"
    assert bind(site, "solar", "gateway", "gw-1", "st-3").event_types == ["offer_closed", "gateway_moved"]
    assert bind(site, "trade", "gateway", "gw-1", "st-8").event_types == ["move_offered"]
    assert bind(site, "solar", "gateway", "gw-1", "st-8").event_types == ["offer_closed", "gateway_moved"]


# holds MB-13
def test_offer_is_withdrawn_by_who_made_it_or_who_owns_what_it_is_about() -> None:
    site = Site()
    offer: dict[str, Value] = {"kind": "gateway", "id": "gw-1", "to": "st-3"}
    assert site.call("grid", "unbind", **offer).code == "no-offer"
    for by in ("solar", "grid"):
        bind(site, "solar", "gateway", "gw-1", "st-3")
        assert site.call("lab", "unbind", **offer).code == "not-yours"
        assert site.call("grid", "unbind", **{**offer, "to": "st-4"}).code == "no-offer"
        done = site.call(by, "unbind", **offer)
        assert done.events("offer_closed") == [{"kind": "gateway", "id": "gw-1", "reason": "withdrawn"}]
    assert site.call("gw-1", "unbind", **offer).code == "not-an-organisation"

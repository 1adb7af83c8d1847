"""Members, accounts and places as the contract really tells of them."""

from __future__ import annotations

import pytest

from master.ledger.rows import Execution, event_rows
from master.views.compliance import EVERY
from master.views.consistency import DEVICES
from master.views.events import ViewError
from master.views.ports import END, Position
from master.views.schema import Comparison, Condition, Reading, Row
from master.views.table import TABLES
from tests.unit.contracts.consortium import certificate
from tests.unit.contracts.members_site import Site, public, root_of
from tests.unit.contracts.reports import entry, evidence, item, send
from tests.unit.contracts.test_member_keys import Decided, replacement, revocation, rotation
from tests.unit.contracts.test_member_places import bind, device, gateway
from tests.unit.master.api.schemas import problems
from tests.unit.master.views.memory import MemoryTables
from wire.cbor import Value
from wire.membership import ROOT
from wire.types import sha256


class Shown(Site):
    """A consortium whose events go into tables."""

    def __init__(self) -> None:
        super().__init__(key_recovery_wait_ms=0)
        self.tables = MemoryTables(self.world.genesis)
        self.commit = self.world.commit
        self.world.commit = self.commit_and_show  # type: ignore[method-assign]

    def commit_and_show(self, execution: Execution) -> None:
        self.commit(execution)
        header = execution.block.header
        rows = list(event_rows(header.height, header.time_ms, execution.outcomes))
        self.tables.apply(rows, Position(header.height, END))

    def rows(self, table: str, *, at_ms: int | None = None, **filters: str) -> dict[str, Row]:
        declared = TABLES[table]
        reading = Reading(self.time_ms if at_ms is None else at_ms, 0)
        conditions = [
            condition for name, value in filters.items() for condition in declared.condition(name, value, reading)
        ]
        found = self.tables.page(declared, conditions, None, 1000).rows
        shown = [declared.present(row, reading) for row in found]
        for row in shown:
            assert problems(row, declared.item_schema(), {}) == []
        return {str(row[declared.key]): row for row in shown}


# holds MB-17
def test_device_that_retired_is_shown_so_and_not_among_those_to_be_verified() -> None:
    shown = Shown()
    send(shown.world, evidence(entry("dev-1", item("s-1"))))
    assert shown.call("grid", "retire-device", device="dev-1", reason="burnt").code == "ok"
    (row,) = shown.rows("devices", state="retired").values()
    assert (row["device"], row["state"], row["retirement"], row["retired_ms"]) == (
        "dev-1",
        "retired",
        "burnt",
        shown.time_ms,
    )
    assert shown.rows("devices", state="unknown_reference") == {}
    due = shown.tables.page(DEVICES, [EVERY], None, 1000).rows
    assert [entry["device"] for entry in due] == ["dev-2", "dev-3", "dev-4"]


def test_applicant_is_shown_from_its_application_to_its_membership() -> None:
    shown = Shown()
    assert shown.rows("members")["grid"]["root_key"] == public(root_of("grid")).hex()
    done = shown.apply(shown.application())
    shown.review("wind", "trade")
    (row,) = shown.rows("applications").values()
    assert (row["application"], row["status"], row["missing"]) == (done.tx.id.hex(), "pending", ["sub-east"])
    assert row["reviews"] == [{"organisation": "trade", "in_favour": True, "reason": "looked at"}]
    shown.review("wind", "sub-east")
    expires_ms = shown.time_ms + 86_400_000
    shown.admit("wind", expires_ms=expires_ms)
    (row,) = shown.rows("applications", status="admitted").values()
    assert row["missing"] == []
    member = shown.rows("members", role="generator")["wind"]
    assert (member["title"], member["data_centre"], member["parent"]) == ("wind Ltd", "sub-east", "sub-east")
    assert (member["certificate"], member["expiry"]) == (sha256(certificate("wind")).hex(), "expiring")
    assert shown.rows("accounts")["wind"]["kind"] == "organisation"
    assert shown.rows("account_keys", account="wind")[shown.kid("wind").hex()]["status"] == "active"
    shown.apply(shown.application("sun"))
    shown.call("sub-east", "withdraw", organisation="sun")
    assert next(iter(shown.rows("applications").values()))["status"] == "withdrawn"
    # what changes later
    shown.call("trade", "renew", organisation="wind", expires_ms=None)
    shown.call("wind", "attach", data_centre="dispatch")
    root = public("next root")
    words = {
        name: shown.word(name, "wind", ROOT, public(root_of("wind")), root) for name in ("next root", root_of("wind"))
    }
    args = {"root_key": root, "signature": words["next root"], "root_signature": words[root_of("wind")]}
    assert shown.call("wind", "set-root-key", **args).code == "ok"
    shown.call("dispatch", "add-certificate", account="wind", certificate=certificate("wind 2"))
    member = shown.rows("members")["wind"]
    assert (member["expires_ms"], member["data_centre"], member["root_key"]) == (None, "dispatch", root.hex())
    assert (member["certificate"], member["expiry"]) == (sha256(certificate("wind 2")).hex(), "valid")


def test_certificates_are_shown_with_their_account_and_who_revoked_them() -> None:
    shown = Shown()
    gateway_der, lab_der = certificate("gw-1"), certificate("lab")
    for account, der in (("gw-1", gateway_der), ("lab", lab_der)):
        assert shown.call("dispatch", "add-certificate", account=account, certificate=der).code == "ok"
    height = shown.world.head.height
    assert shown.rows("members")["lab"]["certificate"] == sha256(lab_der).hex()
    args: dict[str, Value] = {"certificate": sha256(gateway_der), "reason": "gateway stolen"}
    assert shown.call("grid", "revoke-certificate", **args).code == "ok"
    (row,) = shown.rows("certificates", account="gw-1").values()
    assert (row["status"], row["since_height"], row["until_height"]) == ("revoked", height - 1, height + 1)
    assert (row["revoked_by"], row["reason"]) == ("grid", "gateway stolen")
    assert list(shown.rows("certificates", status="active")) == [sha256(lab_der).hex()]


@pytest.mark.parametrize(("days", "expiry"), [(31, "valid"), (30, "expiring"), (1, "expiring"), (0, "expired")])
def test_expiry_is_computed_from_block_time_when_read(days: int, expiry: str) -> None:
    shown = Shown()
    expires_ms = shown.time_ms + 86_400_000_000
    shown.call("regulator", "renew", organisation="lab", expires_ms=expires_ms)
    at_ms = expires_ms - days * 86_400_000
    assert shown.rows("members", at_ms=at_ms)["lab"]["expiry"] == expiry
    for wanted in ("valid", "expiring", "expired"):
        assert ("lab" in shown.rows("members", at_ms=at_ms, expiry=wanted)) == (wanted == expiry)


def test_suspension_is_shown_until_its_end() -> None:
    shown = Shown()
    shown.call("dispatch", "suspend", account="grid", until_ms=shown.time_ms + 5000, reason="audit")
    row = shown.rows("members", status="suspended")["grid"]
    assert (row["suspended_by"], row["suspension_reason"]) == ("dispatch", "audit")
    assert "grid" in shown.rows("accounts", status="suspended")
    later_ms = shown.time_ms + 4000
    assert shown.rows("members", at_ms=later_ms, status="active")["grid"]["status"] == "active"
    assert shown.rows("members", at_ms=later_ms, status="suspended") == {}
    shown.call("dispatch", "resume", account="grid")
    assert shown.rows("members")["grid"]["suspended_by"] is None
    shown.call("grid", "suspend", account="gw-1", until_ms=None, reason="moved")
    assert list(shown.rows("accounts", status="suspended")) == ["gw-1"]


def test_keys_are_shown_with_what_became_of_them() -> None:
    shown = Shown()
    shown.add_operator("shift")
    shown.call("lab", "rotate-key", **rotation(shown, "lab", "lab", "lab 2"))
    shown.call("grid", "replace-key", **replacement(shown, "gw-1", "gw-1 2"))
    shown.call("grid", "revoke-key", **revocation(shown, "shift"))
    height = shown.world.head.height
    keys = {row["key"]: row for row in shown.rows("account_keys").values()}
    states = {name: keys[public(name).hex()]["status"] for name in ("lab", "lab 2", "gw-1", "gw-1 2", "shift")}
    assert list(states.values()) == ["rotated", "active", "replaced", "active", "compromised"]
    gone = keys[public("shift").hex()]
    assert (gone["reason"], gone["until_height"]) == ("laptop stolen", height)
    assert shown.rows("accounts", organisation="grid")["shift"]["kind"] == "operator"


def test_recovery_is_shown_from_its_time_lock_to_its_end() -> None:
    shown = Shown()
    Decided(shown).accept()
    assert shown.rows("recoveries")["grid"]["status"] == "waiting"
    shown.call("lab", "complete-recovery", organisation="grid")
    assert shown.rows("recoveries", status="completed")["grid"]["key"] == public("next").hex()
    assert shown.rows("account_keys")[shown.kid("grid").hex()]["status"] == "lost"


def test_places_of_added_and_moved_gateways_and_devices_follow() -> None:
    shown = Shown()
    shown.call("grid", "add-station", station="st-9", area="west")
    shown.call("grid", "add-gateway", **gateway(shown, station="st-9"))
    shown.call("grid", "add-device", **device(behind="gw-9", model="SC-2"))
    assert shown.rows("stations", area="west")["st-9"]["organisation"] == "grid"
    assert shown.rows("accounts", station="st-9")["gw-9"]["organisation"] == "grid"
    row = shown.rows("devices")["dev-9"]
    assert (row["station"], row["area"], row["state"]) == ("st-9", "west", "never_read")
    assert send(shown.world, evidence(entry("dev-9", item("s-9")), gateway="gw-9")).code == "ok"
    assert shown.rows("devices")["dev-9"]["status"] == "read"
    bind(shown, "grid", "device", "dev-9", "gw-3")
    assert shown.rows("moves")["device-dev-9"]["status"] == "open"
    bind(shown, "solar", "device", "dev-9", "gw-3")
    assert shown.rows("moves")["device-dev-9"]["status"] == "done"
    row = shown.rows("devices")["dev-9"]
    assert (row["gateway"], row["station"], row["area"]) == ("gw-3", "st-3", "south")
    bind(shown, "grid", "gateway", "gw-1", "st-3")
    bind(shown, "solar", "gateway", "gw-1", "st-3")
    assert shown.rows("accounts")["gw-1"]["organisation"] == "solar"
    assert (shown.rows("devices")["dev-1"]["station"], shown.rows("devices")["dev-1"]["area"]) == ("st-3", "south")


def test_filter_by_status_asks_for_what_is_computed() -> None:
    declared = TABLES["members"]
    reading = Reading(1000, 0)
    assert declared.condition("status", "active", reading) == (Condition("suspended_until", Comparison.LESS, 1001),)


def test_event_about_an_account_that_is_not_there_is_a_mistake_of_ours() -> None:
    shown = Shown()
    shown.call("grid", "suspend", account="gw-1", until_ms=None, reason="moved")
    other = Shown()
    del other.tables.rows["accounts", "gw-1"]
    with pytest.raises(ViewError, match="there is no row gw-1 among the accounts"):
        other.call("grid", "suspend", account="gw-1", until_ms=None, reason="moved")

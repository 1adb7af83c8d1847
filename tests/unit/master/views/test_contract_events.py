"""The views over events that the contracts really emit, from signed call to row."""

from __future__ import annotations

from dataclasses import replace

from master.ledger.rows import Execution, event_rows
from master.views.ports import END, Position
from master.views.schema import Reading, Row
from master.views.table import TABLES
from tests.unit.contracts.reports import (
    endorse,
    entry,
    evidence,
    item,
    lab_test,
    make_effective,
    release,
    revoke,
    send,
    submit,
    truncated,
)
from tests.unit.ledger.worlds import World, make_genesis
from tests.unit.master.api.schemas import problems
from tests.unit.master.views.memory import MemoryTables
from wire.cbor import Value
from wire.evidence import Item
from wire.release import EffectiveFrom
from wire.types import sha256

STALE_MS = 1_800_000


class Consortium(World):
    """A ledger whose events go into view tables as soon as they are committed."""

    def __init__(self, parameters: dict[str, Value] | None = None) -> None:
        super().__init__(make_genesis(parameters))
        self.tables = MemoryTables(self.genesis)
        self.boot = 0

    def commit(self, execution: Execution) -> None:
        super().commit(execution)
        header = execution.block.header
        rows = list(event_rows(header.height, header.time_ms, execution.outcomes))
        self.tables.apply(rows, Position(header.height, END))

    def report(self, device: str, content: Item | None, gateway: str = "gw-1", status: str = "read") -> None:
        self.boot += 1
        now_ms = self.head.time_ms
        line = entry(device, content, status=status)
        if content is not None:
            line = replace(line, read_from_ms=now_ms, read_to_ms=now_ms)
        assert send(self, evidence(line, gateway=gateway, pair=(self.boot, 1))).code == "ok"

    def shown(self, table: str, ahead_ms: int = 0) -> list[Row]:
        """Return what readers see, each row checked against the table's schema."""
        declared = TABLES[table]
        reading = Reading(self.head.time_ms + ahead_ms, STALE_MS)
        rows = [declared.present(row, reading) for row in self.tables.page(declared, (), None, 1000).rows]
        for row in rows:
            assert problems(row, declared.item_schema(), {}) == []
        return rows

    def device(self, name: str, ahead_ms: int = 0) -> Row:
        return next(row for row in self.shown("devices", ahead_ms) if row["device"] == name)


def test_release_life_is_shown_as_the_contract_decides_it() -> None:
    world, first = Consortium(), release("r-1")
    submit(world, first)
    row = world.shown("references")[0]
    assert (row["status"], row["missing_roles"]) == ("pending", ["laboratory", "regulator"])
    lab_test(world, first.digest())
    assert world.shown("references")[0]["missing_roles"] == ["regulator"]
    endorse(world, "regulator", first.digest())
    row = world.shown("references")[0]
    assert (row["status"], row["missing_roles"], row["effective_height"]) == ("effective", [], 3)
    assert row["effective_kinds"] == ["firmware", "settings", "strategy"]
    make_effective(world, release("r-2", settings=b"settings 2"))
    states = {row["release"]: (row["status"], row["effective_kinds"]) for row in world.shown("references")}
    assert states == {"r-2": ("effective", ["settings"]), "r-1": ("effective", ["firmware", "strategy"])}
    make_effective(world, release("r-3", firmware=b"firmware 3", strategy=b"strategy 3"))
    states = {row["release"]: (row["status"], row["effective_kinds"]) for row in world.shown("references")}
    assert states["r-1"] == ("superseded", [])
    revoke(world, "regulator", release("r-3", firmware=b"firmware 3", strategy=b"strategy 3").digest())
    row = world.shown("references")[0]
    assert (row["status"], row["effective_kinds"]) == ("revoked", [])


def test_release_of_a_date_is_shown_effective_from_the_first_report_after_it() -> None:
    world = Consortium()
    height = world.head.height + 5
    made = release(start=EffectiveFrom(height, None))
    make_effective(world, made)
    row = world.shown("references")[0]
    assert (row["status"], row["effective_from"]) == ("approved", {"height": height, "time_ms": None})
    while world.head.height < height:
        world.run()
    assert world.shown("references")[0]["status"] == "approved"
    world.report("dev-1", item())
    row = world.shown("references")[0]
    assert (row["status"], row["effective_height"]) == ("effective", height)
    assert world.device("dev-1")["state"] == "match"


def test_policies_that_were_decided_are_shown_by_what_they_are_for() -> None:
    world = Consortium()
    policy: dict[str, Value] = {
        "roles": [{"role": "manufacturer", "count": 1}, {"role": "regulator", "count": 1}],
        "endorsements_due": 2,
        "excluded": ["owner-of-device"],
    }
    bodies: tuple[dict[str, Value], ...] = (
        {"target": None, "kind": None, "policy": policy},
        {"target": {"device": None, "model": "SC-2"}, "kind": "firmware", "policy": policy},
        {"target": {"device": "dev-1", "model": None}, "kind": None, "policy": policy},
        {"target": {"device": "dev-1", "model": None}, "kind": None, "policy": None},
    )
    for body in bodies:
        args: dict[str, Value] = {
            "kind": "endorsement-policy",
            "body": body,
            "deadline_ms": world.head.time_ms + 3_600_000,
        }
        made = world.call("dispatch", "governance", "propose", args)
        for voter in ("regulator", "lab", "maker-a"):
            last = world.call(voter, "governance", "vote", {"proposal": made.tx.id, "in_favour": True})
        assert last.events("policy_changed")
    shown = {row["subject"]: row["policy"] for row in world.shown("endorsement_policies")}
    assert shown == {
        "all kinds of all devices": policy,
        "all kinds of device dev-1": None,
        "firmware of model SC-2": policy,
    }


def test_release_that_failed_and_one_that_is_in_the_way_are_shown_so() -> None:
    world, made = Consortium(), release("r-1")
    submit(world, made)
    assert submit(world, release("r-2")).code == "conflicting-release"
    lab_test(world, made.digest(), "fail")
    (row,) = world.shown("references")
    assert (row["status"], row["tests"]) == (
        "failed",
        [{"organisation": "lab", "report": sha256(b"report").hex(), "verdict": "fail", "height": 3}],
    )


def test_device_without_reference_turns_to_match_when_the_release_counts() -> None:
    world = Consortium()
    assert world.device("dev-1")["state"] == "never_read"
    world.report("dev-1", item())
    assert world.device("dev-1")["state"] == "unknown_reference"
    make_effective(world, release())
    row = world.device("dev-1")
    assert (row["state"], row["verdicts"]) == ("match", dict.fromkeys(("firmware", "settings", "strategy"), "match"))
    assert world.device("dev-1", STALE_MS + 60_000)["state"] == "stale"
    assert world.shown("alarms") == []


def test_tampered_device_has_one_alarm_through_its_whole_life() -> None:
    world = Consortium()
    make_effective(world, release())
    world.report("dev-1", item())
    world.report("dev-1", item(firmware=b"firmware X"))
    opened = world.head
    (alarm,) = world.shown("alarms")
    assert (alarm["device"], alarm["cause"], alarm["state"]) == ("dev-1", "mismatch", "raised")
    assert (alarm["raised_height"], alarm["raised_ms"]) == (opened.height, opened.time_ms)
    assert alarm["opening_tx"] == world.device("dev-1")["report_tx"]
    assert world.device("dev-1")["state"] == "alarm"
    world.report("dev-1", item(firmware=b"firmware X", settings=b"settings X"))
    (changed,) = world.shown("alarms")
    assert (changed["alarm_id"], changed["count"]) == (alarm["alarm_id"], 2)
    world.report("dev-1", item())
    (returned,) = world.shown("alarms")
    assert (returned["state"], world.device("dev-1")["state"]) == ("returned", "match")
    world.report("dev-1", item(firmware=b"firmware Y"))
    (again,) = world.shown("alarms")
    assert (again["alarm_id"], again["state"]) == (alarm["alarm_id"], "raised")
    assert (again["raised_height"], world.device("dev-1")["causes"]) == (opened.height, ["mismatch"])


def test_every_other_finding_fits_the_tables_too() -> None:
    world = Consortium()
    make_effective(world, release())
    make_effective(world, release("r-2", manufacturer="maker-b", model="XR/7", firmware=b"of the other"))
    world.report("dev-1", item(firmware=b"of the other"))
    world.report("dev-2", item("s-2", artefacts=[truncated("firmware", b"fir", 10)]))
    world.report("dev-3", item("another serial number"), "gw-2")
    found = {(row["device"], row["cause"]) for row in world.shown("alarms")}
    assert found == {
        ("dev-1", "misfilled"),
        ("dev-2", "incomplete"),
        ("dev-2", "missing"),
        ("dev-3", "identity_changed"),
    }
    world.report("dev-4", None, "gw-2", "unreachable")
    assert world.device("dev-4")["state"] == "unreachable"


# holds RF-7
def test_device_that_follows_a_release_with_its_next_report_shows_as_judged_before_it() -> None:
    consortium = Consortium({"reappraise_devices_max": 1})
    make_effective(consortium, release())
    for device in ("dev-1", "dev-2"):
        consortium.report(device, item(f"s-{device[-1]}"))
    reported = {row["device"]: row["report_height"] for row in consortium.shown("devices")}
    done = make_effective(consortium, release("r-2", firmware=b"fw 2"))
    height = consortium.head.height
    assert [told["device"] for told in done.events("verdict_changed")] == ["dev-1"]
    judged = {row["device"]: row["judged_height"] for row in consortium.shown("devices")}
    assert judged == {"dev-1": height, "dev-2": reported["dev-2"], **dict.fromkeys(("dev-3", "dev-4"))}
    declared, reading = TABLES["devices"], Reading(consortium.head.time_ms, STALE_MS)
    conditions = declared.condition("judged_before", str(height), reading)
    assert [row["device"] for row in consortium.tables.page(declared, conditions, None, 100).rows] == ["dev-2"]
    consortium.report("dev-2", item("s-2"))
    assert not consortium.tables.page(declared, conditions, None, 100).rows

"""Alarms, their history, groups and figures, and the baseline of devices, from what the contract really tells."""

from __future__ import annotations

from typing import Any

from master.ledger.rows import Execution, event_rows
from master.views.ports import END, Position
from master.views.schema import Reading
from master.views.table import TABLES
from tests.unit.contracts.operators import Watch
from tests.unit.contracts.reports import artefact, entry, evidence, item, make_effective, release, send
from tests.unit.ledger.worlds import World
from tests.unit.master.api.schemas import problems
from tests.unit.master.views.memory import MemoryTables
from wire.cbor import Value
from wire.evidence import Item
from wire.genesis import Device, Genesis

BAD = item(firmware=b"evil")
STALE_MS = 1_800_000


class Shown(World):
    """A ledger whose events go into view tables as soon as they are committed."""

    def __init__(self, genesis: Genesis | None = None) -> None:
        super().__init__(genesis)
        self.tables = MemoryTables(self.genesis)

    def commit(self, execution: Execution) -> None:
        super().commit(execution)
        header = execution.block.header
        rows = list(event_rows(header.height, header.time_ms, execution.outcomes))
        self.tables.apply(rows, Position(header.height, END))


class Console(Watch):
    """Alarms as readers see them, rows checked against their schemas."""

    def __init__(self, parameters: dict[str, Value] | None = None, devices: tuple[Device, ...] | None = None) -> None:
        super().__init__(parameters, devices, Shown)
        assert isinstance(self.world, Shown)
        self.tables = self.world.tables

    def rows(self, table: str, ahead_ms: int = 0, **wanted: str) -> list[dict[str, Any]]:
        """Return what readers see of rows that fit ``wanted``, each filter joined."""
        declared, reading = TABLES[table], Reading(self.world.head.time_ms + ahead_ms, STALE_MS)
        conditions = [one for name, value in wanted.items() for one in declared.condition(name, value, reading)]
        rows = [declared.present(row, reading) for row in self.tables.page(declared, conditions, None, 1000).rows]
        for row in rows:
            assert problems(row, declared.item_schema(), {}) == []
        return rows


# holds AL-4
def test_everything_that_happens_to_an_alarm_is_in_its_history() -> None:
    console = Console()
    console.read(BAD)
    console.act("acknowledge-alarm", by="agency", reason="under-investigation")
    console.act("shelve-alarm", by="sub", until_ms=console.world.head.time_ms + 5000)
    console.act("unshelve-alarm", by="dispatch")
    console.read(item())
    console.act("acknowledge-alarm")
    done = console.act("close-alarm", reason="test")
    history = console.rows("alarm_transitions")
    assert [(row["move"], row["from_state"], row["state"], row["by"]) for row in reversed(history)] == [
        ("appear", None, "raised", None),
        ("acknowledge", "raised", "acknowledged", "agency"),
        ("shelve", "acknowledged", "raised", "sub"),
        ("unshelve", "raised", "raised", "dispatch"),
        ("return", "raised", "returned", None),
        ("acknowledge", "returned", "returned_acknowledged", "grid"),
        ("close", "returned_acknowledged", "closed", "grid"),
    ]
    (alarm,) = console.rows("alarms")
    newest = history[0]
    assert (newest["tx"], newest["height"], newest["time_ms"]) == (
        done.tx.id.hex(),
        console.world.head.height,
        console.world.head.time_ms,
    )
    assert (newest["reason"], newest["alarm_id"]) == ("test", alarm["alarm_id"])
    assert history[4]["until_ms"] is not None
    assert (alarm["state"], alarm["phase"], alarm["closed"]["by"]) == ("closed", "closed", "grid")
    assert console.rows("alarm_transitions", by="sub") == [history[4]]
    assert console.rows("alarm_transitions", alarm=alarm["alarm_id"]) == history


# holds AL-5
def test_shelf_is_shown_until_it_ends_by_block_time_without_any_event() -> None:
    console = Console()
    console.read(BAD)
    console.act("shelve-alarm", until_ms=console.world.head.time_ms + 60_000)
    left_ms = 59_000
    assert [row["state"] for row in console.rows("alarms", left_ms - 1)] == ["shelved"]
    assert [row["state"] for row in console.rows("alarms", left_ms)] == ["raised"]
    for ahead_ms in (left_ms - 1, left_ms):
        everything = console.rows("alarms", ahead_ms)
        for state in ("raised", "shelved", "returned"):
            want = [row for row in everything if row["state"] == state]
            assert console.rows("alarms", ahead_ms, state=state) == want


def test_device_is_in_alarm_until_its_cause_is_gone_whatever_people_do() -> None:
    console = Console()
    console.read(BAD)
    for method in ("acknowledge-alarm", "shelve-alarm"):
        console.act(method)
        assert console.rows("devices")[0]["causes"] == ["mismatch"]
    console.read(item())
    assert console.rows("devices")[0]["state"] == "match"
    console.act("acknowledge-alarm")
    console.act("close-alarm")
    assert console.rows("devices")[0]["causes"] == []
    console.read(BAD)
    assert console.rows("devices")[0]["causes"] == ["mismatch"]
    assert [row["phase"] for row in console.rows("alarms")] == ["open", "closed"]


# holds AL-8
def test_alarm_of_a_gateway_stands_at_its_station_and_at_no_device() -> None:
    console = Console()
    console.conflict()
    (alarm,) = console.rows("alarms", station="st-1")
    assert (alarm["device"], alarm["gateway"], alarm["area"]) == (None, "gw-1", "north")
    assert (alarm["cause"], alarm["severity"]) == ("evidence_conflict", "high")
    assert all(row["causes"] == [] for row in console.rows("devices"))


# holds AL-10
def test_group_counts_all_its_alarms_and_hides_none() -> None:
    devices = (
        *(Device(f"a-{number}", "gw-1", "maker-a", "SC-2", "") for number in range(3)),
        Device("b-0", "gw-2", "maker-a", "SC-2", ""),
    )
    console = Console({"alarm_flood_alarms": 4}, devices)
    for number in range(3):
        console.read(item(settings=b"evil"), f"a-{number}")
    (group,) = console.rows("alarm_groups")
    assert (group["kind"], group["station"], group["gateway"]) == ("group", "st-1", "gw-1")
    assert (group["alarms"], group["open"], group["unacknowledged"]) == (3, 3, 3)
    assert group["severity"] == "high"
    console.read(BAD, "b-0", "gw-2")
    (group,) = console.rows("alarm_groups", kind="flood")
    assert (group["station"], group["gateway"], group["alarms"]) == (None, None, 4)
    assert group["severity"] == "critical"
    assert len(console.rows("alarms", group=group["group_id"])) == 4
    console.act("acknowledge-alarm", subject="a-0")
    console.read(item(), "a-0")
    console.act("close-alarm", subject="a-0")
    (group,) = console.rows("alarm_groups")
    assert (group["alarms"], group["open"], group["unacknowledged"]) == (4, 3, 3)
    assert group["first_ms"] < group["last_ms"]


# holds AL-11
def test_figures_say_how_long_people_took() -> None:
    console = Console()
    for device, blocks in (("dev-1", 1), ("dev-2", 4)):
        serial = f"s-{device[-1]}"
        console.read(item(serial, firmware=b"evil"), device)
        for _ in range(blocks):
            console.world.run()
        console.act("acknowledge-alarm", subject=device)
        console.read(item(serial), device)
        console.act("close-alarm", subject=device)
    rows = {row["figure"]: row for row in console.rows("alarm_figures")}
    month = "2027-01"
    assert set(rows) == {
        f"{period}:{scope}" for period in ("all", month) for scope in ("all:all", "cause:mismatch", "station:st-1")
    }
    for row in rows.values():
        assert (row["opened"], row["acknowledged"], row["closed"]) == (2, 2, 2)
        # a block is a second: 1 + 1 and 4 + 1 until acknowledged, two more until closed
        assert (row["acknowledge_ms_mean"], row["acknowledge_ms_max"]) == (3500, 5000)
        assert (row["clear_ms_mean"], row["clear_ms_max"]) == (5500, 7000)
    assert console.rows("alarm_figures", period=month, scope="cause") == [rows[f"{month}:cause:mismatch"]]


# holds AL-11
def test_time_to_acknowledge_counts_from_the_first_word_that_nobody_took_note_of() -> None:
    console = Console()
    console.read(BAD)
    console.act("acknowledge-alarm")
    console.world.run()
    console.read(item(firmware=b"worse"))
    console.read(item())
    console.act("acknowledge-alarm")
    (row,) = console.rows("alarm_figures", period="all", scope="all")
    assert (row["opened"], row["acknowledged"], row["closed"]) == (1, 2, 0)
    assert (row["acknowledge_ms_mean"], row["acknowledge_ms_max"], row["clear_ms_mean"]) == (1500, 2000, None)


# the past of a device and its baseline


def test_past_verdicts_of_a_device_are_all_there_newest_first() -> None:
    console = Console()
    for content in (item(), BAD, item()):
        console.read(content)
    console.read(item("s-2"), "dev-2")
    found = console.rows("verdicts", device="dev-1")
    assert [row["verdicts"]["firmware"] for row in found] == ["match", "mismatch", "match"]
    assert {artefact_row["method"] for artefact_row in found[0]["artefacts"]} == {"full-file"}
    assert found[1]["artefacts"][0]["detail"] == "4 bytes where 10 are expected"
    assert len(console.rows("verdicts")) == 4


def _read(console: Console, content: Item, read_to_ms: int, status: str = "read", *, whole: bool = True) -> None:
    console.seq += 1
    line = entry("dev-1", content, status=status, read_from_ms=read_to_ms, read_to_ms=read_to_ms, whole=whole)
    assert send(console.world, evidence(line, pair=(1, console.seq))).code == "ok"


def _baseline(console: Console) -> tuple[object, ...]:
    row = console.rows("devices")[0]
    return tuple(row[f"baseline_{name}"] for name in ("ms", "height", "method"))


# holds CO-1
def test_baseline_is_the_newest_read_by_which_everything_matched() -> None:
    console = Console()
    start_ms = console.world.head.time_ms
    assert _baseline(console) == (None, None, None)
    _read(console, BAD, start_ms)
    assert _baseline(console) == (None, None, None)
    _read(console, item(), start_ms + 100)
    first = (start_ms + 100, console.world.head.height, "full-file")
    assert _baseline(console) == first
    # nothing was read, something else was read, something older was read: nothing is verified by that
    _read(console, item(), start_ms + 200, "unreachable")
    _read(console, BAD, start_ms + 300)
    _read(console, BAD, start_ms + 400, whole=False)
    _read(console, item(), start_ms + 50)
    assert _baseline(console) == first
    _read(console, item(), start_ms + 500, whole=False)
    assert _baseline(console) == (start_ms + 500, console.world.head.height, "full-file")
    # a gateway's clock that runs ahead does not make it younger than its block
    _read(console, item(), start_ms + 10**9, whole=False)
    assert _baseline(console)[0] == console.world.head.time_ms


# holds CO-1
def test_baseline_rests_on_the_weakest_method_and_on_the_right_device() -> None:
    console = Console()
    rest = [one for one in item().artefacts if one.kind != "settings"]
    weak = artefact("settings", b"settings 1", method="relayed-file")
    _read(console, item("s-9", artefacts=[weak, *rest]), console.world.head.time_ms)
    assert _baseline(console) == (None, None, None)
    _read(console, item(artefacts=[weak, *rest]), console.world.head.time_ms)
    assert _baseline(console)[2] == "relayed-file"


# holds CO-1
def test_release_that_makes_what_was_read_right_verifies_as_of_that_read() -> None:
    console = Console()
    read_to_ms = console.world.head.time_ms
    _read(console, item(firmware=b"firmware 2"), read_to_ms)
    for _ in range(3):
        console.world.run()
    make_effective(console.world, release("r-2", firmware=b"firmware 2"))
    assert _baseline(console) == (read_to_ms, console.world.head.height, "full-file")

"""Lists at the API of a node whose tables hold a long past: 1,000 devices, a million verdicts, 20,000 alarms.

The rows are made by the views from events, as in a node, in the node's own database; what is missing is the ledger
below: the API is asked for lists alone. GRIDWITNESS_BENCH_SHORTER divides the past.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

import uvicorn
from prometheus_client import CollectorRegistry

from benchmarks.modelpast import VERSIONS, ModelPast
from benchmarks.results import Result, median, percentile
from master.api.app import build_api
from master.api.parameters import cursor_of
from master.io.tables import Tables
from master.ledger.rows import EventRow
from master.views.ports import END, Position
from master.views.schema import Reading
from master.views.table import TABLES
from wire.genesis import Device, Gateway, Genesis, GenesisValidator, Organisation, Station
from wire.types import sha256

if TYPE_CHECKING:
    from master.api.ports import LedgerPort, NodePort, ProofPort
    from wire.cbor import Value

DEVICES: Final = 1_000
VERDICTS: Final = 1_000_000
DEVICES_OF_A_GATEWAY: Final = 10
BLOCK_EVENTS: Final = 10_000
ALARM_EVERY: Final = 50
"""One verdict in so many opens an alarm, which is acknowledged, returns and is closed."""
OPEN_EVERY: Final = 100
"""One alarm in so many stays open."""
ROUNDS: Final = 200
START_MS: Final = 1_790_000_000_000
BLOCK_MS: Final = 600_000
_KINDS: Final = ("firmware", "settings", "strategy")
_NOTE: Final[dict[str, Value]] = {"by": "grid", "organisation": "grid", "reason": "test", "action": "looked at it"}


def measure() -> Sequence[Result]:
    """Fill the tables, then ask over HTTP on loopback, one request at a time."""
    return measure_past(DEVICES, VERDICTS // int(os.environ.get("GRIDWITNESS_BENCH_SHORTER") or 1), ROUNDS)


def measure_past(devices: int, verdicts: int, rounds: int) -> Sequence[Result]:
    """Measure with a past of so many verdicts of so many devices."""
    past = Past(devices)
    with tempfile.TemporaryDirectory(prefix="gridwitness-bench-") as name:
        tables = Tables(f"sqlite:///{Path(name) / 'views.db'}", past.genesis)
        began_s = time.perf_counter()
        for events in past.blocks(verdicts):
            tables.apply(events, Position(events[-1].height, END))
        filled_s = time.perf_counter() - began_s
        models = ModelPast(START_MS, max(1, VERSIONS * verdicts // VERDICTS))
        for events in models.blocks(past.height):
            tables.apply(events, Position(events[-1].height, END))
        size_mib = sum(file.stat().st_size for file in Path(name).iterdir()) / 2**20
        asked = ask_all(tables, past, rounds, tuple(models.questions()))
        tables.close()
    about = f"{devices:,} devices, {verdicts:,} verdicts, {past.alarms:,} alarms"
    return (
        *asked,
        Result("tables filled", verdicts / filled_s, "verdicts/s", f"{about}; from events, in {filled_s:.0f} s"),
        Result("database", size_mib, "MiB", about),
        Result("models", models.count, "versions", f"of {models.models} models"),
    )


def ask_all(tables: Tables, past: Past, rounds: int, more: Sequence[tuple[str, str]] = ()) -> Sequence[Result]:
    """Ask every question, and ``more``, over HTTP on loopback, one request at a time."""
    with _Server(tables, past) as server:
        asked = [_ask(server, title, target, rounds) for title, target in (*past.questions(tables), *more)]
    return [result for results in asked for result in results]


class Past:
    """A consortium and the events of its past."""

    def __init__(self, devices: int) -> None:
        self.chance = random.Random(1)
        self.names = [f"dev-{number:04}" for number in range(devices)]
        self.alarms = 0
        self.height = 0
        self.gateway_of = {name: f"gw-{place // DEVICES_OF_A_GATEWAY:03}" for place, name in enumerate(self.names)}
        gateways = sorted(set(self.gateway_of.values()))
        self.station_of = {gateway: f"st-{gateway[3:]}" for gateway in gateways}
        self.area_of = {station: f"area-{station[-1]}" for station in self.station_of.values()}
        self.genesis = Genesis(
            name="bench",
            time_ms=START_MS,
            validators=(GenesisValidator("dispatch", sha256(b"vote"), b"certificate"),),
            organisations=(Organisation("dispatch", "dispatch-centre"), Organisation("grid", "grid-company")),
            keys=(),
            stations=tuple(Station(station, area, "grid") for station, area in self.area_of.items()),
            gateways=tuple(Gateway(gateway, station) for gateway, station in self.station_of.items()),
            devices=tuple(
                Device(name, gateway, "Maker", f"SC-{self.names.index(name) % 4}", name)
                for name, gateway in self.gateway_of.items()
            ),
            parameters={},
            code_table=(),
        )

    @property
    def time_ms(self) -> int:
        """Block time of the newest block."""
        return START_MS + self.height * BLOCK_MS

    def blocks(self, verdicts: int) -> Iterator[list[EventRow]]:
        """Yield the events of one block after the other."""
        told: list[tuple[str, str, dict[str, Value]]] = []
        for number in range(verdicts):
            device = self.names[number % len(self.names)]
            is_bad = number % ALARM_EVERY == 0
            told.append(("verdict_changed", device, self._verdict(device, is_bad=is_bad)))
            if is_bad:
                told += self._alarm(device, is_left_open=self.alarms % OPEN_EVERY == 0)
            if len(told) >= BLOCK_EVENTS or number == verdicts - 1:
                self.height += 1
                yield [self._row(index, *event) for index, event in enumerate(told)]
                told = []

    def questions(self, tables: Tables) -> Iterator[tuple[str, str]]:
        """Yield what is asked for, by name and path."""
        device = self.names[len(self.names) // 2]
        alarmed = tables.page(TABLES["alarms"], (), None, 1).rows[0]
        verdicts = TABLES["verdicts"]
        own = verdicts.condition("device", device, Reading(self.time_ms, 1))
        middle = tables.page(verdicts, own, None, 500).rows
        yield "alarms, newest 100", "/v1/alarms"
        yield "alarms that nobody closed", "/v1/alarms?phase=open"
        yield "alarms raised and of one severity", "/v1/alarms?state=raised&severity=critical"
        yield "alarms of one device", f"/v1/alarms?device={alarmed['device']}"
        yield "history of one alarm", f"/v1/alarm-transitions?alarm={alarmed['alarm_id']}"
        yield "floods", "/v1/alarm-groups?kind=flood"
        yield "mean times", "/v1/alarm-figures?period=all"
        yield "past of one device, newest 100", f"/v1/verdicts?device={device}"
        yield "past of one device, deep in it", f"/v1/verdicts?device={device}&after={cursor_of(verdicts, middle[-1])}"
        yield "verdicts of one station", f"/v1/verdicts?station={middle[0]['station']}"
        yield "devices, 100", "/v1/devices"
        yield "compliance, 100 devices", "/v1/compliance"
        yield "devices overdue", "/v1/compliance?status=overdue"

    def _row(self, index: int, kind: str, subject: str, data: dict[str, Value]) -> EventRow:
        tx = sha256(b"%d-%d" % (self.height, index))
        return EventRow(self.height, index, self.time_ms, tx, "consistency", kind, subject, data)

    def _verdict(self, device: str, *, is_bad: bool) -> dict[str, Value]:
        verdicts = dict.fromkeys(_KINDS, "match")
        if is_bad:
            verdicts["firmware"] = "mismatch"
        digest = self.chance.randbytes(32)
        read: dict[str, Value] = {
            **_finding("mismatch" if is_bad else "match", digest),
            "name": "file.bin",
            "version": "1.0",
            "size": 65_536,
            "read_size": 65_536,
            "errors": [],
        }
        artefacts: list[Value] = [{**read, "kind": kind, "verdict": verdicts[kind]} for kind in _KINDS]
        return {
            "device": device,
            "verdicts": {**verdicts},
            "identity": dict.fromkeys(("vendor", "product", "revision", "serial", "model"), "text"),
            "identity_changed": False,
            "item_digest": digest,
            "artefacts": artefacts,
            "pending_until_ms": None,
        }

    def _alarm(self, device: str, *, is_left_open: bool) -> Iterator[tuple[str, str, dict[str, Value]]]:
        self.alarms += 1
        name = sha256(b"alarm %d" % self.alarms)[:16].hex()
        gateway = self.gateway_of[device]
        station = self.station_of[gateway]
        data: dict[str, Value] = {
            "alarm_id": name,
            "device": device,
            "gateway": gateway,
            "station": station,
            "area": self.area_of[station],
            "cause": "mismatch",
            "severity": "critical",
            "present": True,
            "artefacts": [_finding("mismatch", sha256(b"read"))],
            "count": 1,
            "group": name,
            "opening_tx": sha256(name.encode()),
            "raised_ms": self.time_ms + BLOCK_MS,
            "raised_height": self.height + 1,
            **dict.fromkeys(("acknowledged", "shelf", "closed", *_NOTE)),
        }
        steps: list[tuple[str, str, str | None, str, bool]] = [("alarm_raised", "appear", None, "raised", False)]
        if not is_left_open:
            steps += [
                ("alarm_acknowledged", "acknowledge", "raised", "acknowledged", True),
                ("alarm_returned", "return", "acknowledged", "returned_acknowledged", False),
                ("alarm_closed", "close", "returned_acknowledged", "closed", True),
            ]
        for kind, move, before, after, is_person in steps:
            present = after in ("raised", "acknowledged")
            by = _NOTE if is_person else {}
            yield kind, device, {**data, "move": move, "from_state": before, "state": after, "present": present, **by}


def _finding(verdict: str, digest: bytes) -> dict[str, Value]:
    return {
        "kind": "firmware",
        "verdict": verdict,
        "expected_sha256": digest,
        "read_sha256": digest,
        "detail": "4 bytes where 10 are expected" if verdict == "mismatch" else None,
        "difference": None,
        "method": "full-file",
        "owner": None,
        "fill": None,
    }


class _Node:
    """What lists ask of a node."""

    def __init__(self, past: Past) -> None:
        self._past = past

    def status(self) -> dict[str, object]:
        return {"version": "0"}

    def past(self) -> dict[str, object]:
        return {"known_from": 1}

    def head_height(self) -> int:
        return self._past.height

    def head_time_ms(self) -> int:
        return self._past.time_ms

    now_ms = head_time_ms

    def ledger_stale(self) -> bool:
        return False

    def stale_ms(self) -> int:
        return 1_800_000

    def baseline_days_max(self) -> int:
        return 35


class _Server:
    """The API on loopback, in a thread of its own."""

    def __init__(self, tables: Tables, past: Past) -> None:
        node, nothing = cast("NodePort", _Node(past)), cast("Any", object())
        api = build_api(node, cast("LedgerPort", nothing), cast("ProofPort", nothing), tables, CollectorRegistry())
        self._server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


def _ask(server: _Server, title: str, target: str, rounds: int) -> tuple[Result, Result]:
    """Ask one question over one connection, again and again."""
    connection = HTTPConnection("127.0.0.1", server.port)
    times_ms, size = [], 0
    for _ in range(rounds):
        began_s = time.perf_counter()
        connection.request("GET", target)
        reply = connection.getresponse()
        size = len(reply.read())
        times_ms.append((time.perf_counter() - began_s) * 1000)
        assert reply.status == 200, target
    connection.close()
    note = f"GET {target.partition('&after')[0]}, {size:,} bytes"
    return (
        Result(f"{title}: p50", median(times_ms), "ms", note),
        Result(f"{title}: p95", percentile(times_ms, 0.95), "ms", note),
    )

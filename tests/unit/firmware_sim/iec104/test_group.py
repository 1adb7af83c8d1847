"""Connections of one device: one transfers data, and what changed reaches the one that does, once and in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from firmware_sim.device import Device
from firmware_sim.iec104.group import EVENTS_MAX
from firmware_sim.iec104.options import Iec104Options
from firmware_sim.iec104.server import Iec104Server, Port
from tests.unit.firmware_sim.iec104.line import FIRMWARE, Line, asdu, bay, brief, options_of, port_of
from wire.iec104.apci import UFunction

END_OF_INITIALISATION = (70, 4, False)
READ = asdu(102, 5, b"", address=1)


def change(target: Device, to: int = 0xFF) -> None:
    """Load another firmware."""
    firmware = target.contents.artefacts["firmware"]
    target.load(target.contents.loaded(firmware.with_content(bytes((to,)) + FIRMWARE[1:])))


def told(target: Device, port: Port) -> None:
    """Report as the server does."""
    target.listen(lambda _: port.group.look(measured=False))


def on_port(talk: Callable[[Port, Device], None], **options: object) -> None:
    async def main() -> None:
        target = bay()
        port = port_of(target, **options)
        told(target, port)
        talk(port, target)
        for connection in list(port.connections):
            connection.connection_lost(None)

    asyncio.run(main())


def test_first_that_starts_is_told_the_end_of_the_initialisation_once() -> None:
    def talk(port: Port, _: Device) -> None:
        line = Line(port)
        assert brief(line.start()) == [END_OF_INITIALISATION]
        line.acknowledge()
        line.station.connection_lost(None)
        assert brief(Line(port).start()) == []

    on_port(talk)


def test_start_of_a_second_link_stops_the_first() -> None:
    def talk(port: Port, _: Device) -> None:
        first, second = Line(port), Line(port)
        first.start()
        first.acknowledge()
        second.start()
        assert brief(second.ask(READ)) == [(11, 5, False)]
        first.send(READ)
        assert first.wire.is_aborted, "a stopped link takes no request"
        assert brief(second.ask(READ)) == [(11, 5, False)]

    on_port(talk)


def test_links_that_are_no_group_all_transfer() -> None:
    def talk(port: Port, _: Device) -> None:
        first, second = Line(port), Line(port)
        first.start()
        second.start()
        for line in (first, second):
            assert brief(line.ask(READ))[-1] == (11, 5, False)

    on_port(talk, has_group=False)


def test_stopped_link_is_tested_and_gets_nothing() -> None:
    def talk(port: Port, target: Device) -> None:
        line = Line(port)
        change(target)
        assert line.frames() == []
        assert line.say(UFunction.TESTFR_ACT) == [UFunction.TESTFR_CON]

    on_port(talk)


def test_what_changes_while_nobody_is_started_waits() -> None:
    def talk(port: Port, target: Device) -> None:
        line = Line(port)
        change(target)
        found = brief(line.start())
        assert found[0] == END_OF_INITIALISATION
        assert set(found[1:]) == {(33, 3, False)}

    on_port(talk)


def test_event_that_was_not_acknowledged_is_sent_again_over_the_next_link() -> None:
    def talk(port: Port, target: Device) -> None:
        first, second = Line(port), Line(port)
        first.start()
        first.acknowledge()
        change(target)
        sent = [frame for frame in first.frames() if not isinstance(frame, UFunction)]
        assert len(sent) == 3
        found = second.start()
        assert [item.head.type_id for item in found] == [33, 33, 33]
        assert [getattr(frame, "asdu")[6:9] for frame in sent] == [  # noqa: B009 - they are I frames
            item.address.to_bytes(3, "little") for item in found
        ]

    on_port(talk)


def test_event_that_was_acknowledged_is_not_sent_again() -> None:
    def talk(port: Port, target: Device) -> None:
        first, second = Line(port), Line(port)
        first.start()
        change(target)
        first.rest()
        first.acknowledge()
        assert second.start() == []

    on_port(talk)


def test_stopdt_stops_and_startdt_goes_on() -> None:
    def talk(port: Port, target: Device) -> None:
        line = Line(port)
        line.start()
        line.acknowledge()
        assert line.say(UFunction.STOPDT_ACT) == [UFunction.STOPDT_CON]
        change(target)
        assert line.frames() == []
        assert len(line.start()) == 3

    on_port(talk)


def test_events_that_nobody_fetches_are_bounded_and_the_oldest_go() -> None:
    def talk(port: Port, target: Device) -> None:
        for number in range(500):
            change(target, number % 256)
        assert port.group.lost_events > 0
        line = Line(port)
        found = [*line.start(), *line.rest()]
        line.acknowledge()
        found += line.rest()
        assert len(found) <= EVENTS_MAX

    on_port(talk)


def test_measured_values_are_reported_when_they_move() -> None:
    now_ms = 1_750_000_000_000

    async def main() -> None:
        target = bay()
        target.clock_ms = lambda: now_ms
        port = port_of(target)
        line = Line(port)
        line.start()
        line.acknowledge()
        port.group.look(measured=True)
        assert line.rest() == []
        nonlocal_add(5_000)
        port.group.look(measured=False)
        assert line.rest() == []
        port.group.look(measured=True)
        assert {item.head.type_id for item in line.rest()} >= {35}
        line.station.connection_lost(None)

    def nonlocal_add(by_ms: int) -> None:
        nonlocal now_ms
        now_ms += by_ms

    asyncio.run(main())


def test_server_reports_restart_and_change_and_closes_what_is_open() -> None:
    async def main() -> None:
        target = bay()
        server = Iec104Server(target, options_of(measured_ms=5), None)
        _, port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes.fromhex("680407000000"))
        assert (await reader.readexactly(6)).hex() == "68040b000000"
        end = await reader.readexactly(16)
        assert end[6] == 70
        writer.write(bytes.fromhex("680401000200"))
        change(target)
        assert (await reader.readexactly(7))[6] == 33
        target.restart(1)
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()
        await server.stop()
        await server.stop()

    asyncio.run(main())


@pytest.mark.parametrize(("name", "number"), [("w", 13), ("k", 7), ("t2_ms", 15_000)])
def test_windows_and_timers_that_do_not_fit_together_are_refused(name: str, number: int) -> None:
    with pytest.raises(ValueError, match="is due"):
        options_of(**{name: number})
    assert Iec104Options().link_parameters().k == 12

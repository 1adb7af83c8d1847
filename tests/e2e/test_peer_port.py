"""The peer port under strangers, floods and slow peers: real TLS sockets on loopback, bounds made small."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import uvloop

from kit.tls import peer_context
from master.io.frames import frame
from master.io.inbound import FrameReason, HandshakeReason
from master.io.limits import PeerLimits
from tests.e2e.test_peers import REFUSED, WAIT_S, Member, make, until

LOOPS: Final = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uv"])


@dataclass
class Counted:
    """What the port told."""

    handshakes: Counter[str] = field(default_factory=Counter)
    frames: Counter[tuple[str, str]] = field(default_factory=Counter)
    paused_s: float = 0.0

    def handshake_refused(self, reason: HandshakeReason) -> None:
        self.handshakes[reason] += 1

    def frame_refused(self, member: str, reason: FrameReason) -> None:
        self.frames[member, reason] += 1

    def throttled(self, member: str, pause_s: float) -> None:
        assert member == "b"
        self.paused_s += pause_s


@dataclass
class Port:
    """A node with an open port, and another member's keys."""

    a: Member
    b: Member
    counted: Counted

    def context(self, member: Member) -> ssl.SSLContext:
        trusted = [self.a.identity.der(), self.b.identity.der()]
        return peer_context("client", member.certificate, member.key, trusted)

    async def dial(self, member: Member) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.a.port, ssl=self.context(member))

    async def dial_bare(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.a.port)

    async def check_serves(self) -> None:
        """Make sure that the other member still gets through."""
        reader, writer = await self.dial(self.b)
        heard = len(self.a.heard)
        writer.write(frame(b"still here"))
        await until(lambda: ("b", b"still here") in self.a.heard[heard:])
        await leave(writer)
        del reader


@contextlib.asynccontextmanager
async def opened(folder: Path, limits: PeerLimits) -> AsyncIterator[Port]:
    a, b = make(folder, "a", "b")
    counted = Counted()
    a.build([a], [a, b], limits, counted)
    await a.start()
    try:
        yield Port(a, b, counted)
    finally:
        await a.network.stop()


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait until the other side closes."""
    try:
        async with asyncio.timeout(WAIT_S):
            return await reader.read(1) == b""
    except (ConnectionError, ssl.SSLError):
        return True


def run(folder: Path, limits: PeerLimits, loop: Callable[[], asyncio.AbstractEventLoop], act: Act) -> Counted:
    async def main() -> Counted:
        async with opened(folder, limits) as port:
            await act(port)
            return port.counted

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


Act = Callable[[Port], Awaitable[None]]


# holds TP-1
@LOOPS
def test_port_handshake_that_does_not_end_is_cut_off(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def act(port: Port) -> None:
        reader, writer = await port.dial_bare()
        assert await is_closed(reader)
        await leave(writer)
        await port.check_serves()

    counted = run(tmp_path, PeerLimits(handshake_s=0.3), loop, act)
    assert counted.handshakes == {"deadline": 1}


# holds TP-1
@LOOPS
def test_port_bytes_that_are_no_tls_are_refused(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def act(port: Port) -> None:
        reader, writer = await port.dial_bare()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        while await reader.read(4096):
            pass
        await leave(writer)
        await port.check_serves()

    counted = run(tmp_path, PeerLimits(), loop, act)
    assert counted.handshakes == {"tls": 1}


# holds TP-1
def test_port_certificate_of_nobody_is_refused(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        (stranger,) = make(tmp_path, "stranger")
        reader, writer = await port.dial(stranger)
        assert await is_closed(reader)
        await leave(writer)
        assert port.a.heard == []

    counted = run(tmp_path, PeerLimits(), asyncio.new_event_loop, act)
    assert counted.handshakes == {"tls": 1}


# holds TP-2
@LOOPS
def test_port_more_handshakes_of_one_address_than_allowed_are_refused(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def act(port: Port) -> None:
        waiting = [await port.dial_bare() for _ in range(3)]
        reader, writer = await port.dial_bare()
        assert await is_closed(reader)
        assert port.counted.handshakes == {"address-busy": 1}
        for _, held in (*waiting, (reader, writer)):
            await leave(held)
        await until(lambda: port.counted.handshakes["tls"] == 3)
        await port.check_serves()

    run(tmp_path, PeerLimits(handshakes_per_address_max=3), loop, act)


# holds TP-2
@LOOPS
def test_port_full_of_handshakes_lets_the_oldest_give_way(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def act(port: Port) -> None:
        waiting = [await port.dial_bare() for _ in range(4)]
        await port.check_serves()
        assert port.counted.handshakes == {"displaced": 1}
        assert await is_closed(waiting[0][0])
        for _, writer in waiting:
            await leave(writer)

    run(tmp_path, PeerLimits(handshakes_max=4), loop, act)


# holds TP-2
def test_port_address_that_dials_without_end_is_turned_away(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        for _ in range(6):
            reader, writer = await port.dial_bare()
            await leave(writer)
            del reader
        await until(lambda: port.counted.handshakes["address-rate"] == 2)

    run(tmp_path, PeerLimits(handshakes_per_s=0, handshakes_burst=4), asyncio.new_event_loop, act)


# holds TP-3
def test_port_third_connection_of_a_member_ends_its_oldest(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        first, *others = [await port.dial(port.b) for _ in range(3)]
        assert await is_closed(first[0])
        assert port.counted.frames == {("b", "displaced"): 1}
        for number, (_, writer) in enumerate(others):
            writer.write(frame(b"%d" % number))
        await until(lambda: sorted(port.a.heard) == [("b", b"0"), ("b", b"1")])
        for _, writer in (first, *others):
            await leave(writer)

    run(tmp_path, PeerLimits(), asyncio.new_event_loop, act)


# holds TP-4
def test_port_member_that_says_nothing_is_cut_off(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        reader, writer = await port.dial(port.b)
        writer.write(frame(b"one"))
        assert await is_closed(reader)
        assert port.counted.frames == {("b", "silent"): 1}
        await leave(writer)

    run(tmp_path, PeerLimits(silence_s=0.3), asyncio.new_event_loop, act)


# holds TP-4
def test_port_frame_that_trickles_is_cut_off_although_bytes_keep_coming(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        reader, writer = await port.dial(port.b)
        writer.write((1000).to_bytes(4, "big"))
        closed = asyncio.create_task(is_closed(reader))
        while not closed.done():
            writer.write(b"x")
            await asyncio.sleep(0.05)
        assert closed.result()
        assert port.counted.frames == {("b", "unfinished"): 1}
        assert port.a.heard == []
        await leave(writer)

    run(tmp_path, PeerLimits(silence_s=10, frame_s=0.4), asyncio.new_event_loop, act)


# holds TP-4
def test_port_slow_frame_within_its_time_is_heard(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        _, writer = await port.dial(port.b)
        for part in frame(b"slow"):
            writer.write(bytes((part,)))
            await asyncio.sleep(0.01)
        await until(lambda: port.a.heard == [("b", b"slow")])
        await leave(writer)
        assert port.counted.frames == {}

    run(tmp_path, PeerLimits(silence_s=1, frame_s=5), asyncio.new_event_loop, act)


# holds TP-5
@pytest.mark.parametrize(
    ("limits", "message", "number"),
    [
        (PeerLimits(messages_per_s=200, messages_burst=20), b"m", 100),
        (PeerLimits(bytes_per_s=200_000, bytes_burst=20_000), bytes(1000), 100),
        (PeerLimits(messages_per_s=200, messages_burst=20, refused_cost=20), REFUSED, 5),
    ],
    ids=["messages", "bytes", "refused"],
)
def test_port_member_above_its_allowance_is_slowed_and_loses_nothing(
    tmp_path: Path, limits: PeerLimits, message: bytes, number: int
) -> None:
    async def act(port: Port) -> None:
        began_s = asyncio.get_running_loop().time()
        _, writer = await port.dial(port.b)
        writer.write(frame(message) * number)
        await until(lambda: len(port.a.heard) == number)
        # 80 units of 200 per second are beyond the burst; the last pause comes behind the last message
        assert asyncio.get_running_loop().time() - began_s > 0.25
        assert port.counted.paused_s > 0  # how much of it was pause depends on what else kept the machine busy
        await leave(writer)

    run(tmp_path, limits, asyncio.new_event_loop, act)


# holds TP-5
def test_port_member_that_dials_anew_gets_no_new_allowance(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        for _ in range(2):
            _, writer = await port.dial(port.b)
            writer.write(frame(b"m") * 20)
            await leave(writer)
        await until(lambda: len(port.a.heard) == 40)
        assert port.counted.paused_s > 0

    run(tmp_path, PeerLimits(messages_per_s=100, messages_burst=25), asyncio.new_event_loop, act)


# holds TP-6
def test_port_flood_of_one_member_does_not_hold_the_loop(tmp_path: Path) -> None:
    async def act(port: Port) -> None:
        _, writer = await port.dial(port.b)
        writer.write(frame(b"m") * 5_000)
        turns = 0
        while len(port.a.heard) < 5_000:
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 5_000 // 16
        await leave(writer)

    run(tmp_path, PeerLimits(), asyncio.new_event_loop, act)


# holds TP-7
def test_port_peer_that_takes_nothing_is_cut_off_and_its_queue_is_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = make(tmp_path, "a", "b")
        a.build([a, b], [a, b], PeerLimits(silence_s=0.5))
        taken = asyncio.Event()

        async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await taken.wait()
            writer.close()

        context = peer_context("server", b.certificate, b.key, [a.identity.der()])
        server = await asyncio.start_server(deaf, "127.0.0.1", b.port, ssl=context)
        await a.start()
        try:
            await until(lambda: a.network.is_connected("b"))
            for _ in range(12):
                a.network.send("b", bytes(8_000_000))
            assert a.network.dropped >= 8
            await until(lambda: not a.network.is_connected("b"))
        finally:
            taken.set()
            await a.network.stop()
            server.close()

    asyncio.run(main())

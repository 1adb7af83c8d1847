"""Who may connect changes while connections are open: real TLS sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from client.demo.ports import free_ports
from kit.config import HostPort
from kit.tls import Identity, peer_context, self_signed
from master.io import peers
from master.io.frames import frame
from master.io.inbound import Trust, close
from tests.e2e.test_peer_port import is_closed, leave
from tests.e2e.test_peers import WAIT_S, Member, make, until
from wire.types import sha256

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def trust_of(node: Member, named: Mapping[str, list[Identity]]) -> Trust:
    ders = [entry.der() for entries in named.values() for entry in entries]
    return Trust(
        {sha256(entry.der()): name for name, entries in named.items() for entry in entries},
        peer_context("server", node.certificate, node.key, ders),
        peer_context("client", node.certificate, node.key, ders),
    )


def addresses_of(*members: Member) -> dict[str, HostPort]:
    return {member.name: HostPort("127.0.0.1", member.port) for member in members}


def second(member: Member, folder: Path) -> Member:
    """Return the same member with another certificate, at another port."""
    folder.mkdir()
    return Member(member.name, folder, *free_ports(1))


async def dial(node: Member, member: Member) -> Streams:
    context = peer_context("client", member.certificate, member.key, [node.identity.der()])
    return await asyncio.open_connection("127.0.0.1", node.port, ssl=context)


@contextlib.asynccontextmanager
async def running(*members: Member) -> AsyncIterator[None]:
    for member in members:
        member.build(list(members), list(members))
        await member.start()
    try:
        for member in members:
            for other in members:
                if other is not member:
                    await until(lambda here=member, there=other: here.network.is_connected(there.name))  # type: ignore[misc]
        yield
    finally:
        async with asyncio.timeout(WAIT_S):
            for member in members:
                await member.network.stop()


# holds VM-11
def test_renew_member_that_is_trusted_no_longer_is_cut_off_in_both_directions(tmp_path: Path) -> None:
    async def main() -> None:
        a, b, c = make(tmp_path, "a", "b", "c")
        async with running(a, b, c):
            a.network.renew(trust_of(a, {"a": [a.identity], "c": [c.identity]}), addresses_of(c))
            await until(lambda: not b.network.is_connected("a"))
            await until(lambda: a.gone == ["b"])
            assert not a.network.is_connected("b")
            heard = len(a.heard)
            b.network.send("a", b"not heard")
            c.network.send("a", b"from c")
            await until(lambda: len(a.heard) > heard)
            assert a.heard[heard:] == [("c", b"from c")]
            assert c.connected.count("a") == 1
            assert a.connected.count("c") == 1

    asyncio.run(main())


# holds VM-11
def test_renew_certificate_that_a_member_gave_up_ends_its_own_connections_alone(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = make(tmp_path, "a", "b")
        following = second(b, tmp_path / "following")
        async with running(a, b):
            both = {"a": [a.identity], "b": [b.identity, following.identity]}
            a.network.renew(trust_of(a, both), addresses_of(b))
            reader, writer = await dial(a, following)
            writer.write(frame(b"one"))
            await until(lambda: ("b", b"one") in a.heard)
            a.network.renew(trust_of(a, {"a": [a.identity], "b": [following.identity]}), addresses_of(b))
            await until(lambda: not b.network.is_connected("a"))
            await until(lambda: not a.network.is_connected("b"))
            writer.write(frame(b"two"))
            await until(lambda: ("b", b"two") in a.heard)
            assert a.gone == []
            await leave(writer)
            del reader

    asyncio.run(main())


# holds VM-11
def test_renew_connection_dialled_to_a_new_certificate_outlives_the_old_one(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = make(tmp_path, "a", "b")
        former = self_signed("b")
        async with running(a, b):
            both = {"a": [a.identity], "b": [former, b.identity]}
            a.network.renew(trust_of(a, both), addresses_of(b))
            a.network.renew(trust_of(a, {"a": [a.identity], "b": [b.identity]}), addresses_of(b))
            for number in range(10):
                a.network.send("b", b"%d" % number)
                await asyncio.sleep(0)
            await until(lambda: len(b.heard) == 10)
            assert a.connected == ["b"]

    asyncio.run(main())


# holds VM-11
def test_renew_member_is_dialled_where_it_is_now_or_not_at_all(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = make(tmp_path, "a", "b")
        elsewhere = second(b, tmp_path / "elsewhere")
        elsewhere.identity, elsewhere.certificate, elsewhere.key = b.identity, b.certificate, b.key
        trusted = {"a": [a.identity], "b": [b.identity]}
        async with running(a, b):
            elsewhere.build([], [a, b])
            await elsewhere.start()
            a.network.renew(trust_of(a, trusted), addresses_of(elsewhere))
            await until(lambda: a.connected == ["b", "b"])
            a.network.send("b", b"moved")
            await until(lambda: elsewhere.heard == [("a", b"moved")])
            a.network.renew(trust_of(a, trusted), {})
            await until(lambda: elsewhere.gone == ["a"])
            assert not a.network.is_connected("b")
            a.network.send("b", b"nowhere")
            assert b.network.is_connected("a")  # what the other side dials stays
            await elsewhere.network.stop()

    asyncio.run(main())


# holds VM-11
def test_renew_during_a_handshake_refuses_who_lost_its_trust_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        a, b = make(tmp_path, "a", "b")
        a.build([a], [a, b])
        await a.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", a.port)
            inbound = a.network._inbound
            await until(lambda: len(inbound._handshakes) == 1)
            await asyncio.sleep(0.05)  # its handshake waits for the first bytes, with what was trusted then
            a.network.renew(trust_of(a, {"a": [a.identity]}), {})
            await writer.start_tls(peer_context("client", b.certificate, b.key, [a.identity.der()]))
            with contextlib.suppress(OSError):
                writer.write(frame(b"let me in"))
            assert await is_closed(reader)
            assert a.heard == []
            await leave(writer)
        finally:
            await a.network.stop()

    asyncio.run(main())


class Rude:
    """A listener that says a word on a connection where only the other side may speak, and closes none politely."""

    def __init__(self, member: Member, node: Member) -> None:
        self.member, self.node = member, node
        self.accepted = 0
        self.ended = asyncio.Event()
        self.server: asyncio.Server

    async def start(self) -> None:
        context = peer_context("server", self.member.certificate, self.member.key, [self.node.identity.der()])
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.member.port, ssl=context)

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        if self.accepted == 1:
            writer.write(b"x")
        await self.ended.wait()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def closing(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Member, Member, Rude]]:
    """Bring a node to where it closes the connection that it dialled, and the other side does not answer."""
    a, b = make(folder, "a", "b")
    began = asyncio.Event()

    async def told(writer: asyncio.StreamWriter) -> None:
        began.set()
        await close(writer)

    patch.setattr(peers, "close", told)
    rude = Rude(b, a)
    await rude.start()
    a.build([a, b], [a, b])
    await a.start()
    try:
        async with asyncio.timeout(WAIT_S):
            await began.wait()
        await asyncio.sleep(0)
        yield a, b, rude
    finally:
        rude.ended.set()
        rude.server.close()
        async with asyncio.timeout(60):
            await a.network.stop()


def test_stop_while_a_connection_is_being_closed_ends_its_dialler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with closing(tmp_path, monkeypatch) as (a, b, rude):
            async with asyncio.timeout(60):
                await a.network.stop()
            assert a.network._leaving == set()
            a.network.renew(trust_of(a, {"a": [a.identity], "b": [b.identity]}), addresses_of(b))
            await asyncio.sleep(0.2)
            assert rude.accepted == 1

    asyncio.run(main())


def test_renew_while_a_connection_is_being_closed_leaves_one_dialler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with closing(tmp_path, monkeypatch) as (a, b, rude):
            trusted = trust_of(a, {"a": [a.identity], "b": [b.identity]})
            a.network.renew(trusted, {})
            a.network.renew(trusted, addresses_of(b))
            await until(lambda: rude.accepted == 2)
            await asyncio.sleep(1.5)  # the old one would have closed and dialled again by now
            assert rude.accepted == 2
            assert a.network.is_connected("b")

    asyncio.run(main())

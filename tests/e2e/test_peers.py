"""Connections between validators over real TLS sockets on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from client.demo.ports import free_ports
from kit.config import HostPort
from kit.tls import Identity, peer_context, self_signed
from master.io.frames import frame
from master.io.inbound import Counters, Trust
from master.io.limits import PeerLimits
from master.io.peers import PeerNetwork
from wire.types import sha256

WAIT_S = 60.0
REFUSED = b"refused"


class Member:
    """One node's network and what it heard."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.name = name
        self.port = port
        self.identity: Identity = self_signed(name)
        self.certificate, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        self.identity.save(self.certificate, self.key)
        self.heard: list[tuple[str, bytes]] = []
        self.connected: list[str] = []
        self.gone: list[str] = []
        self.network: PeerNetwork

    def build(
        self,
        members: list[Member],
        trusted: list[Member],
        limits: PeerLimits | None = None,
        counters: Counters | None = None,
    ) -> None:
        ders = [member.identity.der() for member in trusted]
        self.network = PeerNetwork(
            HostPort("127.0.0.1", self.port),
            {member.name: HostPort("127.0.0.1", member.port) for member in members if member is not self},
            Trust(
                {sha256(member.identity.der()): member.name for member in trusted},
                peer_context("server", self.certificate, self.key, ders),
                peer_context("client", self.certificate, self.key, ders),
            ),
            limits,
            counters,
        )

    async def start(self) -> None:
        await self.network.start(self.hear, self.connected.append, self.gone.append)

    async def hear(self, member: str, raw: bytes) -> int:
        self.heard.append((member, raw))
        return int(raw != REFUSED)


def make(folder: Path, *names: str) -> list[Member]:
    ports = free_ports(len(names))
    return [Member(name, folder, port) for name, port in zip(names, ports, strict=True)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 any condition, so there is no one event to wait for
            await asyncio.sleep(0.01)


def test_peers_that_know_each_other_exchange_messages(tmp_path: Path) -> None:
    async def run() -> None:
        a, b = make(tmp_path, "a", "b")
        for member in (a, b):
            member.build([a, b], [a, b])
            await member.start()
        try:
            await until(lambda: a.network.is_connected("b") and b.network.is_connected("a"))
            large = bytes(3_000_000)
            a.network.send("b", b"hello")
            a.network.broadcast(large)
            await until(lambda: len(b.heard) == 2)
            assert b.heard == [("a", b"hello"), ("a", large)]
            assert a.connected == ["b"]
        finally:
            await a.network.stop()
            await b.network.stop()

    asyncio.run(run())


# holds CM-29
def test_peers_member_whose_last_connection_ends_is_told_of(tmp_path: Path) -> None:
    async def run() -> None:
        a, b = make(tmp_path, "a", "b")
        for member in (a, b):
            member.build([a, b], [a, b])
            await member.start()
        try:
            await until(lambda: a.network.is_connected("b") and b.network.is_connected("a"))
            a.network.send("b", b"hello")
            await until(lambda: bool(b.heard))
            assert b.gone == []
            await a.network.stop()
            await until(lambda: b.gone == ["a"])
        finally:
            await a.network.stop()
            await b.network.stop()

    asyncio.run(run())


def test_peers_stranger_with_own_certificate_is_not_heard(tmp_path: Path) -> None:
    async def run() -> None:
        a, stranger = make(tmp_path, "a", "stranger")
        a.build([a], [a])
        await a.start()
        stranger.build([a, stranger], [a, stranger])
        await stranger.start()
        try:
            for _ in range(20):
                stranger.network.send("a", b"let me in")
                await asyncio.sleep(0.02)
            assert a.heard == []
        finally:
            await a.network.stop()
            await stranger.network.stop()

    asyncio.run(run())


def test_peers_member_under_anothers_address_is_not_taken_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        a, b, c = make(tmp_path, "a", "b", "c")
        c.port = b.port
        a.build([a, b], [a, b, c])
        c.build([a, c], [a, b, c])
        await a.start()
        await c.start()
        try:
            await until(lambda: c.network.is_connected("a"))
            assert a.network.is_connected("b") is False
        finally:
            await a.network.stop()
            await c.network.stop()

    asyncio.run(run())


def test_peers_oversized_frame_closes_the_connection_and_nothing_else(tmp_path: Path) -> None:
    async def run() -> None:
        a, b = make(tmp_path, "a", "b")
        for member in (a, b):
            member.build([a, b], [a, b])
            await member.start()
        try:
            ders = [a.identity.der(), b.identity.der()]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", a.port, ssl=peer_context("client", b.certificate, b.key, ders)
            )
            writer.write(frame(b"fine"))
            await until(lambda: ("b", b"fine") in a.heard)
            writer.write(b"\xff\xff\xff\xff")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(reader.readexactly(1), WAIT_S)
            writer.close()
            await until(lambda: b.network.is_connected("a"))
            b.network.send("a", b"still here")
            await until(lambda: ("b", b"still here") in a.heard)
        finally:
            await a.network.stop()
            await b.network.stop()

    asyncio.run(run())


def test_peers_restarted_member_is_reached_again(tmp_path: Path) -> None:
    async def run() -> None:
        a, b = make(tmp_path, "a", "b")
        for member in (a, b):
            member.build([a, b], [a, b])
            await member.start()
        await until(lambda: a.network.is_connected("b"))
        await b.network.stop()
        await until(lambda: not a.network.is_connected("b"))
        a.network.send("b", b"lost: nothing is kept for who is not there")
        b.build([a, b], [a, b])
        await b.start()
        try:
            await until(lambda: a.network.is_connected("b"))
            a.network.send("b", b"again")
            await until(lambda: bool(b.heard))
            assert b.heard == [("a", b"again")]
        finally:
            await a.network.stop()
            await b.network.stop()

    asyncio.run(run())

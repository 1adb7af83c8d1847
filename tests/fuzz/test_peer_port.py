"""The peer port and the engine behind it, over real TLS: hostile frames, half frames and floods; honest words count."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from random import Random

from kit.config import HostPort
from kit.tls import peer_context
from master.consensus.message_codec import encode_message
from master.consensus.messages import GetBlocks, Status
from master.io.frames import frame
from master.io.inbound import Trust
from master.io.limits import PeerLimits
from master.io.peers import PeerNetwork
from tests.e2e.test_peers import Member, make, until
from tests.fuzz.engine import seeds_of
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS
from tests.unit.master.engine_world import World
from wire.errors import CODES
from wire.types import sha256

CONNECTIONS = 60
FRAMES = 25
MEMORY_BYTES_MAX = 64 * 1024 * 1024
HONEST = encode_message(Status(9, 0, "new"))
# the port may be reached from one address a hundred times a second here, and lets a liar talk on
LIMITS = PeerLimits(
    handshakes_per_s=1000, handshakes_burst=1000, silence_s=5, frame_s=1, refused_cost=1, connections_per_member_max=4
)


class Liar:
    """A member that sends whatever it likes."""

    def __init__(self, rng: Random, member: Member, port: int, trusted: list[bytes]) -> None:
        self._rng = rng
        self._mutator = Mutator(rng)
        self._seeds = seeds_of(next(target for target in TARGETS if target.name == "message"))
        self._context = peer_context("client", member.certificate, member.key, trusted)
        self._port = port
        self.is_bare = False

    async def speak(self) -> None:
        """Open one connection and send hostile bytes in pieces of any size, until it is cut off or done."""
        rng = self._rng
        context = None if rng.random() < 0.15 else self._context
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=context)
            try:
                async with asyncio.timeout(10):
                    stream = b"".join(self._piece() for _ in range(rng.randint(1, FRAMES)))
                    at = 0
                    while at < len(stream):
                        step = rng.choice((1, 3, 100, 4096, 1 << 20))
                        writer.write(stream[at : at + step])
                        at += step
                        if rng.random() < 0.2:
                            await writer.drain()
                    await writer.drain()
                    if rng.random() < 0.3:
                        await asyncio.wait_for(reader.read(10), 0.2)
            finally:
                if rng.random() < 0.3:
                    writer.transport.abort()
                writer.close()
                await writer.wait_closed()

    def _piece(self) -> bytes:
        rng = self._rng
        message = self._mutator.mutate(self._seeds)
        way = rng.random()
        if way < 0.85:
            return frame(message[:200_000] or b"\x00")
        if way < 0.95:
            return frame(rng.choice(self._seeds))  # genuine, repeated
        if way < 0.96:
            return message  # no frame at all
        if way < 0.97:
            return (len(message) + rng.choice((1, 100, 1 << 22))).to_bytes(4, "big") + message  # the rest never comes
        number = rng.choice((100_000, 400_000))
        small = rng.choice((b"\x80", b"\xa0", b"\x00"))
        return frame(b"\xa1\x64type\x9a" + number.to_bytes(4, "big") + small * number)


# holds TP-1 TP-6 TP-9
def test_peer_port_under_hostile_bytes_still_hears_the_honest(tmp_path: Path) -> None:
    world = World("abcd")
    world.is_pending = False
    a, b, c = make(tmp_path, "a", "b", "c")
    ders = [member.identity.der() for member in (a, b, c)]
    connected: list[str] = []

    async def main() -> int:
        network = PeerNetwork(
            HostPort("127.0.0.1", a.port),
            {},
            Trust(
                {sha256(member.identity.der()): member.name for member in (a, b, c)},
                peer_context("server", a.certificate, a.key, ders),
                peer_context("client", a.certificate, a.key, ders),
            ),
            LIMITS,
        )
        running = asyncio.create_task(world.engine.run(lambda: ()))
        await network.start(world.engine.receive, connected.append)
        try:
            tracemalloc.start()
            liar = Liar(Random(4), b, a.port, ders)
            honest = asyncio.create_task(speak_honestly(c, a.port, ders, lambda: world.engine.heights.get("c", 0)))
            for _ in range(CONNECTIONS // 4):
                await asyncio.gather(*(liar.speak() for _ in range(4)))
            await honest
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await network.stop()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    peak = asyncio.run(main())
    assert world.engine.failure is None
    assert world.engine.heights["c"] == 8
    assert len(world.refused) > 200
    assert {code for _, code in world.refused} <= set(CODES)
    assert len({code for _, code in world.refused}) >= 5
    assert {member for member, _ in world.refused} == {"b"}
    assert any(member == "c" for member, _ in world.sent), "who asks honestly is answered"
    assert peak < MEMORY_BYTES_MAX


async def speak_honestly(member: Member, port: int, trusted: list[bytes], heard: Callable[[], int]) -> None:
    """Say where one stands, ask for blocks, and stay until it was heard."""
    context = peer_context("client", member.certificate, member.key, trusted)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(frame(HONEST) + frame(encode_message(GetBlocks(1))))
    await until(lambda: heard() == 8)
    writer.close()

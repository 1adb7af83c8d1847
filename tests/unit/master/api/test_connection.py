"""What comes before a request is whole: bounds, and problems for what is no request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from master.api import connection
from master.api.app import connection_class
from master.api.connection import HEAD_BYTES_MAX, HEAD_WAIT_S, Connection
from tests.unit.master.api.fakes import World
from tests.unit.master.api.http import fetch

HEAD = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"


class Line(asyncio.Transport):
    """A socket that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.changed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        self.changed.set()

    def close(self) -> None:
        self.closed = True
        self.changed.set()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return status, header fields and the JSON of the one answer."""
        head, _, body = self.written.partition(b"\r\n\r\n")
        first, *fields = head.decode("ascii").split("\r\n")
        named = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        assert int(named["content-length"]) == len(body)
        return int(first.split(" ")[1]), named, json.loads(body)


class Server:
    """A world's API as uvicorn serves it, with a clock of its own."""

    def __init__(self) -> None:
        self.world = World()
        self.state = ServerState()
        self.config = Config(self.world.api, http=connection_class(self.world.api), ws="none", log_config=None)
        self.opened: list[tuple[Connection, Line]] = []

    def connect(self) -> tuple[Connection, Line]:
        loop = asyncio.get_running_loop()
        made, line = connection_class(self.world.api)(self.config, self.state, {}, loop), Line()
        made.connection_made(line)
        self.opened.append((made, line))
        return made, line

    def close(self) -> None:
        for made, _ in self.opened:
            made.connection_lost(None)

    def ended(self, reason: str) -> int:
        """Say how many connections the metrics tell of that ended so."""
        line = f'gridwitness_node_http_connections_ended_total{{reason="{reason}"}} '
        found = [row for row in fetch_lines(self.world) if row.startswith(line)]
        return int(float(found[0].removeprefix(line))) if found else 0


def fetch_lines(world: World) -> list[str]:
    return fetch(world.api, "/metrics").body.decode().splitlines()


def served(story: Callable[[Server], Coroutine[Any, Any, None]]) -> Server:
    """Run a story about connections on a loop of its own."""

    async def run() -> Server:
        server = Server()
        try:
            await story(server)
        finally:
            server.close()
        return server

    return asyncio.run(run())


async def until(line: Line, is_there: Callable[[Line], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_there(line):
            line.changed.clear()
            await line.changed.wait()


def has_answer(line: Line) -> bool:
    return b'{"status":"ok"}' in line.written


def is_closed(line: Line) -> bool:
    return line.closed


def test_request_is_answered_and_the_connection_serves_the_next_one() -> None:
    async def story(server: Server) -> None:
        made, line = server.connect()
        for _ in range(2):
            made.data_received(HEAD[:9])
            made.data_received(HEAD[9:] + b"\r\n")
            await until(line, has_answer)
            status, _, content = line.answer()
            assert (status, content, line.closed) == (200, {"status": "ok"}, False)
            line.written = b""

    served(story)


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"]
)
def test_what_is_no_request_gets_a_problem(sent: bytes) -> None:
    async def story(server: Server) -> None:
        made, line = server.connect()
        made.data_received(sent)
        status, fields, problem = line.answer()
        assert (status, fields["content-type"], fields["connection"]) == (400, "application/problem+json", "close")
        assert (problem["type"], problem["status"]) == ("urn:gridwitness:problem:malformed-request", 400)
        assert line.closed

    assert served(story).ended("malformed-request") == 1


def test_head_that_never_ends_is_cut_off_at_its_bound() -> None:
    async def story(server: Server) -> None:
        made, line = server.connect()
        made.data_received(HEAD)
        field = b"x: " + b"a" * 1021
        for sent in range(0, HEAD_BYTES_MAX - len(field), len(field)):
            made.data_received(field)
            assert not line.closed, sent
        made.data_received(field)
        made.data_received(field)
        status, _, problem = line.answer()
        assert (status, problem["type"], line.closed) == (431, "urn:gridwitness:problem:head-too-large", True)

    assert served(story).ended("head-too-large") == 1


def test_body_counts_for_no_head() -> None:
    async def story(server: Server) -> None:
        made, line = server.connect()
        made.data_received(b"POST /v1/tx HTTP/1.1\r\ncontent-type: application/cose\r\ncontent-length: 60000\r\n\r\n")
        for _ in range(60):
            made.data_received(b"a" * 1000)
        await until(line, lambda line: b"problem:malformed" in line.written)
        assert (line.answer()[0], line.closed) == (400, False)
        line.written = b""
        made.data_received(HEAD)
        made.data_received(b"\r\n")
        await until(line, has_answer)

    served(story)


def test_whole_head_that_is_too_large_gets_a_problem() -> None:
    headers = {f"x-{number}": "a" * 1020 for number in range(31)}
    assert fetch(World().api, "/healthz", headers=headers).status == 200
    reply = fetch(World().api, "/healthz", headers={**headers, "y": "a" * 1020})
    assert (reply.status, reply.json()["type"]) == (431, "urn:gridwitness:problem:head-too-large")


@pytest.mark.parametrize(("sent", "answer"), [(b"", b""), (HEAD, b"HTTP/1.1 408 ")])
def test_connection_without_a_whole_request_ends(monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes) -> None:
    monkeypatch.setattr(connection, "HEAD_WAIT_S", 0.0)

    async def story(server: Server) -> None:
        made, line = server.connect()
        if sent:
            made.data_received(sent)
        await until(line, is_closed)
        assert line.written.startswith(answer)
        assert bool(line.written) == bool(answer)

    assert served(story).ended("head-too-slow") == 1
    assert HEAD_WAIT_S > 0


def test_connection_ends_while_its_client_sends_what_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(server: Server) -> None:
        made, line = server.connect()
        monkeypatch.setattr(connection, "HEAD_WAIT_S", 0.0)
        made.data_received(HEAD + b"content-length: 1000000\r\n\r\n")
        await until(line, has_answer)
        async with asyncio.timeout(10):
            while not line.closed:
                made.data_received(b"a")
                await asyncio.sleep(0)
        assert line.answer()[0] == 200

    served(story)


def test_new_connection_takes_the_place_of_the_one_that_waits_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 2)

    async def story(server: Server) -> None:
        _, oldest = server.connect()
        _, second = server.connect()
        made, third = server.connect()
        assert (oldest.closed, oldest.written, second.closed, third.closed) == (True, b"", False, False)
        made.data_received(HEAD + b"\r\n")
        await until(third, has_answer)

    assert served(story).ended("displaced") == 1


def test_connection_is_refused_where_all_others_are_being_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 1)

    async def story(server: Server) -> None:
        first, line = server.connect()
        first.data_received(HEAD + b"\r\n")
        _, refused = server.connect()
        status, _, problem = refused.answer()
        assert (status, problem["type"], refused.closed) == (503, "urn:gridwitness:problem:busy", True)
        await until(line, has_answer)
        assert not line.closed

    assert served(story).ended("busy") == 1


def test_what_is_no_request_breaks_into_no_other_answer() -> None:
    async def story(server: Server) -> None:
        made, line = server.connect()
        made.data_received(HEAD + b"\r\nnonsense\r\n\r\n")
        assert (line.written, line.closed) == (b"", True)

    assert served(story).ended("malformed-request") == 1

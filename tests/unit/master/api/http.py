"""The smallest ASGI client that can also follow a stream and hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.types import Message, Scope

WAIT_S = 60.0
STALLED = b"the part of a body that never comes"


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        return json.loads(self.body)


def _scope(method: str, target: str, headers: dict[str, str]) -> Scope:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def send(
    app: Starlette,
    target: str,
    *,
    method: str = "GET",
    body: bytes | list[bytes] = b"",
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send one request; a list as body arrives in parts, and an empty last part means a hang-up.

    A body whose last part never comes (``STALLED``) leaves the server waiting.
    """
    parts = body if isinstance(body, list) else [body]
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": place + 1 < len(parts)} for place, part in enumerate(parts)
    ]
    if isinstance(body, list) and not parts[-1]:
        messages[-1] = {"type": "http.disconnect"}
    sent: list[Message] = []

    async def receive() -> Message:
        if messages and messages[0].get("body") == STALLED:
            await asyncio.Event().wait()
        await asyncio.sleep(0)  # as a socket does
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def take(message: Message) -> None:
        sent.append(message)

    await app(_scope(method, target, headers or {}), receive, take)
    start = sent[0]
    return Reply(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def fetch(
    app: Starlette,
    target: str,
    *,
    method: str = "GET",
    body: bytes | list[bytes] = b"",
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send one request on a loop of its own."""
    return asyncio.run(send(app, target, method=method, body=body, headers=headers))


@dataclass(frozen=True, slots=True)
class Told:
    """One server-sent event as a client sees it."""

    id: str
    event: str
    data: Any


@dataclass
class Stream:
    """A client of an event stream; use as an async context manager."""

    app: Starlette
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: the client does not read."""

    async def __aenter__(self) -> Self:
        self.text = ""
        self.status = 0
        self.ended = False
        self.last_id = ""
        self._changed = asyncio.Event()
        self._gone = asyncio.Event()
        self.reading.set()
        self._task = asyncio.create_task(self._run())
        await self.until(lambda: self.status != 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        await asyncio.wait_for(self._task, WAIT_S)

    async def _run(self) -> None:
        async def receive() -> Message:
            await self._gone.wait()
            return {"type": "http.disconnect"}

        await self.app(_scope("GET", self.target, self.headers), receive, self._take)
        self.ended = True
        self._changed.set()

    async def _take(self, message: Message) -> None:
        await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.text += message["body"].decode()
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    async def events(self, count: int) -> list[Told]:
        """Wait for so many events in all and return them."""
        await self.until(lambda: len(self.told()) >= count)
        return self.told()

    def told(self) -> list[Told]:
        """Read the stream as WHATWG's event stream interpretation says."""
        found, fields = [], {"event": "message", "data": ""}
        whole, _, _ = self.text.rpartition("\n")
        for line in whole.split("\n"):
            if not line:
                if fields["data"]:
                    found.append(Told(self.last_id, fields["event"], json.loads(fields["data"])))
                fields = {"event": "message", "data": ""}
                continue
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name in fields:
                fields[name] = value
        return found

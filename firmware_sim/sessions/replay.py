"""Serve a recorded session again, without the device.

The plan of what to answer is pure; only ``Replayer`` touches the network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from firmware_sim.sessions.frames import RULES, Cutter, FrameRules
from firmware_sim.sessions.port import SessionPort
from firmware_sim.sessions.store import ANSWER, ASK, CLOSE, OPEN, Session
from kit.logs import get_logger

ASKED_AT_ONCE_MAX: Final = 64
"""Requests that a client may have open on one connection; an answer belongs to one of the last so many."""
_CHUNK_BYTES: Final = 64 * 1024

_log = get_logger("firmware_sim.replay")


@dataclass(slots=True)
class Exchange:
    """One recorded request and what followed it until the next.

    Attributes:
        request: The client's frame; empty for what the device sent before it was asked.
        at_ms: When it was asked.
        answers: The device's frames, each with the milliseconds after the request.
        closes: The device closed the connection before the next request.
    """

    request: bytes
    at_ms: int = 0
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    closes: bool = False


class Plan(Protocol):
    """What to do on one connection."""

    def greeting(self) -> Exchange | None:
        """Give what the device sends unasked, once."""

    def answer(self, frame: bytes) -> Exchange | None:
        """Give the exchange for a client's frame, already fitted; None where the record has none."""


def exchanges(session: Session) -> list[list[Exchange]]:
    """Pair requests with what followed them, connection by connection, in the order of the connections."""
    rules = RULES[session.protocol]
    links: dict[int, list[Exchange]] = {}
    for event in session.events:
        found = links.setdefault(event.link, [Exchange(b"", event.t_ms)])
        if event.what == ASK and rules.key(event.data) is not None:
            found.append(Exchange(event.data, event.t_ms))
        elif event.what == ANSWER:
            recent = reversed(found[-ASKED_AT_ONCE_MAX:])
            asked = next((item for item in recent if rules.belongs(item.request, event.data)), found[-1])
            asked.answers.append((event.t_ms - asked.at_ms, event.data))
        elif event.what == CLOSE:
            found[-1].closes = True
    return list(links.values())


class KeyedPlan:
    """Answers each request as it was answered, the first time first; the last answer is repeated for ever."""

    def __init__(self, rules: FrameRules, found: Sequence[Sequence[Exchange]]) -> None:
        """Look all requests up by their key, over all connections."""
        self._rules = rules
        self._held: dict[bytes, deque[Exchange]] = {}
        for exchange in (item for link in found for item in link if item.request):
            key = rules.key(exchange.request)
            assert key is not None
            self._held.setdefault(key, deque()).append(exchange)

    def greeting(self) -> Exchange | None:
        """Nothing is sent unasked."""
        return None

    def answer(self, frame: bytes) -> Exchange | None:
        """Look the request up."""
        held = self._held.get(self._rules.key(frame) or b"")
        if held is None:
            return None
        exchange = held[0] if len(held) == 1 else held.popleft()
        fitted = [(pause, self._rules.fitted(frame, exchange.request, data)) for pause, data in exchange.answers]
        # A connection that ended after an answer ended later; only one that ended instead of an answer ends again.
        return Exchange(frame, answers=fitted, closes=exchange.closes and not fitted)


class OrderedPlan:
    """Expects the requests of one recorded connection in their order."""

    def __init__(self, rules: FrameRules, link: Sequence[Exchange]) -> None:
        """Begin before the first request."""
        self._rules = rules
        self._left = deque(link)

    def greeting(self) -> Exchange | None:
        """Give what the device sent first."""
        return self._left.popleft() if self._left else None

    def answer(self, frame: bytes) -> Exchange | None:
        """Give the next exchange, if this is its request."""
        if not self._left or self._rules.key(self._left[0].request) != self._rules.key(frame):
            return None
        exchange = self._left.popleft()
        return Exchange(frame, answers=exchange.answers, closes=exchange.closes and not exchange.answers)


class Replayer(SessionPort):
    """A listening port that answers as the recorded device did."""

    def __init__(self, session: Session, *, pauses: bool = True) -> None:
        """Prepare the server; nothing listens yet.

        Args:
            session: What was recorded.
            pauses: Answer as slowly as the device did; else at once.
        """
        super().__init__()
        self._rules = RULES[session.protocol]
        self._links = exchanges(session)
        self._keyed = KeyedPlan(self._rules, self._links)
        self._pauses = pauses
        self._begun = 0
        self.answered = 0
        self.unknown = 0

    def _plan(self) -> Plan:
        """Choose what the next connection does: in order, the recorded one of the same number, at last the last."""
        if not self._rules.ordered:
            return self._keyed
        link = self._links[min(self._begun, len(self._links) - 1)] if self._links else []
        self._begun += 1
        return OrderedPlan(self._rules, link)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await self._serve(self._plan(), reader, writer)
        finally:
            writer.close()

    async def _serve(self, plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = plan.greeting()
        if greeting is not None and not await self._send(greeting, writer):
            return
        cutter = Cutter(self._rules)
        while data := await reader.read(_CHUNK_BYTES):
            for frame in cutter.feed(data):
                if cutter.raw or (self._rules.key(frame) is not None and not await self._answer(plan, frame, writer)):
                    return

    async def _answer(self, plan: Plan, frame: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; false ends the connection."""
        exchange = plan.answer(frame)
        if exchange is not None:
            self.answered += 1
            return await self._send(exchange, writer)
        self.unknown += 1
        _log.warning("request_not_recorded", frame=frame[:64].hex())
        answer = self._rules.unknown(frame)
        writer.write(answer)
        await writer.drain()
        return bool(answer)

    async def _send(self, exchange: Exchange, writer: asyncio.StreamWriter) -> bool:
        """Send what followed a request; false where the connection ended then."""
        waited_ms = 0
        for at_ms, data in exchange.answers:
            if self._pauses and at_ms > waited_ms:
                await asyncio.sleep((at_ms - waited_ms) / 1_000)
                waited_ms = at_ms
            writer.write(data)
            await writer.drain()
        return not exchange.closes


def describe(session: Session) -> dict[str, object]:
    """Count what a session holds."""
    counts = {what: sum(event.what == what for event in session.events) for what in (OPEN, ASK, ANSWER)}
    return {
        "protocol": session.protocol,
        "device": session.device,
        "connections": counts[OPEN],
        "requests": counts[ASK],
        "answers": counts[ANSWER],
        "milliseconds": max((event.t_ms for event in session.events), default=0),
    }

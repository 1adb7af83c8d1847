"""What all connections to a broker have in common, at each program that connects to one."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import pytest

from agent.io.mqtt import Broker as AgentBroker
from agent.io.mqtt import BrokerLink as AgentLink
from agent.io.mqtt import Hooks, Topics
from kit.clock import FakeClock
from kit.mqtt import LibraryWords
from master.io.ingest import Broker as NodeBroker
from master.io.ingest import BrokerLink as NodeLink
from tests.unit.agent.broker import broker

NOBODY: Final[Any] = None


def agent_link(port: int) -> AgentLink:
    hooks = Hooks(dict, dict, NOBODY)
    host = AgentBroker("127.0.0.1", port, None, "gw-1")
    return AgentLink(host, Topics("east", "station-1", "gw-1"), 9, NOBODY, hooks, FakeClock(0))


def node_link(port: int) -> NodeLink:
    return NodeLink(NodeBroker("127.0.0.1", port, None, "node-a", "gridwitness/v1/host/a"), NOBODY)


@pytest.mark.parametrize("link_to", [agent_link, node_link])
def test_small_packet_does_not_wait_for_the_acknowledgement_of_the_one_before(
    link_to: Callable[[int], AgentLink | NodeLink],
) -> None:
    async def work() -> None:
        async with broker() as fake, link_to(fake.port)._client() as client:
            connection = client._client.socket()
            assert isinstance(connection, socket.socket)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    asyncio.run(work())


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("mqtt", logging.ERROR, "", 0, text, None, None)


def test_words_of_the_library_about_a_socket_stand_beside_the_next_error_and_nowhere_else() -> None:
    words = LibraryWords()
    assert words.filter(line("failed to receive on socket: certificate revoked")) is False
    assert words.beside(TimeoutError("timed out")) == "timed out; failed to receive on socket: certificate revoked"
    assert words.beside(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize("text", ["", "Caught exception in on_message: failed to x"])
def test_other_words_of_the_library_are_logged_as_they_are(text: str) -> None:
    words = LibraryWords()
    assert words.filter(line(text)) is True
    assert words.beside(ValueError("no")) == "no"

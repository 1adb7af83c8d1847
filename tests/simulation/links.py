"""Connections under the messages: they end with a process, a partition or a bad frame, and are made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from tests.simulation.network import TWIN, Agenda, Link, Network
from tests.simulation.node import Node

_NOTICED_MS: Final = 60
"""Until the other side of a dead process hears that its connection has ended."""
_CUT_MS: Final = (200, 3_000)
"""Until a connection through a partition ends."""
_DIAL_MS: Final = 250


class Connections:
    """Tells nodes which connections end and begin; while one is closed nothing goes through it."""

    def __init__(
        self, rng: Random, agenda: Agenda, network: Network, nodes: Mapping[str, Node], count: Callable[[str], None]
    ) -> None:
        self._rng, self._agenda, self._network, self._nodes, self._count = rng, agenda, network, nodes, count

    def begin(self) -> None:
        """Dial from now on what is closed."""
        self._agenda.after(self._rng.randint(1, 2 * _DIAL_MS), self._dial)

    def crashed(self, endpoint: str) -> None:
        """Let the others hear, a little later, that a process is dead."""
        for other in self._nodes:
            if other != endpoint:
                link = endpoint, other
                self._agenda.after(self._rng.randint(1, _NOTICED_MS), lambda link=link: self._dead(link))  # type: ignore[misc]

    def split(self) -> None:
        """Let some connections through the present partition end, if it lasts long enough."""
        for link in sorted(self._network.blocked):
            if link[0] != link[1] and link[1] in self._nodes:
                self._agenda.after(self._rng.randint(*_CUT_MS), lambda link=link: self._cut(link))  # type: ignore[misc]

    def refused(self, link: Link) -> None:
        """Close a connection that brought a bad frame."""
        self._count("connection closed for a frame")
        self._close(link)

    def _dead(self, link: Link) -> None:
        sender = self._nodes[link[0]]
        if not sender.is_up:
            self._count("connection ended with its process")
            self._tell(link)

    def _cut(self, link: Link) -> None:
        if link in self._network.blocked and link not in self._network.closed:
            self._count("connection ended in a partition")
            self._close(link)

    def _close(self, link: Link) -> None:
        self._network.closed.add(link)
        self._tell(link)

    def _tell(self, link: Link) -> None:
        """Tell the receiver, unless the member's twin is still connected to it."""
        sender, receiver = link
        member = sender.rstrip(TWIN)
        twins = (self._nodes.get(endpoint) for endpoint in (member, member + TWIN) if endpoint != sender)
        if not any(twin.is_up and (twin.endpoint, receiver) not in self._network.closed for twin in twins if twin):
            self._nodes[receiver].disconnected(member)

    def _dial(self) -> None:
        for link in sorted(self._network.closed - self._network.blocked):
            self._network.closed.discard(link)
            if link[0] in self._nodes:
                self._nodes[link[0]].connected(link[1].rstrip(TWIN))
        self._agenda.after(self._rng.randint(1, 2 * _DIAL_MS), self._dial)

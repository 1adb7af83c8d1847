"""MQTT topics that gateways and full nodes share (docs/spec, clauses MQ-1 to MQ-8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire.errors import FormatError
from wire.types import check_identifier, shown

ROOT: Final = "gridwitness/v1"
UP: Final = ("birth", "data", "death", "health", "tx")
"""Kinds that a gateway publishes."""
DOWN: Final = "down"
"""The kind that full nodes publish to a gateway."""
_LEVELS: Final = 4


@dataclass(frozen=True, slots=True)
class GatewayTopic:
    """Where one gateway and the full nodes meet for one kind of message."""

    area: str
    station: str
    gateway: str
    kind: str
    """One of `UP`, or `DOWN`."""

    def __str__(self) -> str:
        """Return the topic as MQTT writes it."""
        return f"{ROOT}/{self.area}/{self.station}/{self.gateway}/{self.kind}"


def parse_topic(text: str) -> GatewayTopic:
    """Take a gateway's topic apart.

    Raises:
        FormatError: Another root, another number of levels, a level that is no identifier, or an unknown kind.
    """
    levels = text.removeprefix(f"{ROOT}/").split("/")
    if not text.startswith(f"{ROOT}/") or len(levels) != _LEVELS:
        raise FormatError(f"topic: {shown(text)} is not {ROOT}/area/station/gateway/kind")
    area, station, gateway, kind = levels
    if kind not in (*UP, DOWN):
        raise FormatError(f"topic: {shown(kind)} is no kind of message")
    return GatewayTopic(
        check_identifier(area, "topic.area"),
        check_identifier(station, "topic.station"),
        check_identifier(gateway, "topic.gateway"),
        kind,
    )


def filter_of(kind: str) -> str:
    """Return the filter under which a full node subscribes to one kind of message of all gateways."""
    return f"{ROOT}/+/+/+/{kind}"


def host_topic(node: str) -> str:
    """Return the topic on which a full node says, retained, whether it is there."""
    return f"{ROOT}/host/{check_identifier(node, 'node')}"


def node_user(member: str) -> str:
    """Return how the broker knows a full node: the common name of its certificate there. A gateway's is its id."""
    return f"node-{member}"

"""Where gateways hear what comes down to them, as the ledger says now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from wire.genesis import Gateway, Station
from wire.topics import DOWN, GatewayTopic


class DownTopics(Mapping[str, str]):
    """The topic on which each gateway hears what comes down to it, by its id; it follows the ledger.

    Args:
        source: Returns every gateway and its station; the same object for as long as nothing changed.
    """

    def __init__(self, source: Callable[[], Sequence[tuple[Gateway, Station]]]) -> None:
        self._source = source
        self._seen: Sequence[tuple[Gateway, Station]] = ()
        self._topics: dict[str, str] = {}

    def __getitem__(self, gateway: str) -> str:
        """Return the topic of a gateway."""
        return self._now()[gateway]

    def __iter__(self) -> Iterator[str]:
        """Yield the gateways."""
        return iter(self._now())

    def __len__(self) -> int:
        """Return the number of gateways."""
        return len(self._now())

    def _now(self) -> dict[str, str]:
        found = self._source()
        if found is not self._seen:
            self._topics = {
                gateway.id: str(GatewayTopic(station.area, station.id, gateway.id, DOWN)) for gateway, station in found
            }
            self._seen = found
        return self._topics

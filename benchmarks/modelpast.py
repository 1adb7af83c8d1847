"""A long past of dispatch models for the lists of `benchmarks.queries`: 200 models, tens of thousands of versions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from master.ledger.rows import EventRow
from wire.types import sha256

if TYPE_CHECKING:
    from wire.cbor import Value

VERSIONS: Final = 60_000
MODELS: Final = 200
REGIONS: Final = 20
PIECES: Final = 3_000
VERSION_MS: Final = 60_000
_BLOCK: Final = 1_000


class ModelPast:
    """Versions of models, one after the other."""

    def __init__(self, start_ms: int, count: int) -> None:
        """Prepare a past.

        Args:
            start_ms: Time of the first version.
            count: How many versions there are.
        """
        self._chance = random.Random(2)
        self._start_ms, self.count = start_ms, count
        self._newest: dict[str, tuple[int, bytes]] = {}

    @property
    def models(self) -> int:
        """How many models it has."""
        return len(self._newest)

    def blocks(self, height: int) -> Iterator[list[EventRow]]:
        """Yield the events of blocks above a height."""
        numbers = iter(range(self.count))
        while True:
            height += 1
            told = [self._version(number, height, index) for index, number in zip(range(_BLOCK), numbers, strict=False)]
            if not told:
                return
            yield told

    def questions(self) -> Iterator[tuple[str, str]]:
        """Yield what is asked for, by name and path."""
        for word, share in (("early", 1), ("half-way", 50), ("late", 99)):
            at_ms = self._start_ms + self.count * share // 100 * VERSION_MS
            yield f"models as of a time, {word}", f"/v1/models?as_of_ms={at_ms}"
            yield f"one model as of a time, {word}", f"/v1/models?as_of_ms={at_ms}&model=model-7"
            yield f"models with a line as of a time, {word}", f"/v1/models?as_of_ms={at_ms}&equipment=line%2F77"
        yield "models about lines", "/v1/models?equipment=line"
        yield "models about one line", "/v1/models?equipment=line%2F77"
        yield "models of a region at a voltage", "/v1/models?region=region-3&voltage_v=110000"

    def _version(self, number: int, height: int, index: int) -> EventRow:
        place = self._chance.randrange(MODELS)
        model, time_ms = f"model-{place}", self._start_ms + number * VERSION_MS
        before, parent = self._newest.get(model, (0, None))
        digest = sha256(b"%s %d" % (model.encode(), number))
        self._newest[model] = before + 1, digest
        pieces = {f"line/{self._chance.randrange(PIECES)}", f"load/{self._chance.randrange(PIECES)}"}
        words: list[Value] = [*sorted({"bus", "line", "load", "trafo", *pieces})]
        data: dict[str, Value] = {
            "number": before + 1,
            "region": f"region-{place % REGIONS}",
            "organisation": "dispatch",
            "format": "cgmes",
            "file": f"{model}.zip",
            "reason": self._chance.choice(("monthly", "line out", "new load")),
            "digest": digest,
            "size": 1_000_000,
            "parent": parent,
            "equipment": words,
            "voltages_v": [20_000, 110_000],
            "height": height,
            "time_ms": time_ms,
        }
        return EventRow(height, index, time_ms, sha256(digest), "models", "model_stored", model, data)

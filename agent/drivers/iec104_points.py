"""What points say: texts, checksums and sizes in bitstrings, and measured values. An invalid point says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.drivers.iec104_profile import FileTable, Place, PointsTable, TextPoints, addresses_of
from agent.drivers.link import LinkError
from agent.drivers.text import device_text
from agent.model import MeasuredPoint
from wire.iec104.pointread import Typed
from wire.iec104.points import INVALID, NOT_TOPICAL, untagged
from wire.iec104.types import TypeId

_OCTETS: Final = 4
_WORDS: Final = frozenset({TypeId.M_BO_NA_1, TypeId.M_IT_NA_1})


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one reading."""

    by_address: Mapping[int, Typed]

    def require(self, addresses: Sequence[int], of: str) -> None:
        """Refuse a reading that does not bring all points of a list.

        Raises:
            LinkError: With the number that came, and the first that is missing.
        """
        missing = [address for address in addresses if address not in self.by_address]
        if missing:
            came = len(addresses) - len(missing)
            detail = (
                f"brings {came} of {len(addresses)} points of {of}, point {missing[0]} is the first that is missing"
            )
            raise LinkError("incomplete", detail)

    def require_type(self, table: PointsTable) -> None:
        """Refuse a reading that does not bring all points of a table, each of its type.

        Raises:
            LinkError: With the first point that is missing or of another type.
        """
        self.require(table.addresses(), "the profile")
        due = TypeId[table.type]
        for address in table.addresses():
            found = untagged(self.by_address[address][0])
            if found is not due:
                raise LinkError("wrong-type", f"sends point {address} as {found.name}, the profile says {due.name}")

    def is_absent(self, place: Place) -> bool:
        """Tell whether the device marks all points of an artefact as invalid: it has no such artefact."""
        addresses = addresses_of(place)
        return not isinstance(place, FileTable) and all(
            self.by_address[address][1].quality & INVALID for address in addresses
        )

    def text(self, text: TextPoints | None) -> str:
        """Return a text, empty where the profile has none.

        Raises:
            LinkError: A point of it is neither bitstring nor counter, or is not valid.
        """
        if text is None:
            return ""
        octets = (self._bits(address).to_bytes(_OCTETS, "little") for address in text.addresses())
        return device_text(b"".join(octets))

    def octets(self, address: int) -> bytes:
        """Return a bitstring or counter as four octets, the highest first.

        Raises:
            LinkError: The point is neither or is not valid.
        """
        return self._bits(address).to_bytes(_OCTETS, "big")

    def counter(self, address: int | None) -> int | None:
        """Return what a counter of changes says, None where the profile or the device has none.

        Raises:
            LinkError: The point is neither bitstring nor counter, or is not topical.
        """
        if address is None or self.by_address[address][1].quality & INVALID:
            return None
        return self._bits(address)

    def measured(self) -> tuple[MeasuredPoint, ...]:
        """Return all points as they go on from here, ascending by address."""
        return tuple(
            MeasuredPoint(
                address,
                TypeId(type_id).name,
                point.value,
                point.quality,
                None if point.time is None else point.time.epoch_ms(),
            )
            for address, (type_id, point) in sorted(self.by_address.items())
        )

    def _bits(self, address: int) -> int:
        type_id, point = self.by_address[address]
        plain = untagged(type_id)
        if plain not in _WORDS:
            raise LinkError("wrong-type", f"sends point {address} as {plain.name}, which holds no text or checksum")
        if point.quality & (INVALID if plain is TypeId.M_IT_NA_1 else INVALID | NOT_TOPICAL):
            raise LinkError("invalid-point", f"marks point {address} as invalid or not topical")
        return point.value & 0xFFFF_FFFF

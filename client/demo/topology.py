"""Who takes part in a demo: substations, devices, gateways, members and their roles. Names only, no files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VENDOR: Final = "Alder Protection"
MANUFACTURER: Final = "alder-protection"
LABORATORY: Final = "relay-laboratory"
REGULATOR: Final = "grid-regulator"
GRID_COMPANY: Final = "grid-company"
DISPATCH: Final = "dispatch"
MEMBERS: Final = (DISPATCH, "centre-east", "centre-north", "centre-west")
"""The four full nodes: the dispatch centre and three sub-centres."""
ROLES: Final = {
    MANUFACTURER: "manufacturer",
    LABORATORY: "laboratory",
    REGULATOR: "regulator",
    GRID_COMPANY: "grid-company",
    **{member: "dispatch-centre" if member == DISPATCH else "sub-centre" for member in MEMBERS},
}
SIGNERS: Final = (MANUFACTURER, LABORATORY, REGULATOR)
"""Organisations that stand behind a release."""
KEY_HOLDERS: Final = tuple(sorted((*SIGNERS, GRID_COMPANY, *MEMBERS)))
"""Organisations whose keys the demo holds: they endorse releases, and vote on who is a validator."""


@dataclass(frozen=True, slots=True)
class Model:
    """A device model and its firmware."""

    name: str
    product: str
    firmware_kib: int
    """Size of the image, 64..2,048 KiB."""

    @property
    def slug(self) -> str:
        """The model as part of an identifier."""
        return self.name.lower().replace("/", "-")


MODELS: Final = (
    Model("SCD-220/4", "SCD-220", 256),
    Model("SCD-220/8", "SCD-220", 288),
    Model("SCD-220/C", "SCD-220", 320),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A stability control device."""

    id: str
    model: Model
    serial: str


@dataclass(frozen=True, slots=True)
class Substation:
    """A 220 kV substation with its gateway."""

    id: str
    area: str
    gateway: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole consortium of a demo."""

    name: str
    substations: tuple[Substation, ...]

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices, station by station."""
        return tuple(device for substation in self.substations for device in substation.devices)

    @property
    def models(self) -> tuple[Model, ...]:
        """Models that occur, each once."""
        used = {device.model.name for device in self.devices}
        return tuple(model for model in MODELS if model.name in used)


def build_topology(places: tuple[tuple[str, str], ...], devices_each: int, name: str = "demo") -> Topology:
    """Name everything.

    Args:
        places: (place, area) of each substation, 1..100.
        devices_each: Devices in each substation, 1..20.
        name: Name of the ledger.
    """
    substations = []
    for place_index, (place, area) in enumerate(places, start=1):
        devices = tuple(
            Device(
                id=f"{place}-sc-{number}",
                model=MODELS[(number - 1) % len(MODELS)],
                serial=f"AP-{place_index:02d}{number:03d}",
            )
            for number in range(1, devices_each + 1)
        )
        substations.append(Substation(f"{place}-220", area, f"gw-{place}", devices))
    return Topology(name, tuple(substations))


DEMO: Final = build_topology((("linden", "north"), ("quarry", "east"), ("weir", "west")), 3)
SMALL: Final = build_topology((("linden", "north"),), 2)
"""One gateway with two devices: enough for most tests."""

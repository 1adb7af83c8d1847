"""What a scenario may say of a device that speaks IEC 60870-5-104: table ``[device.iec104]``."""

from __future__ import annotations

from dataclasses import dataclass, field

from kit.config import rule
from wire.iec104.link import LinkParameters

EXTRA_POINTS_MAX = 100_000
SECTIONS_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Iec104Options:
    """Table ``[device.iec104]``.

    Attributes:
        common_address: 1..65534; without it the device's unit id.
        has_files: Whether files can be fetched; without them a reader has the checksum points alone.
        section_bytes: Length of every section but the last; a file that would need more than 255 gets longer ones.
        extra_points: Scaled measured values from address 10,001 on, for general interrogations of any size.
        measured_ms: How often changed measured values are sent unasked; 0 is never.
        has_group: Whether all connections are one redundancy group, of which one at a time transfers data; else each
            is a group of its own.
        k: I frames sent before the oldest is acknowledged.
        w: I frames taken before they are acknowledged.
        t1_ms: Longest wait for a confirmation.
        t2_ms: Longest time without acknowledging.
        t3_ms: Silence after which the connection is tested.
    """

    common_address: int | None = field(default=None, metadata=rule(minimum=1, maximum=65_534))
    has_files: bool = True
    section_bytes: int = field(default=16_384, metadata=rule(minimum=1, maximum=0xFF_FFFF, unit="bytes"))
    extra_points: int = field(default=0, metadata=rule(minimum=0, maximum=EXTRA_POINTS_MAX))
    measured_ms: int = field(default=0, metadata=rule(minimum=0, maximum=86_400_000, unit="ms"))
    has_group: bool = True
    k: int = field(default=12, metadata=rule(minimum=1, maximum=32_767))
    w: int = field(default=8, metadata=rule(minimum=1, maximum=32_767))
    t1_ms: int = field(default=15_000, metadata=rule(minimum=2, maximum=255_000, unit="ms"))
    t2_ms: int = field(default=10_000, metadata=rule(minimum=1, maximum=254_999, unit="ms"))
    t3_ms: int = field(default=20_000, metadata=rule(minimum=1, maximum=172_800_000, unit="ms"))

    def __post_init__(self) -> None:
        """Refuse windows and timers that do not fit together.

        Raises:
            ValueError: w above k, or t2 not below t1.
        """
        self.link_parameters()

    def link_parameters(self) -> LinkParameters:
        """Return windows and timers as the link takes them."""
        return LinkParameters(self.k, self.w, self.t1_ms, self.t2_ms, self.t3_ms)

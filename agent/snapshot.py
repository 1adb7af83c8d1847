"""What the gateway shows of itself: one frozen picture for the status file, the health message and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """One device."""

    device: str
    status: str
    """As in evidence, or ``not-yet-read`` before the first poll has ended."""
    last_read_ms: int | None
    """End of the last completed read, milliseconds since 1970 UTC."""
    oldest_read_ms: int | None
    """Start of the oldest read that what is known of it stands on; a kind may be read less often than the others."""
    item: str | None
    """Digest of the item, hex."""
    has_receipt: bool
    last_error: str
    last_duration_ms: int
    polls: int
    rereads: int
    missed: int
    """Polls that fell due while one was running or the device was away."""
    changes: int
    failures: Mapping[str, int]
    """Failed polls by reason."""
    requests: int
    bytes_read: int
    busy: int
    connections: int
    differences: tuple[str, ...] = ()
    """Where its files differ from the release packages of this gateway; names and numbers, no values."""


@dataclass(frozen=True, slots=True)
class OutboxSnapshot:
    """What waits for its receipt."""

    items: int
    bytes: int
    oldest_age_ms: int
    """0 when nothing waits."""


@dataclass(frozen=True, slots=True)
class BrokerSnapshot:
    """The connection to the broker."""

    address: str
    is_connected: bool
    connects: int
    failures: int
    sent: int
    resent: int
    last_error: str
    """Why there is no connection; empty while there is one."""


@dataclass(frozen=True, slots=True)
class BlockSnapshot:
    """The newest verified block."""

    height: int
    digest: str


@dataclass(frozen=True, slots=True)
class TrustSnapshot:
    """How far the ledger can be believed here (docs/spec LC-7, LC-8)."""

    is_expired: bool
    """Nothing is believed before an anchor is given."""
    head_age_ms: int | None
    """Age of the newest header, None before the first."""
    is_stale: bool
    """It is older than ``head_age_ms_max``."""
    head_age_ms_max: int
    conflicts: int
    """Pieces of evidence that validators signed two things which cannot both be true."""

    def warnings(self) -> tuple[str, ...]:
        """Return what a person should know."""
        found = []
        if self.conflicts:
            found.append(
                f"{self.conflicts} times the validators contradicted themselves; the evidence is in conflicts/"
            )
        if self.is_expired:
            found.append(
                "no header for longer than the trusting period: nothing is believed until an anchor is given with "
                "'gridwitness-agent trust anchor FILE'; if the clock is wrong, correct it. Reports are kept meanwhile"
            )
        elif self.is_stale:
            age_ms = self.head_age_ms or 0
            found.append(
                f"the newest block known here is {age_ms // 1000} s old: the ledger stands still or is cut off"
            )
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole picture."""

    gateway: str
    chain: str
    version: str
    pid: int
    boot: int
    time_ms: int
    clock_grade: str
    clock_source: str
    clock_offset_ms: int | None
    """By how much the own clock differs from the source, None when unknown."""
    is_running: bool
    devices: tuple[DeviceSnapshot, ...]
    outbox: OutboxSnapshot
    broker: BrokerSnapshot
    block: BlockSnapshot
    trust: TrustSnapshot
    reports: Mapping[str, int]
    """Stored reports by cause."""
    reports_refused: int
    left_out: int
    """Unchanged reports that found no room in the outbox."""
    down: Mapping[str, int]
    """Items that came down, by what was made of them."""
    warnings: tuple[str, ...]

    def to_value(self) -> dict[str, object]:
        """Return the picture as JSON-able values."""
        return asdict(self)

    def health(self) -> dict[str, object]:
        """Return what the health message says of it."""
        return {
            "version": self.version,
            "clock_grade": self.clock_grade,
            "clock_source": self.clock_source,
            "devices": {device.device: device.status for device in self.devices},
            "outbox": asdict(self.outbox),
            "block_height": self.block.height,
            "head_stale": self.trust.is_stale,
            "trust_expired": self.trust.is_expired,
            "conflicts": self.trust.conflicts,
        }

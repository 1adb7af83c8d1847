"""The parameters by which nodes go, as one state says; what contracts go by they read themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from master.contracts.context import Reads
from master.contracts.membership import integer_parameter

NAMES: Final = (
    "baseline_days_max",
    "block_bytes_max",
    "block_interval_ms",
    "heartbeat_ms",
    "skew_ms",
    "snapshot_blocks",
    "stale_ms",
)


@dataclass(frozen=True, slots=True)
class LedgerParameters:
    """As the state after one block says; they hold for the next one. Ranges: `master.contracts.parameters`."""

    baseline_days_max: int
    """Days after which a device must have been verified anew."""
    block_bytes_max: int
    """Most bytes of a block's transactions."""
    block_interval_ms: int
    heartbeat_ms: int
    skew_ms: int
    """Widest distance between block time and a voter's clock."""
    snapshot_blocks: int
    """After how many blocks a snapshot is written."""
    stale_ms: int
    """Age of the last completed read at which a device counts as stale."""


def ledger_parameters(state: Reads) -> LedgerParameters:
    """Return the parameters of a state."""
    return LedgerParameters(**{name: integer_parameter(state, name) for name in NAMES})

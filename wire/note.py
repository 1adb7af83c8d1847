"""Notes of files in the ledger (contract `notary`): how much of one stands there itself, and under which key.

Source: docs/spec NT-1, NT-2.
"""

from __future__ import annotations

from typing import Final

NAMESPACE: Final = "notary"
DATA_BYTES_MAX: Final = 1024
"""Of what is noted as it is; of a longer file its SHA-256 is."""
ENTRY_FIELDS: Final = ("digest", "height", "time_ms", "data_centre")
"""Of what stands in the state."""


def entry_key(account: str, name: str) -> bytes:
    """Return the state key of what an account noted under a name; both are identifiers."""
    return f"{account}/{name}".encode("ascii")

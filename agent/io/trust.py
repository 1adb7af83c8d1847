"""What comes back from the full nodes, and what of it can be believed: nothing that does not verify with genesis.

A receipt that verifies is the only thing that lets the outbox forget. It also proves a block; the newest one goes into
the next evidence, which then cannot be older than that block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.attest import DeviceState, after_receipt, without_receipt
from agent.io.headers import HeaderStore
from agent.io.outbox import Outbox
from wire.errors import WireError
from wire.evidence import Evidence, SeenBlock, decode_evidence
from wire.finality import FinalHeader
from wire.genesis import Genesis
from wire.lightclient import ConflictError
from wire.receipt import RECEIPT_BYTES_MAX, Receipt, decode_receipt, verify_receipt
from wire.tx import open_tx

ITEM_BYTES_MAX: Final = RECEIPT_BYTES_MAX
TAKEN: Final = ("ok", "duplicate")
"""Outcomes after which the ledger holds this evidence."""


@dataclass(frozen=True, slots=True)
class NotProven:
    """Something came down that proves nothing that we asked for; nothing was changed."""

    result: str
    """Short code for counters: malformed, unknown-transaction, not-verified or conflict.

    A conflict is no mistake of a node: a quorum of validators signed two things that cannot both be true.
    """
    detail: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A verified receipt: its evidence has left the outbox."""

    evidence: int
    """Key within the outbox."""
    code: str
    """What the contract said; other than `TAKEN` it refused the report, for ever."""
    seq: int
    """Number of the transaction that the ledger holds."""
    report: Evidence
    states: tuple[DeviceState, ...]
    """Devices whose state the receipt changed."""


class Trust:
    """Judges what comes down.

    Args:
        genesis: From this gateway's own disk.
        outbox: Holds the transactions that receipts are about.
        headers: Holds what is believed of the ledger; without it each receipt is judged for itself.
        now_ms: Tells the time, for the record of a conflict.
    """

    def __init__(
        self,
        genesis: Genesis,
        outbox: Outbox,
        headers: HeaderStore | None = None,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._genesis = genesis
        self._outbox = outbox
        self._headers = headers
        self._now_ms = now_ms
        self._block = outbox.block() or SeenBlock(0, genesis.digest())
        self._block_time_ms = genesis.time_ms

    @property
    def block(self) -> SeenBlock:
        """The newest block that was verified; genesis before the first."""
        return self._block

    @property
    def block_time_ms(self) -> int:
        """Time of the newest block verified since the start of the program."""
        return self._block_time_ms

    def take(self, payload: bytes, states: Mapping[str, DeviceState]) -> Settled | NotProven:
        """Judge one item; settle what it proves.

        Args:
            payload: As it came, of any length.
            states: What is known of the devices now.

        Raises:
            StorageError: The receipt verified but could not be stored; it counts as not received.
        """
        if len(payload) > ITEM_BYTES_MAX:
            return NotProven("malformed", f"{len(payload)} bytes, at most {ITEM_BYTES_MAX} are allowed")
        try:
            receipt = decode_receipt(payload)
        except WireError as error:
            return NotProven("malformed", str(error))
        # Looking it up first costs strangers more than it costs us: signatures are checked only for our transactions.
        found = self._outbox.find(receipt.tx)
        if found is None:
            return NotProven("unknown-transaction", f"no transaction {receipt.tx.hex()} waits here")
        try:
            verify_receipt(receipt, found.raw, self._genesis)
            if self._headers is not None:
                final = FinalHeader(receipt.header, receipt.certificate, receipt.epochs)
                self._headers.take(final, is_named=True, now_ms=self._now_ms())
        except ConflictError as error:
            return NotProven("conflict", str(error))
        except WireError as error:
            return NotProven("not-verified", str(error))
        report = decode_evidence(found.evidence_raw)
        changed = _changed(report, receipt, states)
        block = SeenBlock(receipt.header.height, receipt.header.digest())
        self._outbox.settle(found.evidence, block, changed)
        if block.height > self._block.height:
            self._block = block
        self._block_time_ms = max(self._block_time_ms, receipt.header.time_ms)
        return Settled(found.evidence, receipt.outcome.code, _seq_of(found.raw), report, changed)


def _changed(report: Evidence, receipt: Receipt, states: Mapping[str, DeviceState]) -> tuple[DeviceState, ...]:
    """Return the states that differ after the receipt.

    A report that was refused carried nothing into the ledger, and may have been refused since the ledger does not know
    an item that it names: all its items are carried whole again.
    """
    taken = receipt.outcome.code in TAKEN
    changed = []
    for entry in report.devices:
        before = states.get(entry.device)
        if before is None or before.item is None:
            continue
        after = after_receipt(before, report) if taken else without_receipt(before)
        if after != before:
            changed.append(after)
    return tuple(changed)


def _seq_of(raw: bytes) -> int:
    return open_tx(raw).tx.seq

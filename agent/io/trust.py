"""What comes back from the full nodes, and what of it can be believed: nothing that does not verify with genesis.

A receipt that verifies is the only thing that lets the outbox forget. It also proves a block; the newest one goes into
the next evidence, which then cannot be older than that block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from agent.attest import DeviceState, after_receipt, without_receipt
from agent.io.headers import TRUSTING_MS, HeaderStore
from agent.io.ledgertime import LedgerTime
from agent.io.outbox import Outbox
from wire import cbor
from wire.anchor import decode_anchor, verify_anchor
from wire.errors import CertificateError, WireError
from wire.evidence import Evidence, SeenBlock, decode_evidence
from wire.finality import ITEM_TYPE as HEADER_ITEM
from wire.finality import FinalHeader, decode_header_item
from wire.genesis import Genesis
from wire.header import Header
from wire.lightclient import ConflictError
from wire.readorder import ITEM_TYPE as READ_ORDER
from wire.readorder import Demand, ReadOrder, decode_read_order, demand_of, verify_read_order
from wire.receipt import BUNDLE_BYTES_MAX, Receipt, decode_receipt, verify_receipt
from wire.tx import open_tx
from wire.types import Digest

ITEM_BYTES_MAX: Final = BUNDLE_BYTES_MAX
_VALUES_MAX: Final = 262_144
TAKEN: Final = ("ok", "duplicate")
"""Outcomes after which the ledger holds this evidence."""


@dataclass(frozen=True, slots=True)
class NotProven:
    """Something came down that proves nothing that we asked for; nothing was changed."""

    result: str
    """Short code for counters: malformed, unknown-transaction, not-verified, trust-expired, conflict, or of a read
    order not-ours, late or answered.

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


@dataclass(frozen=True, slots=True)
class Believed:
    """A final header that stands alone, verified."""

    height: int
    is_new: bool
    """It is newer than all before."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A read order that the ledger took, verified."""

    demand: Demand


class Trust:
    """Judges what comes down.

    Args:
        genesis: From this gateway's own disk.
        outbox: Holds the transactions that receipts are about.
        headers: Holds what is believed of the ledger; without it each receipt is judged for itself.
        now_ms: Tells the time: for the record of a conflict, and for how long trust lasts.
        ledger_time: Told of every verified header.
        gateway: Who this is; read orders for others are not looked at.
    """

    def __init__(
        self,
        genesis: Genesis,
        outbox: Outbox,
        headers: HeaderStore | None = None,
        now_ms: Callable[[], int] = lambda: 0,
        ledger_time: LedgerTime | None = None,
        gateway: str = "",
    ) -> None:
        self._genesis = genesis
        self._gateway = gateway
        self._outbox = outbox
        self._headers = headers
        self._now_ms = now_ms
        self._ledger_time = ledger_time
        self._block = outbox.block() or SeenBlock(0, genesis.digest())
        self._block_time_ms = genesis.time_ms
        self._heard: Digest | None = None
        """The header item that came last; every node may send the same."""

    @property
    def block(self) -> SeenBlock:
        """The newest block that was verified; genesis before the first."""
        return self._block

    @property
    def block_time_ms(self) -> int:
        """Time of the newest block verified since the start of the program."""
        return self._block_time_ms

    def is_expired(self) -> bool:
        """Tell whether nothing can be believed before an anchor is given (docs/spec LC-8).

        Raises:
            StorageError: The time of the first start could not be stored.
        """
        return self._headers is not None and self._headers.is_expired(self._now_ms())

    def anchor(self, raw: bytes) -> int:
        """Believe an anchor and return its height.

        Raises:
            WireError: Too few organisations signed it, or it is older than what is believed or than the period.
            StorageError: It could not be stored.
        """
        anchor = decode_anchor(raw)
        verify_anchor(anchor, self._genesis)
        assert self._headers is not None, "a gateway keeps headers"
        header, newest, now_ms = anchor.final.header, self._headers.state.newest, self._now_ms()
        if newest is not None and header.height < newest.header.height:
            raise CertificateError(
                f"anchor: height {header.height} is below the newest believed, {newest.header.height}"
            )
        if now_ms - header.time_ms > TRUSTING_MS:
            raise CertificateError("anchor: it is as old as what it is to replace; make a new one")
        self._headers.take(anchor.final, is_named=False, now_ms=now_ms)
        self._headers.anchored(now_ms)
        self._note(header)
        return header.height

    def take(self, payload: bytes, states: Mapping[str, DeviceState]) -> Settled | Believed | Ordered | NotProven:
        """Judge one item; settle what it proves.

        Args:
            payload: As it came, of any length.
            states: What is known of the devices now.

        Raises:
            StorageError: The receipt verified but could not be stored; it counts as not received.
        """
        if len(payload) > ITEM_BYTES_MAX:
            return NotProven("malformed", f"{len(payload)} bytes, at most {ITEM_BYTES_MAX} are allowed")
        if self.is_expired():
            return NotProven("trust-expired", "too long without a header; this gateway needs an anchor")
        try:
            value = cbor.decode_map(payload, bytes_max=ITEM_BYTES_MAX, values_max=_VALUES_MAX)
            if value.get("type") == HEADER_ITEM:
                return self._take_header(decode_header_item(payload))
            if value.get("type") == READ_ORDER:
                return self._take_order(decode_read_order(payload))
            receipt = decode_receipt(payload)
        except WireError as error:
            return NotProven("malformed", str(error))
        return self._take_receipt(receipt, states)

    def _take_header(self, final: FinalHeader) -> Believed | NotProven:
        header = final.header
        if header.digest() == self._heard:
            return Believed(header.height, is_new=False)
        if self._headers is None:
            return NotProven("not-verified", "this gateway keeps no headers")
        newest = self._headers.state.newest
        try:
            self._headers.take(final, is_named=False, now_ms=self._now_ms())
        except ConflictError as error:
            return NotProven("conflict", str(error))
        except WireError as error:
            return NotProven("not-verified", str(error))
        self._heard = header.digest()
        self._note(header)
        return Believed(header.height, is_new=newest is None or header.height > newest.header.height)

    def _take_order(self, order: ReadOrder) -> Ordered | NotProven:
        """Judge a read order; what is not for us, too late or answered costs no signature.

        Raises:
            WireError: It is no read order.
        """
        demand = demand_of(order)
        what = f"read order {demand.order.hex()}"
        if demand.gateway != self._gateway:
            return NotProven("not-ours", f"{what} is for {demand.gateway}")
        if demand.deadline_ms < max(self._now_ms(), self._block_time_ms):
            return NotProven("late", f"the time of {what} is past")
        if self._outbox.is_answered(demand.order):
            return NotProven("answered", f"{what} was answered before")
        receipt = order.receipt
        try:
            verify_read_order(order, self._genesis)
            if self._headers is not None:
                final = FinalHeader(receipt.header, receipt.certificate, receipt.epochs)
                self._headers.take(final, is_named=False, now_ms=self._now_ms())
        except ConflictError as error:
            return NotProven("conflict", str(error))
        except WireError as error:
            return NotProven("not-verified", str(error))
        self._note(receipt.header)
        return Ordered(demand)

    def _note(self, header: Header) -> None:
        """Remember the newest block, and what it says of the time."""
        if header.height > self._block.height:
            self._block = SeenBlock(header.height, header.digest())
        self._block_time_ms = max(self._block_time_ms, header.time_ms)
        if self._ledger_time is not None:
            self._ledger_time.heard(header.time_ms)

    def _take_receipt(self, receipt: Receipt, states: Mapping[str, DeviceState]) -> Settled | NotProven:
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
        self._note(receipt.header)
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

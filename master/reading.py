"""Restricted reads of one node: who may, the log of who did, and its anchors in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from kit.clock import Clock
from kit.exitcodes import GridwitnessError, StorageError
from kit.keystore import load_signing_key, next_seq
from kit.logs import get_logger
from master.api.ports import SubmitResult
from master.api.signed import AccessError, BlobLabel, Reading
from master.config import NodeConfig
from master.contracts import membership
from master.contracts.access_records import Question, blob_label, last_anchor, permission
from master.io.readlog import Read, ReadLog
from master.ledger.call import StateReads
from master.ledger.rows import Head
from master.ledger.state import Entries
from wire.genesis import AccountKey
from wire.grants import NAMESPACE
from wire.httpsig import audience
from wire.tx import Transaction
from wire.types import Digest

READS_FOLDER: Final = "reads"
TX_VALID_MS: Final = 60_000
_LOOK_EVERY_S: Final = 1.0
_MS_PER_S: Final = 1000

_log = get_logger("reading")


class Ledger(Entries, Protocol):
    """The node's store; in any thread."""

    def head(self) -> Head:
        """Return the newest block."""
        ...


class ReadingRoom:
    """Implements `AccessPort`: asks the newest state, and logs what it permits.

    Args:
        ledger: The node's store.
        log: Of this node.
        clock: Of this node.
        tags: Whom signatures for this node name: `wire.httpsig.audience` of each of its addresses.
    """

    def __init__(self, ledger: Ledger, log: ReadLog, clock: Clock, tags: tuple[str, ...]) -> None:
        self._ledger, self._log, self._clock = ledger, log, clock
        self.tags = tags

    def account_key(self, kid: bytes) -> AccountKey | None:
        """Return the key of a key id, with its account and organisation."""
        return membership.account_key(StateReads(self._ledger), kid)

    def label(self, blob: bytes) -> BlobLabel | None:
        """Return what reading a blob asks for; None when no final block names it."""
        found = blob_label(StateReads(self._ledger), blob)
        return None if found is None else BlobLabel(found.data_class, found.subject, found.content)

    def admit(self, reading: Reading) -> str | None:
        """Log a read that is permitted and return what permits it; None when nothing does.

        Raises:
            AccessError: It cannot be logged.
        """
        head = self._ledger.head()
        question = Question(reading.data_class, reading.subject, reading.content)
        grant = permission(StateReads(self._ledger), reading.account, question, head.height, head.time_ms)
        if grant is None:
            return None
        try:
            self._log.append(
                Read(
                    self._clock.now_ms(),
                    head.height,
                    reading.account,
                    reading.kid,
                    reading.data_class,
                    reading.subject,
                    reading.item,
                    grant,
                )
            )
        except StorageError as error:
            raise AccessError(str(error)) from error
        return grant


@dataclass(frozen=True, slots=True)
class AnchorRule:
    """When a log is anchored."""

    after_ms: int
    """So long after the first entry that no anchor stands for."""
    entries: int
    """Or as soon as there are so many."""


class Anchoring:
    """Says in the ledger where the read log stands: one transaction at a time, of the member's own account.

    Args:
        ledger: The node's store.
        log: Of this node.
        key_path: NAME.key of the member's account.
        member: The account.
        chain: Name of the ledger.
        rule: When.
        clock: Of this node.
    """

    def __init__(
        self, ledger: Ledger, log: ReadLog, key_path: Path, member: str, chain: str, rule: AnchorRule, clock: Clock
    ) -> None:
        self._ledger, self._log, self._clock = ledger, log, clock
        self._key_path, self._member, self._chain, self._rule = key_path, member, chain, rule
        self._since_ms: int | None = None
        self._until_ms = 0

    def due(self) -> bytes | None:
        """Return the signed anchor that is due now, if one is; blocking.

        Raises:
            GridwitnessError: The key cannot be used.
        """
        now_ms = self._clock.now_ms()
        number, anchored = last_anchor(StateReads(self._ledger), self._member)[:2]
        self._log.anchored(anchored)
        entries, head = self._log.position()
        if entries <= anchored:
            self._since_ms = None
            return None
        if self._since_ms is None:
            self._since_ms = now_ms
        is_due = entries - anchored >= self._rule.entries or now_ms - self._since_ms >= self._rule.after_ms
        if not is_due or now_ms < self._until_ms:
            return None
        self._until_ms = now_ms + TX_VALID_MS
        return self._sign(number + 1, entries, head, self._until_ms)

    def _sign(self, number: int, entries: int, head: Digest, until_ms: int) -> bytes:
        key = load_signing_key(self._key_path)
        return Transaction(
            chain=self._chain,
            sender=self._member,
            contract=NAMESPACE,
            version=1,
            method="anchor",
            args={"number": number, "entries": entries, "head": head},
            seq=next_seq(self._key_path),
            valid_until_ms=until_ms,
        ).sign(key.signing_key)


async def keep_anchored(anchoring: Anchoring, submit: Callable[[bytes], SubmitResult]) -> None:
    """Send every anchor when it is due; runs until it is cancelled.

    Args:
        anchoring: Of this node.
        submit: Puts a transaction into the mempool.
    """
    while True:
        try:
            due = await asyncio.to_thread(anchoring.due)
        except GridwitnessError as error:
            _log.error("the read log cannot be anchored", reason=str(error))
        else:
            result = None if due is None else submit(due)
            if result is not None and result.status == "refused":
                _log.error("the anchor of the read log was refused", reason=result.code, detail=result.detail)
        await asyncio.sleep(_LOOK_EVERY_S)


class Reads:
    """All of a node's process that restricted reads need."""

    def __init__(self, config: NodeConfig, ledger: Ledger, chain: str, clock: Clock, boot: str) -> None:
        """Open the log behind what is anchored.

        Args:
            config: Of the node.
            ledger: Its store.
            chain: Name of the ledger.
            clock: Of the node.
            boot: Drawn at this start, 1..16 hex digits.

        Raises:
            DataError: The log is damaged.
            StorageError: It cannot be read or written.
        """
        member = config.node.member
        _, entries, head = last_anchor(StateReads(ledger), member)
        self.log = ReadLog(config.node.data_dir / READS_FOLDER, chain, member, begins_after=(entries, head))
        tags = tuple(audience(chain, name, boot) for name in config.api.own_names())
        self.room = ReadingRoom(ledger, self.log, clock, tags)
        self._anchoring: Anchoring | None = None
        if config.reads is not None:
            rule = AnchorRule(config.reads.anchor_s * _MS_PER_S, config.reads.anchor_entries)
            self._anchoring = Anchoring(ledger, self.log, config.reads.key, member, chain, rule, clock)

    async def run(self, submit: Callable[[bytes], SubmitResult]) -> None:
        """Anchor the log until cancelled; without a key, wait."""
        if self._anchoring is None:
            await asyncio.Event().wait()
            return
        await keep_anchored(self._anchoring, submit)

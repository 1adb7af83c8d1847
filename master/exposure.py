"""Follows up what nodes find out about each other: fault proofs, and results that differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kit.logs import get_logger
from master.consensus.blame import Findings
from master.consensus.fault_messages import Fault
from master.consensus.message_codec import encode_message
from wire.types import Digest

_log = get_logger("exposure")


class Exposure:
    """Sends on what is new, and tells the rest of the node.

    Args:
        broadcast: Sends to all other validators.
        accuse: Takes a canonical fault proof and tells whether it is new; raises WireError when it proves nothing.
        blamed: Takes ids of transactions that the next block of this node shall leave out.
        report: Takes a code and a detail for operators and metrics.
    """

    def __init__(
        self,
        broadcast: Callable[[bytes], None],
        accuse: Callable[[bytes], bool],
        blamed: Callable[[Sequence[Digest]], None],
        report: Callable[[str, str], None],
    ) -> None:
        self._broadcast = broadcast
        self._accuse = accuse
        self._blamed = blamed
        self._report = report

    def expose(self, message: Fault) -> None:
        """Bring a fault proof to the ledger, and tell everybody when it is new.

        Raises:
            WireError: It proves nothing.
        """
        if self._accuse(message.proof):
            self._broadcast(encode_message(message))

    def follow(self, findings: Findings) -> None:
        """Send own results, and leave out what is blamed."""
        for message in findings.messages:
            self._broadcast(encode_message(message))
        for report in findings.reports:
            _log.critical("divergence-blamed", detail=report)
            self._report("divergence-blamed", report)
        if findings.blamed:
            self._blamed(findings.blamed)

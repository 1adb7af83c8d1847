"""Keeps who may connect in step with the ledger; what cannot be renewed is tried again (docs/spec, clause VM-11)."""

from __future__ import annotations

from typing import Protocol

from kit.exitcodes import GridwitnessError
from kit.logs import get_logger
from master.contracts.validator_records import Admitted
from master.io.peers import PeerNetwork
from master.seat import PeerBook

_log = get_logger("admission")


class Ledger(Protocol):
    """Says who may connect."""

    @property
    def peers(self) -> tuple[Admitted, ...]:
        """Certificates that the newest state admits."""
        ...


class Admission:
    """One node's network and the ledger that it goes by."""

    def __init__(self, book: PeerBook, network: PeerNetwork, ledger: Ledger, peers: tuple[Admitted, ...]) -> None:
        """Take over a network.

        Args:
            book: Makes TLS contexts and addresses of what the ledger says.
            network: To be renewed.
            ledger: Says who may connect now.
            peers: Who the network trusts now.
        """
        self._book, self._network, self._ledger = book, network, ledger
        self._peers = peers
        self.failure: str | None = None
        """Why the network still goes by an older state; None while it does not."""

    def follow(self) -> None:
        """Renew the network if the ledger admits others than it trusts; to be called until it is done."""
        peers = self._ledger.peers
        if peers == self._peers:
            self.failure = None
            return
        try:
            self._network.renew(self._book.trust(peers), self._book.addresses(peers))
        except (GridwitnessError, OSError) as error:  # ssl.SSLError is an OSError
            reason = f"who may connect could not be renewed, certificates of an older block are trusted: {error}"
            if reason != self.failure:
                _log.error("who may connect could not be renewed; trying again", reason=str(error))
            self.failure = reason
        else:
            self._peers, self.failure = peers, None

"""What gateways bring beside transactions: proof that validators contradicted themselves (docs/spec LC-11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from wire.errors import WireError

_FAULT_PROOF_START: Final = b"\xa9"
"""A map of nine fields; a transaction begins with a tag."""


class Tips:
    """Tells fault proofs from transactions on the way in from the broker."""

    def __init__(
        self,
        take: Callable[[bytes], Awaitable[None]],
        expose: Callable[[bytes], None],
        refused: Callable[[WireError], None],
    ) -> None:
        """Join the two ways.

        Args:
            take: Takes a transaction.
            expose: Takes a fault proof; raises WireError when it proves nothing.
            refused: Told of those.
        """
        self._take = take
        self._expose = expose
        self._refused = refused

    async def take(self, payload: bytes) -> None:
        """Take whatever came on a tx topic."""
        if payload[:1] != _FAULT_PROOF_START:
            await self._take(payload)
            return
        try:
            self._expose(payload)
        except WireError as error:
            self._refused(error)

"""Through which full node a member's records enter: the one of the data centre to which it is attached (MB-15)."""

from __future__ import annotations

from collections.abc import Callable

from master.contracts import membership
from master.contracts.context import Reads
from wire.tx import SignedTx

Entrance = Callable[[SignedTx], str | None]
"""Returns the data centre that takes a transaction, when this one does not."""


def anywhere(_signed: SignedTx) -> None:
    """Let every node take everything."""


def entrance_of(member: str, state: Reads) -> Entrance:
    """Return the rule for a node of ``member``, on the newest state.

    What gateways report every node takes, and what an organisation says that is attached to none. A call that attaches
    it elsewhere enters there: its old data centre may be down.
    """

    def other(signed: SignedTx) -> str | None:
        call = signed.tx
        owner = membership.operator(state, call.sender) or call.sender
        centre = membership.data_centre(state, owner)
        is_attaching = (call.contract, call.method) == (membership.NAMESPACE, "attach")
        if centre in (None, member) or (is_attaching and call.args.get("data_centre") == member):
            return None
        return centre

    return other

"""What a node that began with a snapshot cannot answer yet, or never will, said in a sentence."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from master.api.context import Context
from master.api.problems import Problem

_RETRY_S: Final = 30


def missing(known_from: int) -> str:
    """Return why what lies below a block cannot be answered yet."""
    return (
        f"this node began with a snapshot and so far has the ledger from block {known_from} on; "
        "it is getting the rest: ask again later, or another node"
    )


def demand(context: Context, height: int) -> None:
    """Refuse a request that needs the ledger from ``height`` on while this node lacks it.

    Raises:
        Problem: 503, with what is here.
    """
    known_from = context.node.past()["known_from"]
    if height < known_from:
        headers = {"retry-after": str(_RETRY_S)}
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "past-missing", missing(known_from), headers)


def bounds(context: Context) -> str:
    """Return what to add when no transaction was found: which blocks were looked through."""
    blocks_from = context.node.past()["blocks_from"]
    return "" if blocks_from == 1 else f"; this node has the transactions of blocks {blocks_from} and above"

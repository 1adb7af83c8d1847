"""On whose account a transaction waits at a node (docs/spec, clauses TX-12 and BL-9)."""

from __future__ import annotations

from collections.abc import Container

from wire.genesis import AccountKey

Party = tuple[str, bool]
"""(organisation, whether its gateways). An organisation registers as many accounts as it likes, so they count as one:
its own and its operators' together, and beside them all of its gateways, which no traffic of its offices shuts out."""


def party_of(key: AccountKey, gateways: Container[str]) -> Party:
    """Return the party of an account.

    Args:
        key: As admission knows it.
        gateways: Accounts that are gateways, as the ledger says now.
    """
    return key.organisation, key.sender != key.organisation and key.sender in gateways

"""Why a transaction may not stand in a block, or a block not follow the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wire.errors import FormatError
from wire.types import Digest

DIVERGENCES: Final = frozenset({"outcome-root", "state-root", "contract-fault"})
"""Codes of `BlockRefused` that may be this node's own fault: do not vote, raise the alarm."""


class TxRefused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """A transaction may not stand in a block now.

    Args:
        code: wrong-chain, unknown-contract, unknown-method, unknown-key, wrong-sender, suspended, expired,
            valid-too-long, bad-signature or replayed.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class BlockRefused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """A block may not follow the head.

    Args:
        code: chain, height, parent, history-root, time, code-table, fault-proofs, too-large, tx-count, tx-root,
            bad-transaction,
            or one of `DIVERGENCES`.
        detail: One clear sentence.
        results: Leaf digests of the outcomes that came out here, where that may be this node's own fault.
    """

    def __init__(self, code: str, detail: str, results: Sequence[Digest] = ()) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.results = tuple(results)

    @property
    def diverged(self) -> bool:
        """Whether executing gave another result, rather than the block breaking a rule."""
        return self.code in DIVERGENCES


class CodeDueError(FormatError):
    """This software cannot execute the next block: the ledger runs a contract version that it does not have."""


class ContractFaultError(Exception):
    """A contract failed by a mistake of its own; such a transaction gets into no honest proposer's block."""

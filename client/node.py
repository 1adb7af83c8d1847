"""What commands ask of full nodes, over the one HTTP client: lists, transactions and their outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kit.exitcodes import DataError, TryAgainError
from kit.http import NodeClient
from kit.keystore import KeyFile, load_signing_key, next_seq
from wire import cbor
from wire.tx import Transaction

Item = dict[str, Any]

VALID_MS_DEFAULT: Final = 3_600_000
PAGE_ITEMS: Final = 500
PAGES_MAX: Final = 2_000
TX_MEDIA_TYPE: Final = "application/cose"
_POLL_FIRST_S: Final = 0.02
_POLL_LAST_S: Final = 0.5
_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a transaction stands."""

    tx: str
    """Its id, hex."""
    status: str
    """``pending`` or ``committed``."""
    code: str | None
    """What execution yielded, ``ok`` or the reason of a refusal; None while pending."""
    height: int | None

    def to_json(self) -> Item:
        """Return the plain values."""
        return {"tx": self.tx, "status": self.status, "code": self.code, "height": self.height}


@dataclass(frozen=True, slots=True)
class Signer:
    """A key, the account that it signs for, and the ledger that the signature is meant for."""

    key_path: Path
    key: KeyFile
    sender: str
    chain: str

    def sign(self, contract: str, method: str, args: Mapping[str, cbor.Value]) -> bytes:
        """Sign one call; its number is on disk before the signature is made.

        Raises:
            TryAgainError: Another process holds the key's counter.
            FormatError: The call does not fit in a transaction.
        """
        call = Transaction(
            chain=self.chain,
            sender=self.sender,
            contract=contract,
            version=1,
            method=method,
            args=dict(args),
            seq=next_seq(self.key_path),
            valid_until_ms=time.time_ns() // 1_000_000 + VALID_MS_DEFAULT,
        )
        return call.sign(self.key.signing_key)


def open_signer(client: NodeClient, key_path: Path, sender: str | None) -> Signer:
    """Read the key and learn the ledger's name from the node.

    Args:
        client: A node of the ledger.
        key_path: NAME.key.
        sender: The account; None takes the name of the key.

    Raises:
        StorageError: There is no such key.
        DataError: The node does not name its ledger.
    """
    key = load_signing_key(key_path)
    chain = client.get_json("/v1/status").get("chain")
    if not isinstance(chain, str):
        raise DataError(f"{client.node} does not say which ledger it keeps")
    return Signer(key_path, key, sender or key.name, chain)


def submit(client: NodeClient, raw: bytes) -> str:
    """Hand a signed transaction to a node and return its id, hex.

    Raises:
        NodeProblemError: The node refused it.
        DataError: The answer says something else.
    """
    results = client.post_cbor("/v1/tx", raw, content_type=TX_MEDIA_TYPE).get("results")
    if not isinstance(results, list) or len(results) != 1 or not isinstance(results[0], dict):
        raise DataError(f"{client.node} does not answer as a node does")
    result = results[0]
    if result.get("status") not in {"pending", "duplicate"}:
        raise DataError(f"{client.node} refused the transaction: {result.get('reason', result.get('status'))}")
    return str(result["id"])


def wait_outcome(client: NodeClient, tx: str, timeout_s: float) -> Outcome:
    """Wait until a transaction is in the ledger.

    Args:
        client: The node that took it, or another one.
        tx: Id, hex.
        timeout_s: Seconds.

    Raises:
        TryAgainError: It is still pending at the deadline; its outcome may yet come.
    """
    deadline_s = time.monotonic() + timeout_s
    pause_s = _POLL_FIRST_S
    while True:
        found = client.get_json(f"/v1/tx/{tx}")
        if found.get("status") == "committed":
            return Outcome(tx, "committed", str(found["code"]), int(found["height"]))
        if time.monotonic() >= deadline_s:
            raise TryAgainError(
                f"transaction {tx} is still pending after {timeout_s:g} s; ask again with: gridwitness tx show {tx}"
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_LAST_S)


def require_ok(outcome: Outcome) -> Outcome:
    """Return the outcome when the contract accepted the call.

    Raises:
        DataError: It refused it; the message holds the code.
    """
    if outcome.code not in {None, "ok"}:
        raise DataError(f"the contract refused transaction {outcome.tx} in block {outcome.height}: {outcome.code}")
    return outcome


def items(client: NodeClient, path: str, filters: Mapping[str, str | None]) -> Iterator[Item]:
    """Walk through a list, page by page.

    Args:
        client: Which node to ask.
        path: Of the list.
        filters: Query; a value of None is left out.

    Raises:
        DataError: The answer is no list.
    """
    params = {name: value for name, value in filters.items() if value is not None}
    params["limit"] = str(PAGE_ITEMS)
    for _ in range(PAGES_MAX):
        page = client.get_json(path, params)
        found = page.get("items")
        if not isinstance(found, list):
            raise DataError(f"{client.node}{path} does not answer with a list")
        yield from found
        following = page.get("next")
        if following is None:
            return
        params["after"] = str(following)
    raise DataError(f"{client.node}{path} does not end after {PAGES_MAX} pages")

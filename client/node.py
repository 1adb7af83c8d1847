"""What commands ask of full nodes, over the one HTTP client: lists, transactions and their outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from kit.exitcodes import DataError, TryAgainError
from kit.http import NodeClient
from kit.keystore import KeyFile, load_signing_key, next_seq
from wire import cbor
from wire.errors import WireError
from wire.tx import Transaction

Item = dict[str, Any]

VALID_MS_DEFAULT: Final = 3_600_000
PAGE_ITEMS: Final = 500
PAGES_MAX: Final = 2_000
TX_MEDIA_TYPE: Final = "application/cose"
LOOKS_MAX: Final = 10
LOOK_S: Final = 0.1
_POLL_FIRST_S: Final = 0.02
_POLL_LAST_S: Final = 0.5
_MS_PER_S: Final = 1000
_REFUSALS: Final[Mapping[str, str]] = {
    "already-endorsed": "this organisation has endorsed it before, which counts",
    "name-taken": "another release has this name; choose another one in release.toml",
    "stale-parent": "somebody stored another version meanwhile; look at 'gridwitness models list' and store again",
    "not-owner": "another organisation keeps this model; choose another name",
    "wrong-region": "this model is of another region; choose another name for a model of this one",
    "blob-quota": "this organisation has brought as many bytes as it may on one day; see blob_day_bytes_max",
    "wrong-role": "this organisation may not do this; see the roles with 'gridwitness members list'",
    "wrong-manufacturer": "only the manufacturer whom the release names stands behind it, by submitting it",
    "unknown-gateway": "the ledger knows no gateway of that name",
    "unknown-station": "the ledger knows no station of that name",
    "unknown-subject": "the ledger knows no such device, station or organisation",
    "unknown-device": "the ledger knows no device of that name",
    "unknown-model": "the ledger knows no device of the model that it is for",
    "test-due": "a laboratory stands behind a release with its test report: see 'gridwitness refs test'",
    "excluded": "the policy of the release keeps this organisation out of it; see 'gridwitness refs show'",
    "unknown-report": "no laboratory has recorded that report with a pass; see 'gridwitness refs show'",
    "already-effective": "the release counts, so a test can no longer end it; see 'gridwitness refs revoke'",
    "release-failed": "a laboratory's test ended this release; submit another one",
    "release-revoked": "this release was revoked for good; submit another one",
    "too-far": "the date, height or version lies so far ahead that nothing else could come for long; name a nearer one",
    "conflicting-release": "an approved release waits for the same files, and no dates tell which comes later; see its "
    "rivals with 'gridwitness refs show'",
    "too-many-waiting": "many releases wait for the same files of this device or model; revoke what is not needed",
}
"""What the codes of the contracts mean to a person, and what to do; the others say enough."""


NO_WORDS: Final[Mapping[str, str]] = {}


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

    def said(self) -> str:
        """Say in a few words what came of it."""
        return "sent" if self.height is None else f"{self.code} in block {self.height}"


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
    return submit_with_blobs(client, raw)[0]


def submit_with_blobs(client: NodeClient, raw: bytes) -> tuple[str, list[str]]:
    """Hand a signed transaction to a node; return its id, and the digests of blobs that the node lacks for it, hex.

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
    return str(result["id"]), [str(digest) for digest in result.get("blobs", ())]


def bring_blobs(client: NodeClient, missing: Iterable[str], blobs: Mapping[str, bytes]) -> None:
    """Upload the blobs that a node lacks.

    Args:
        client: The node that took the transaction.
        missing: Their digests, hex.
        blobs: All that the transaction names.

    Raises:
        NodeProblemError: The node has no room for one, or nobody names it any more.
    """
    for digest in missing:
        if digest in blobs:
            client.put_bytes(f"/v1/blobs/{digest}", blobs[digest])


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


def call(
    client: NodeClient,
    signer: Signer,
    contract: str,
    method: str,
    args: Mapping[str, cbor.Value],
    timeout_s: float | None,
    words: Mapping[str, str] = NO_WORDS,
) -> Outcome:
    """Sign a call, hand it to a node, and wait until the contract accepted it.

    Args:
        client: A node of the ledger.
        signer: Who calls.
        contract: Its name.
        method: Of the contract.
        args: Of the method.
        timeout_s: Seconds; None does not wait, and the outcome is pending.
        words: As for `require_ok`.

    Raises:
        DataError: The node or the contract refused it.
        TryAgainError: It is still pending at the deadline.
    """
    tx = submit(client, signer.sign(contract, method, args))
    if timeout_s is None:
        return Outcome(tx, "pending", None, None)
    return require_ok(wait_outcome(client, tx, timeout_s), words)


def require_ok(outcome: Outcome, words: Mapping[str, str] = NO_WORDS) -> Outcome:
    """Return the outcome when the contract accepted the call.

    Args:
        outcome: Of a call.
        words: What the contract's codes mean to a person and what to do, before what all contracts' codes mean.

    Raises:
        DataError: It refused it; the message holds the code.
    """
    if outcome.code not in {None, "ok"}:
        known = words.get(str(outcome.code), _REFUSALS.get(str(outcome.code)))
        reason = f"{outcome.code}" if known is None else f"{outcome.code}: {known}"
        raise DataError(f"the contract refused transaction {outcome.tx} in block {outcome.height}: {reason}")
    return outcome


def octets(item: Item, name: str) -> bytes:
    """Return a field of an answer that must be hex.

    Raises:
        DataError: It is not.
    """
    value = item[name]
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"the node says {name} {value!r}, which is no hex; ask another one") from error


def state_value(client: NodeClient, namespace: str, key: str) -> cbor.Value:
    """Return what stands under a key of the newest state by a node's word; None where nothing does.

    Raises:
        DataError: The node tells something else.
    """
    value = client.get_json(f"/v1/state/{namespace}/{quote(key, safe='')}").get("value")
    try:
        return None if value is None else cbor.decode(bytes.fromhex(str(value)))
    except (ValueError, WireError) as error:
        raise DataError(f"{client.node} does not answer as a node does: {error}; ask another one") from error


def looks() -> Iterator[None]:
    """Say a few times to look at a list, with a pause in between: it may lag behind its ledger by a moment."""
    for look in range(LOOKS_MAX):
        if look:
            time.sleep(LOOK_S)
        yield


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole list of a node, and how old its ledger's newest block was when it was asked."""

    node: str
    items: tuple[Item, ...]
    head_age_ms: int | None
    """None: the node does not say."""
    ledger_stale: bool
    """The ledger stands still: what the items say may be out of date."""

    def warning(self) -> str | None:
        """Say that the ledger stands still, if it does."""
        if not self.ledger_stale:
            return None
        age = "" if self.head_age_ms is None else f", its newest block is {self.head_age_ms // _MS_PER_S} s old"
        return f"the ledger stands still at {self.node}{age}: what it says may be out of date; see 'gridwitness status'"


def items(client: NodeClient, path: str, filters: Mapping[str, str | None]) -> tuple[Item, ...]:
    """Return the items of a whole list; see ``listing``."""
    return listing(client, path, filters).items


def listing(client: NodeClient, path: str, filters: Mapping[str, str | None]) -> Listing:
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
    found: list[Item] = []
    stale = False
    for _ in range(PAGES_MAX):
        page = client.get_json(path, params)
        entries = page.get("items")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{client.node}{path} does not answer with a list")
        found += entries
        stale = stale or bool(page.get("ledger_stale"))
        following = page.get("next")
        if following is None:
            age_ms = page.get("head_age_ms")
            return Listing(client.node, tuple(found), age_ms if isinstance(age_ms, int) else None, stale)
        params["after"] = str(following)
    raise DataError(f"{client.node}{path} does not end after {PAGES_MAX} pages")

"""What the commands about proposals share: values as people write them, finding one, and what came of a vote."""

from __future__ import annotations

import json as jsons
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from client.node import Item, items, looks
from kit.exitcodes import DataError, UsageError
from kit.files import read_bounded
from kit.http import NodeClient
from wire import cbor
from wire.errors import WireError
from wire.fields import Fields

POLICY_BYTES_MAX: Final = 64 * 1024
ID_DIGITS: Final = 64
_HEX: Final = "hex:"
_ID: Final = re.compile(r"[0-9a-f]{8,64}", re.ASCII)
_POLICY: Final = ("target", "kind", "policy")


def value_of(text: str) -> cbor.Value:
    """Return a value as people write it: JSON without fractions, bytes as hex:00ff; what is no JSON is text.

    Raises:
        UsageError: It has no form on the ledger.
    """
    try:
        value = plain(jsons.loads(text))
        cbor.encode(value)
    except jsons.JSONDecodeError:
        return plain(text)
    except (ValueError, RecursionError, WireError) as error:
        raise UsageError(f"{text!r} has no form on the ledger: {error}") from error
    return value


def plain(value: Any) -> cbor.Value:  # noqa: ANN401 whatever JSON holds
    """Return what JSON holds with ``hex:00ff`` as bytes.

    Raises:
        UsageError: What follows ``hex:`` is none.
    """
    if isinstance(value, str) and value.startswith(_HEX):
        try:
            return bytes.fromhex(value.removeprefix(_HEX))
        except ValueError as error:
            raise UsageError(f"{value!r} is no hex") from error
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    found: cbor.Value = value
    return found


def standing(client: NodeClient, namespace: str, name: str) -> bytes:
    """Return what stands under a key of the state, canonical; the contract refuses it if a correction counts instead.

    Raises:
        DataError: Nothing stands there.
    """
    value = client.get_json(f"/v1/state/{namespace}/{quote(name, safe='')}").get("value")
    if value is None:
        raise DataError(f"nothing stands under {namespace}/{name}; see 'gridwitness state get --help'")
    return bytes.fromhex(str(value))


def read_policy(path: Path) -> dict[str, cbor.Value]:
    """Read the body of an endorsement policy, JSON as docs/guides/references.md shows it.

    Raises:
        DataError: The file holds something else.
    """
    try:
        body = jsons.loads(read_bounded(path, bytes_max=POLICY_BYTES_MAX))
        Fields(body, _POLICY, "policy")
        cbor.encode(body)
    except (ValueError, RecursionError, WireError) as error:
        raise DataError(f"{path} holds no endorsement policy; see docs/guides/references.md: {error}") from error
    found: dict[str, cbor.Value] = body
    return found


def find_proposal(client: NodeClient, text: str) -> Item:
    """Return the one proposal whose id is this, or begins so.

    Raises:
        UsageError: It is no id.
        DataError: There is none, or there are several.
    """
    if _ID.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no id of a proposal, 8 to 64 hex digits; see 'gridwitness proposals list'")
    if len(text) == ID_DIGITS:
        return client.get_json(f"/v1/proposals/{text}")
    found = [item for item in items(client, "/v1/proposals", {}) if str(item["proposal"]).startswith(text)]
    if len(found) != 1:
        what = "no proposal" if not found else f"{len(found)} proposals"
        raise DataError(f"there is {what} {text}; see 'gridwitness proposals list'")
    return found[0]


def after_vote(client: NodeClient, proposal: str, voter: str) -> Item:
    """Return how a proposal stands once the node's list has the vote; only the id when it lags behind its ledger."""
    for _ in looks():
        item = client.get_json(f"/v1/proposals/{proposal}")
        if voter in (*item["in_favour"], *item["against"]):
            return {"proposal": proposal, "proposal_status": item["reason"] or item["status"], "votes": weights(item)}
    return {"proposal": proposal}


def weights(item: Item) -> str:
    """Say how a proposal stands in one line."""
    return f"{item['weight_in_favour']} in favour, {item['weight_against']} against, {item['votes_due']} due"


def body_text(item: Item) -> str:
    """Write what is to change as JSON; old and new value of a correction as what they say, not as bytes."""
    body = dict(item["body"])
    if item["kind"] == "correction":
        for name in ("old", "new"):
            body[name] = _readable(str(body[name]))
        key = body["target"].get("key")
        if key is not None:
            body["target"] = {**body["target"], "key": bytes.fromhex(key).decode(errors="backslashreplace")}
    return jsons.dumps(body, sort_keys=True, ensure_ascii=False)


def _readable(encoded: str) -> object:
    try:
        return _shown(cbor.decode(bytes.fromhex(encoded)))
    except (ValueError, WireError):
        return encoded


def _shown(value: cbor.Value) -> object:
    if isinstance(value, bytes):
        return _HEX + value.hex()
    if isinstance(value, list):
        return [_shown(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): _shown(entry) for name, entry in value.items()}
    return value

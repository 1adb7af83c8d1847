"""What the commands about members share: calls of the contract `membership`, words of keys, application files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from client.node import Outcome, state_value
from client.ways import Way
from kit.exitcodes import DataError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.keystore import KeyFile
from wire import cbor
from wire.cose import SIGNATURE_BYTES
from wire.errors import WireError
from wire.fields import Fields
from wire.membership import (
    APPLICATION_BYTES_MAX,
    Application,
    application_bytes,
    decode_application,
    key_bytes,
)

CONTRACT: Final = "membership"
DAY_MS: Final = 86_400_000
_IN: Final[Mapping[str, str]] = {"device": "gateway", "gateway": "station", "station": "organisation"}
"""What names a record of the state, and what it is in."""
_FILE: Final = ("application", "signature", "root_signature")
_WORDS: Final[Mapping[str, str]] = {
    "already-applied": "an application of that name waits; see 'gridwitness members applications'",
    "already-suspended": "it is suspended; 'gridwitness members resume' lifts that",
    "already-reviewed": "your organisation has said so before, which counts",
    "already-revoked": "it counted no more already; see 'gridwitness members certificates list'",
    "bad-certificate": "that is no certificate",
    "bad-signature": "a new key must sign for itself, and the root key where it is asked; was this the right key file?",
    "certificate-in-use": "the ledger has this certificate already",
    "expired": "its time to wait has passed; its data centre brings it anew with 'gridwitness members apply'",
    "wrong-number": "the root key signed for another recovery of this organisation; sign again",
    "bad-expiry": "the root key's word is past its time, or ends too far ahead; see proposal_deadline_ms_max",
    "too-many-grants": "more grants end by this move than may at once; revoke some with 'gridwitness access revoke'",
    "key-in-use": "the key signs, signed, votes or is a root key; make a new one with 'gridwitness keys new'",
    "no-devices-here": "an agency's light node has no devices",
    "no-root-key": "the organisation has no root key; 'gridwitness members set-root-key' sets one in time",
    "no-offer": "nobody offers this move; see 'gridwitness members moves'",
    "no-such-application": "no application of that name waits; see 'gridwitness members applications'",
    "not-a-data-centre": "it must be an organisation that runs a validator; see 'gridwitness validators list'",
    "not-an-organisation": "an organisation does this with its own key, not with that of an operator or gateway",
    "not-responsible": "your role does not review such members; see 'gridwitness members applications'",
    "not-reviewed": "reviews are missing; see 'gridwitness members applications'",
    "not-suspended": "nobody has suspended it; see 'gridwitness members list'",
    "not-yours": "what it is about is not yours, or is not there",
    "not-the-super-node": "only the dispatch centre records what its authority issued",
    "offered": "your side has said so; now the other side must, see 'gridwitness members moves'",
    "offered-elsewhere": "its owner's word is for another place or owner; see 'gridwitness members moves'",
    "runs-a-validator": "remove its validator first, which is voted on: 'gridwitness validators propose-removal'",
    "super-node-only": "the genesis file leaves this to the dispatch centre",
    "taken": "somebody has that name already",
    "too-many-applications": "your data centre has brought as many as leave room for others; have them decided first",
    "too-many-devices": "they are more than one move hands to another owner",
    "too-soon": "the time lock runs; see opens_ms in 'gridwitness members recoveries'",
    "unknown-key": "no account has this key now; see 'gridwitness members show'",
    "unknown-account": "no organisation, operator or gateway has that name; see 'gridwitness members list'",
    "unknown-certificate": "the ledger has no such certificate; see 'gridwitness members certificates list'",
    "wrong-parent": "a sub-centre stands under a dispatch centre, an agency under a sub-centre or agency",
}
"""What codes of the contract mean to a person, and what to do."""


def call(
    client: NodeClient, way: Way, method: str, args: Mapping[str, cbor.Value], contract: str = CONTRACT
) -> Outcome:
    """Sign and submit one call and wait for its outcome.

    Raises:
        DataError: The contract refused it.
    """
    return way.call(client, contract, method, args, _WORDS)


def send(method: str, args: Mapping[str, cbor.Value], way: Way) -> None:
    """Make one call of the contract `membership` and show what came of it.

    Raises:
        DataError: The contract refused it.
    """
    with way.client() as client:
        outcome = call(client, way, method, args)
    way.show(method, outcome)


def owner_of(client: NodeClient, kind: str, name: str) -> str | None:
    """Return the organisation to which a device, gateway or station belongs now, None where there is none of that name.

    Raises:
        DataError: The node tells something else.
    """
    while kind in _IN:
        record = state_value(client, CONTRACT, f"{kind}/{name}")
        if record is None:
            return None
        kind = _IN[kind]
        if not isinstance(record, dict) or not isinstance(record.get(kind), str):
            raise DataError(f"{client.node} does not answer as a node does")
        name = str(record[kind])
    return name


def chain_of(client: NodeClient) -> str:
    """Return the name of a node's ledger.

    Raises:
        DataError: It does not say.
    """
    chain = client.get_json("/v1/status").get("chain")
    if not isinstance(chain, str):
        raise DataError(f"{client.node} does not say which ledger it keeps")
    return chain


def word(key: KeyFile, chain: str, account: str, purpose: str, keys: tuple[bytes | None, bytes | None]) -> bytes:
    """Return what a key says about (old, new) keys of an account."""
    return key.signing_key.sign(key_bytes(chain, account, purpose, *keys)).signature


def write_application(wanted: Application, key: KeyFile, root_key: KeyFile | None) -> bytes:
    """Return the file that an applicant hands to a data centre: its application, signed by its keys."""
    raw = wanted.encode()
    decode_application(raw)
    signed = application_bytes(raw)
    return cbor.encode(
        {
            "application": raw,
            "signature": key.signing_key.sign(signed).signature,
            "root_signature": None if root_key is None else root_key.signing_key.sign(signed).signature,
        }
    )


def read_application(path: Path) -> tuple[Application, dict[str, cbor.Value]]:
    """Return the application of a file, and the arguments of the call that brings it into the ledger.

    Raises:
        DataError: The file holds something else.
    """
    raw = read_bounded(path, bytes_max=2 * APPLICATION_BYTES_MAX)
    try:
        fields = Fields(cbor.decode(raw), _FILE, "file")
        wanted = decode_application(fields.octets("application", 1, APPLICATION_BYTES_MAX))
        fields.octets("signature", SIGNATURE_BYTES, SIGNATURE_BYTES)
    except WireError as error:
        raise DataError(f"{path} holds no application as 'gridwitness members request' writes it: {error}") from error
    return wanted, {name: fields.raw(name) for name in _FILE}


def in_days(days: int | None) -> int | None:
    """Return the time in so many days, milliseconds since 1970 UTC; None for none."""
    return None if days is None else time.time_ns() // 1_000_000 + days * DAY_MS

"""New keys of operators and gateways, and what they say of themselves: so that a secret stays where it was made.

Whoever holds a new key signs that it is for an account of an organisation. Where the key is not on the machine of that
organisation, the word goes there in a file, ACCOUNT.word (docs/spec, clause MB-19).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.members import chain_of
from client.ways import Way
from kit.exitcodes import DataError
from kit.files import read_bounded
from kit.http import NodeClient
from kit.keystore import KeyFile, load_signing_key
from wire import cbor
from wire.cose import SIGNATURE_BYTES, kid_of
from wire.errors import WireError
from wire.fields import Fields
from wire.membership import REGISTER, REPLACE, key_bytes, register_bytes

SUFFIX: Final = ".word"
_BYTES_MAX: Final = 1024
_WORD: Final = ("account", "chain", "key", "organisation", REGISTER, REPLACE)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that an account is to have."""

    public: bytes
    signature: bytes
    """That it is for this account, by itself."""

    @property
    def kid(self) -> bytes:
        """Its id."""
        return kid_of(self.public)


def write_word(key: KeyFile, chain: str, organisation: str, account: str) -> bytes:
    """Return the file in which a new key says that it is for an account of an organisation."""
    return cbor.encode(
        {
            "account": account,
            "chain": chain,
            "key": key.public,
            "organisation": organisation,
            REGISTER: _sign(key, register_bytes(chain, organisation, account, key.public)),
            REPLACE: _sign(key, key_bytes(chain, account, REPLACE, None, key.public)),
        }
    )


def read_new_key(path: Path, client: NodeClient, way: Way, account: str, purpose: str) -> NewKey:
    """Return a new key of an account of the organisation that makes the call, with what it says of itself.

    Args:
        path: NAME.key, or the NAME.word that its holder handed over.
        client: Tells the name of the ledger.
        way: Of the organisation's call.
        account: Operator or gateway.
        purpose: `REGISTER` or `REPLACE`.

    Raises:
        DataError: It is neither, or a word for something else.
    """
    chain = chain_of(client)
    if path.suffix != SUFFIX:
        key = load_signing_key(path)
        raw = write_word(key, chain, way.account, account)
    else:
        raw = read_bounded(path, bytes_max=_BYTES_MAX)
    try:
        fields = Fields(cbor.decode(raw), _WORD, "word")
        said = {name: fields.text(name) for name in ("account", "organisation", "chain")}
        found = NewKey(fields.digest("key"), fields.octets(purpose, SIGNATURE_BYTES, SIGNATURE_BYTES))
    except WireError as error:
        raise DataError(f"{path} holds no word of a key as 'gridwitness members word' writes it: {error}") from error
    for name, due in (("account", account), ("organisation", way.account), ("chain", chain)):
        if said[name] != due:
            raise DataError(f"{path} is for {name} {said[name]}, not {due}; 'gridwitness members word' writes another")
    return found


def _sign(key: KeyFile, message: bytes) -> bytes:
    return key.signing_key.sign(message).signature

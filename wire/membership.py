"""What members sign outside of transactions: applications and words about keys (docs/spec, clauses MB-4 and MB-7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.fields import Fields
from wire.genesis import ROLES
from wire.types import Digest

APPLICATION_BYTES_MAX: Final = 4096
REQUEST_BYTES_MAX: Final = 2048
_APPLICATION_DOMAIN: Final = b"gridwitness/application/1"
_KEY_DOMAIN: Final = b"gridwitness/key/1"
_NAMES: Final = ("chain", "organisation", "role", "parent", "title", "key", "root_key", "request")

REGISTER: Final = "register"
ROTATE: Final = "rotate"
REPLACE: Final = "replace"
RECOVER: Final = "recover"
REVOKE: Final = "revoke"
ROOT: Final = "root"


@dataclass(frozen=True, slots=True)
class Application:
    """Who asks to become a member, and with which keys."""

    chain: str
    """Name of the ledger."""
    organisation: str
    """Identifier that it would have."""
    role: str
    """One of `wire.genesis.ROLES`."""
    parent: str | None
    """In whose jurisdiction it would be."""
    title: str
    """What people call it, 1..256 characters."""
    key: bytes
    """Ed25519 public key of its account."""
    root_key: bytes | None
    """Ed25519 public key that stands for it when all others are lost."""
    request: bytes
    """PKCS #10 request for its certificate, DER, 1..2,048 bytes; the consortium's authority judges it."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return cbor.encode({name: getattr(self, name) for name in _NAMES})


def decode_application(raw: bytes) -> Application:
    """Decode an application and check every field.

    Raises:
        CborError: Not canonical, or longer than 4,096 bytes.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=APPLICATION_BYTES_MAX), _NAMES, "application")
    return Application(
        fields.identifier("chain"),
        fields.identifier("organisation"),
        fields.choice("role", ROLES),
        None if fields.is_null("parent") else fields.identifier("parent"),
        fields.text("title", characters_min=1),
        fields.digest("key"),
        None if fields.is_null("root_key") else fields.digest("root_key"),
        fields.octets("request", 1, REQUEST_BYTES_MAX),
    )


def application_bytes(raw: bytes) -> bytes:
    """Return what the applicant's account key signs, and its root key if it has one.

    Args:
        raw: The canonical application.
    """
    return _APPLICATION_DOMAIN + raw


def key_bytes(chain: str, account: str, purpose: str, old: bytes | Digest | None, new: bytes | None) -> bytes:
    """Return what a key signs to show that somebody holds it, or what an organisation's root key signs about others.

    Args:
        chain: Name of the ledger.
        account: Account that the keys are for.
        purpose: register, rotate, replace, revoke or root; for recover see `recovery_bytes`.
        old: Public key that is given up, its kid when it is revoked; None when none is named.
        new: Public key that comes; None when none does.
    """
    return _KEY_DOMAIN + cbor.encode([chain, account, purpose, old, new])


def recovery_bytes(chain: str, account: str, new: bytes, number: int, expires_ms: int) -> bytes:
    """Return what the new key of an organisation and its root key sign when all others are lost: for once, and in time.

    Args:
        chain: Name of the ledger.
        account: The organisation.
        new: Public key that comes.
        number: Of this recovery of the organisation, from 1 on.
        expires_ms: Last block time at which it may be decided.
    """
    return _KEY_DOMAIN + cbor.encode([chain, account, RECOVER, None, new, number, expires_ms])


def register_bytes(chain: str, organisation: str, account: str, new: bytes) -> bytes:
    """Return what the first key of an operator or gateway signs: for nobody but the organisation that registers it.

    Args:
        chain: Name of the ledger.
        organisation: That the account is to belong to.
        account: Its name.
        new: Public key.
    """
    return key_bytes(chain, f"{organisation}/{account}", REGISTER, None, new)

"""What the parts of the contract `membership` share: arguments, signatures, keys and certificates in its namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import Context, Reads, Refused
from wire.cose import SIGNATURE_BYTES, kid_of, verify_ed25519
from wire.errors import FormatError, SignatureError
from wire.fields import Fields
from wire.genesis import CERTIFICATE_BYTES_MAX, AccountKey
from wire.types import Digest, sha256

REASON_CHARACTERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Recorded:
    """A certificate that the super node recorded."""

    digest: Digest
    account: str
    """For which it was issued."""
    certificate: bytes
    """Framed like DER; what is in it, who uses it sees."""
    revoked_height: int | None
    """Block that revoked it."""


@contextmanager
def bad_arguments() -> Iterator[None]:
    """Refuse the call when its arguments are not what is read from them.

    Raises:
        Refused: bad-args.
    """
    try:
        yield
    except FormatError:
        raise Refused("bad-args") from None


def signature_of(fields: Fields, name: str) -> bytes:
    """Return an argument that is a signature."""
    return fields.octets(name, SIGNATURE_BYTES, SIGNATURE_BYTES)


def signature_or_none(fields: Fields, name: str) -> bytes | None:
    """Return an argument that is a signature or null."""
    return None if fields.is_null(name) else signature_of(fields, name)


def reason_of(fields: Fields) -> str:
    """Return the argument that says why, for people."""
    return fields.text("reason", REASON_CHARACTERS_MAX, characters_min=1)


def check_organisation(context: Context) -> None:
    """Refuse what an organisation does by itself when one of its operators or gateways asks for it.

    Raises:
        Refused: not-an-organisation.
    """
    if context.sender != context.organisation:
        raise Refused("not-an-organisation")


def check_data_centre(context: Context) -> None:
    """Refuse what only organisations do that run a validator.

    Raises:
        Refused: not-a-data-centre.
    """
    if context.sender != context.organisation or not validator_records.is_validator(context, context.organisation):
        raise Refused("not-a-data-centre")


def is_super_node(context: Context) -> bool:
    """Tell whether an organisation with the role dispatch-centre calls."""
    is_itself = context.sender == context.organisation
    return is_itself and membership.role(context, context.organisation) == membership.SUPER_NODE


def check_signature(key: bytes, signed: bytes, signature: bytes) -> None:
    """Refuse a signature that does not verify.

    Raises:
        Refused: bad-signature.
    """
    try:
        verify_ed25519(key, signed, signature)
    except SignatureError:
        raise Refused("bad-signature") from None


def check_fresh_key(context: Context, key: bytes) -> None:
    """Refuse a public key that anybody has or had, as an account, as a root or as a validator.

    Raises:
        Refused: key-in-use.
    """
    if membership.is_key_known(context, key) or validator_records.is_key_known(context, key):
        raise Refused("key-in-use")


def add_key(context: Context, key: bytes, account: str, organisation: str) -> None:
    """Let a fresh key sign for an account."""
    kid = kid_of(key)
    context.put(membership.account_key_entry(kid), membership.account_key_value(AccountKey(key, account, organisation)))
    context.put(membership.signs_entry(account, kid), value=True)
    context.emit("key_added", account, {"account": account, "organisation": organisation, "key": key, "kid": kid})


def retire_key(context: Context, kid: bytes, account: str, reason: str) -> None:
    """Take a key from its account for ever."""
    context.delete(membership.account_key_entry(kid))
    context.delete(membership.signs_entry(account, kid))
    context.put(membership.retired_entry(kid), {"sender": account, "reason": reason, "height": context.height})
    context.emit("key_retired", account, {"account": account, "kid": kid, "reason": reason})


def retire_all(context: Context, account: str, reason: str) -> None:
    """Take all keys from an account for ever."""
    for kid in tuple(membership.keys_of(context, account)):
        retire_key(context, kid, account, reason)


def certificate_of(fields: Fields, name: str) -> bytes:
    """Return an argument that is framed like a certificate; what is in it, who uses it sees."""
    return fields.octets(name, 1, CERTIFICATE_BYTES_MAX)


def certificate_entry(digest: Digest) -> bytes:
    """Return the key of the state entry of a certificate."""
    return b"certificate/" + digest


def add_certificate(context: Context, certificate: bytes, account: str) -> Digest:
    """Record that the consortium's authority issued a certificate to an account, and return its digest.

    Raises:
        Refused: bad-certificate: it is no DER sequence; certificate-in-use.
    """
    if not validator_records.is_der_sequence(certificate):
        raise Refused("bad-certificate")
    digest = sha256(certificate)
    if context.get(certificate_entry(digest)) is not None:
        raise Refused("certificate-in-use")
    context.put(
        certificate_entry(digest),
        {"account": account, "certificate": certificate, "height": context.height, "revoked": None},
    )
    context.emit("certificate_added", account, {"account": account, "certificate": digest})
    return digest


def certificates(state: Reads) -> Iterator[Recorded]:
    """Yield all certificates that were ever recorded, by ascending digest."""
    for key, value in state.namespace(membership.NAMESPACE).scan(certificate_entry(b"")):
        fields = Fields(value, ("account", "certificate", "height", "revoked"), "membership.certificate")
        yield Recorded(
            key[len(certificate_entry(b"")) :],
            fields.identifier("account"),
            fields.octets("certificate", 1, CERTIFICATE_BYTES_MAX),
            None if fields.is_null("revoked") else fields.integer("revoked", 1),
        )

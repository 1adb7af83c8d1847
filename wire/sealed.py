"""Sealed files: contents that only the holders of some keys can open (docs/spec, clauses HS-1 to HS-5).

A content is encrypted once, under a key of its own; that key is wrapped for each reader. Other readers, or a reader's
new key, change the wraps alone. This module knows the bytes; `kit.sealing` encrypts.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import Final

from wire import cbor
from wire.blob import BLOB_BYTES_MAX
from wire.cose import KID_BYTES
from wire.errors import FormatError
from wire.fields import Fields
from wire.grants import check_class, split_subject
from wire.types import Digest, check_ascending

TYPE: Final = "gridwitness/sealed/1"
CONTENT_BYTES_MAX: Final = BLOB_BYTES_MAX - 128 * 1024
"""Of a content: with 256 wraps and the rest it fits into a blob."""
TAG_BYTES: Final = 16
"""By which a ciphertext is longer than its content."""
WRAPPED_BYTES: Final = 80
"""enc of 32 bytes, the content key of 32 bytes, tag of 16 bytes (RFC 9180)."""
CONTENT_KEY_BYTES: Final = 32
WRAPS_MAX: Final = 256
TITLE_CHARACTERS_MAX: Final = 128
_NAMES: Final = ("type", "chain", "class", "subject", "title", "content", "ciphertext", "wraps")
_WRAP: Final = ("account", "kid", "wrapped")
"""Of every sealed file: a map of eight fields, of which "type" is the first in canonical order."""


@dataclass(frozen=True, slots=True)
class Label:
    """What everybody may know of a sealed content, and what it is bound to."""

    chain: str
    """Ledger that it is for."""
    data_class: str
    subject: str
    title: str
    """1..128 characters."""

    def to_value(self) -> list[cbor.Value]:
        """Return what is bound, in the order of the clauses."""
        return [TYPE, self.chain, self.data_class, self.subject, self.title]


@dataclass(frozen=True, slots=True)
class Wrap:
    """The content key for one reader."""

    account: str
    kid: bytes
    """SHA-256 of the reader's X25519 key, its first 16 bytes."""
    wrapped: bytes

    def to_value(self) -> dict[str, cbor.Value]:
        """Return the plain value."""
        return {name: getattr(self, name) for name in _WRAP}


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A content that only the holders of the wraps' keys can open."""

    label: Label
    content: Digest
    """Keyed digest of the content: the same however often it is wrapped anew."""
    ciphertext: bytes
    wraps: tuple[Wrap, ...]
    """By account, each once."""

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            WireError: What `decode_sealed` would refuse.
        """
        raw = cbor.encode(
            {
                "type": TYPE,
                "chain": self.label.chain,
                "class": self.label.data_class,
                "subject": self.label.subject,
                "title": self.label.title,
                "content": self.content,
                "ciphertext": self.ciphertext,
                "wraps": [wrap.to_value() for wrap in self.wraps],
            }
        )
        decode_sealed(raw)
        return raw

    def kids(self) -> tuple[bytes, ...]:
        """Return the ids of the keys for which it is wrapped, ascending."""
        return tuple(sorted(wrap.kid for wrap in self.wraps))

    def rewrapped(self, wraps: tuple[Wrap, ...]) -> SealedFile:
        """Return the same content for other readers."""
        return replace(self, wraps=tuple(sorted(wraps, key=lambda wrap: wrap.account)))


def decode_sealed(raw: bytes) -> SealedFile:
    """Decode a sealed file.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(raw, bytes_max=BLOB_BYTES_MAX), _NAMES, "sealed")
    fields.choice("type", (TYPE,))
    title = fields.text("title", TITLE_CHARACTERS_MAX, characters_min=1)
    subject = fields.text("subject")
    split_subject(subject)
    wraps = tuple(_wrap(value) for value in fields.sequence("wraps", WRAPS_MAX))
    if not wraps:
        raise FormatError("sealed.wraps: a content that nobody can open is none")
    check_ascending([wrap.account for wrap in wraps], "sealed.wraps")
    return SealedFile(
        Label(fields.identifier("chain"), check_class(fields.raw("class")), subject, title),
        fields.digest("content"),
        fields.octets("ciphertext", TAG_BYTES, CONTENT_BYTES_MAX + TAG_BYTES),
        wraps,
    )


def content_digest(label: Label, content_key: bytes, content: bytes) -> Digest:
    """Return the keyed digest that names a content.

    It binds the key: no other key opens the same file to another content. Without the key it tells nothing of a content
    that could be guessed.
    """
    bound = cbor.encode([*label.to_value(), "content"])
    return hmac.digest(content_key, bound + hashlib.sha256(content).digest(), "sha256")


def content_aad(label: Label) -> bytes:
    """Return the associated data of a content's encryption."""
    return cbor.encode([*label.to_value(), "ciphertext"])


def wrap_info(label: Label, content: Digest, account: str) -> bytes:
    """Return the HPKE info of a wrap: for which content and reader it is."""
    return cbor.encode([*label.to_value(), "wrap", content, account])


def _wrap(value: cbor.Value) -> Wrap:
    fields = Fields(value, _WRAP, "sealed.wraps")
    return Wrap(
        fields.identifier("account"),
        fields.octets("kid", KID_BYTES, KID_BYTES),
        fields.octets("wrapped", WRAPPED_BYTES, WRAPPED_BYTES),
    )

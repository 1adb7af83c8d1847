"""Seals contents for the holders of X25519 keys and opens them: HPKE (RFC 9180) around ChaCha20-Poly1305.

The suite is DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305 in base mode, single-shot, with the context in
``info`` (RFC 9180, 8.1). A content key is drawn anew for every content, so that its one nonce is zero.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from kit.exitcodes import DataError, PermissionDeniedError, StorageError
from kit.files import MODE_PRIVATE, read_bounded, refuse_if_readable_by_others, write_new
from wire.cose import kid_of
from wire.sealed import (
    CONTENT_BYTES_MAX,
    CONTENT_KEY_BYTES,
    Label,
    SealedFile,
    Wrap,
    content_aad,
    content_digest,
    wrap_info,
)
from wire.types import check_identifier

KEY_TYPE: Final = "x25519"
_FILE_BYTES_MAX: Final = 4096
_HEX_32: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIELDS: Final = frozenset({"type", "name", "public", "kid", "secret"})
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_NONCE: Final = bytes(12)


@dataclass(frozen=True, slots=True)
class ReadingKey:
    """A key that opens what is sealed for it. The secret never shows in a repr."""

    name: str
    private: X25519PrivateKey = field(repr=False)
    public: bytes
    """32 bytes."""

    @property
    def kid(self) -> bytes:
        """Return the id of the key, 16 bytes."""
        return kid_of(self.public)


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody for whom a content is sealed."""

    account: str
    public: bytes
    """X25519 key, 32 bytes, as the ledger has it."""


def create_reading_key(folder: Path, name: str) -> ReadingKey:
    """Make a new key and write NAME.reading (secret, mode 0600); nothing is overwritten.

    Raises:
        FormatError: The name is no identifier.
        StorageError: The file exists.
    """
    check_identifier(name, "key name")
    path = folder / f"{name}.reading"
    if path.exists():
        raise StorageError(f"{path} exists and is never overwritten; choose another name or move it away")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = X25519PrivateKey.generate()
    key = ReadingKey(name, private, private.public_key().public_bytes_raw())
    shown = {"type": KEY_TYPE, "name": name, "public": key.public.hex(), "kid": key.kid.hex()}
    values = {**shown, "secret": private.private_bytes_raw().hex()}
    write_new(path, f"{json.dumps(values, indent=2)}\n".encode(), mode=MODE_PRIVATE)
    return key


def load_reading_key(path: Path) -> ReadingKey:
    """Read NAME.reading.

    Raises:
        PermissionDeniedError: Group or others may read it.
        DataError: It is no such file, or its parts do not belong together.
        StorageError: There is none.
    """
    if not path.is_file():
        raise StorageError(f"there is no key file {path}; make one with: gridwitness access new-key NAME")
    refuse_if_readable_by_others(path)
    try:
        values = json.loads(read_bounded(path, bytes_max=_FILE_BYTES_MAX))
    except ValueError as error:
        raise DataError(f"{path} is no JSON, so it is no reading key") from error
    if not isinstance(values, dict) or values.keys() != _FIELDS or values["type"] != KEY_TYPE:
        raise DataError(f"{path} is no reading key; expected what 'gridwitness access new-key' wrote")
    secret = str(values["secret"])
    if _HEX_32.fullmatch(secret) is None:
        raise DataError(f"{path}: 'secret' is not 32 bytes of lower-case hex")
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    key = ReadingKey(
        check_identifier(values["name"], f"{path}: name"), private, private.public_key().public_bytes_raw()
    )
    if values["public"] != key.public.hex() or values["kid"] != key.kid.hex():
        raise DataError(f"{path}: its parts do not belong together; the file was edited or damaged")
    return key


def seal(label: Label, content: bytes, readers: Iterable[Reader]) -> SealedFile:
    """Encrypt a content for some readers.

    Args:
        label: What everybody may know, and what it is bound to.
        content: 0..33,423,360 bytes.
        readers: 1..256.

    Raises:
        DataError: The content is too long, or a reader's key cannot be used.
        FormatError: The label is out of range, or a reader comes twice.
    """
    if len(content) > CONTENT_BYTES_MAX:
        raise DataError(f"a content of {len(content)} bytes cannot be sealed, at most {CONTENT_BYTES_MAX} are allowed")
    content_key = secrets.token_bytes(CONTENT_KEY_BYTES)
    digest = content_digest(label, content_key, content)
    ciphertext = ChaCha20Poly1305(content_key).encrypt(_NONCE, content, content_aad(label))
    made = SealedFile(label, digest, ciphertext, ()).rewrapped(_wraps(label, digest, content_key, readers))
    made.encode()
    return made


def rewrap(file: SealedFile, key: ReadingKey, readers: Iterable[Reader]) -> SealedFile:
    """Wrap the same content for other readers; content and ciphertext stay as they are.

    Raises:
        PermissionDeniedError: It is not sealed for ``key``.
        DataError: It does not open, or a reader's key cannot be used.
    """
    content_key, _ = _open(file, key)
    made = file.rewrapped(_wraps(file.label, file.content, content_key, readers))
    made.encode()
    return made


def open_sealed(file: SealedFile, key: ReadingKey) -> bytes:
    """Return the content, when it is the one that the file names.

    Raises:
        PermissionDeniedError: It is not sealed for ``key``.
        DataError: It does not open, or holds another content than it names.
    """
    _, content = _open(file, key)
    return content


def _wraps(label: Label, content: bytes, content_key: bytes, readers: Iterable[Reader]) -> tuple[Wrap, ...]:
    return tuple(_wrap(label, content, content_key, reader) for reader in readers)


def _wrap(label: Label, content: bytes, content_key: bytes, reader: Reader) -> Wrap:
    info = wrap_info(label, content, reader.account)
    try:
        wrapped = _SUITE.encrypt(content_key, X25519PublicKey.from_public_bytes(reader.public), info=info)
    except ValueError as error:
        raise DataError(f"the reading key of {reader.account} cannot be used: {error}") from error
    return Wrap(reader.account, kid_of(reader.public), wrapped)


def _open(file: SealedFile, key: ReadingKey) -> tuple[bytes, bytes]:
    """Return the content key and the content."""
    wrap = next((entry for entry in file.wraps if entry.kid == key.kid), None)
    if wrap is None:
        raise PermissionDeniedError(f"{file.label.title} is not sealed for the key {key.name} ({key.kid.hex()})")
    try:
        content_key = _SUITE.decrypt(wrap.wrapped, key.private, info=wrap_info(file.label, file.content, wrap.account))
        content = ChaCha20Poly1305(content_key).decrypt(_NONCE, file.ciphertext, content_aad(file.label))
    except (InvalidTag, ValueError) as error:
        raise DataError(f"{file.label.title} does not open with the key {key.name}: it was changed") from error
    if not hmac.compare_digest(content_digest(file.label, content_key, content), file.content):
        raise DataError(f"{file.label.title} holds another content than it names")
    return content_key, content

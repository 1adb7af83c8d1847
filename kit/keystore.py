"""Ed25519 keys on disk: NAME.key (secret, mode 0600), NAME.pub, NAME.seq (what it signed)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

from kit.exitcodes import DataError, StorageError, TryAgainError
from kit.files import (
    MODE_PRIVATE,
    read_bounded,
    refuse_if_readable_by_others,
    write_atomic,
    write_new,
)
from wire.cose import kid_of
from wire.types import INT_MAX, check_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY_TYPE: Final = "ed25519"
KEY_FILE_BYTES_MAX: Final = 4096
SEED_BYTES: Final = 32
LOCK_WAIT_MS_MAX: Final = 5000
_LOCK_PAUSE_S: Final = 0.01
_HEX_32 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SEQ_TEXT = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_FIELDS_PUBLIC: Final = frozenset({"type", "name", "public", "kid"})
_FIELDS_SECRET: Final = _FIELDS_PUBLIC | {"secret"}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What others may know of a key: 32 public bytes and the 16-byte key id made from them."""

    name: str
    public: bytes
    kid: bytes


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key that can sign. The secret never shows in a repr."""

    name: str
    signing_key: SigningKey = field(repr=False)
    public: bytes
    kid: bytes


def create_key(folder: Path, name: str) -> KeyFile:
    """Make a new key and write NAME.key, NAME.pub and NAME.seq (0); nothing is overwritten.

    Args:
        folder: Made with mode 0700 if it is missing.
        name: 1..64 characters of ``a-z 0-9 -``.

    Raises:
        FormatError: The name does not fit.
        StorageError: One of the files exists.
    """
    check_identifier(name, "key name")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = {suffix: folder / f"{name}.{suffix}" for suffix in ("key", "pub", "seq")}
    for path in paths.values():
        if path.exists():
            message = f"{path} exists and is never overwritten; choose another name or move it away"
            raise StorageError(message)
    signing_key = SigningKey.generate()
    public = bytes(signing_key.verify_key)
    shown = {"type": KEY_TYPE, "name": name, "public": public.hex(), "kid": kid_of(public).hex()}
    secret = {**shown, "secret": bytes(signing_key).hex()}
    write_new(paths["seq"], b"0\n", mode=MODE_PRIVATE)
    write_new(paths["pub"], _to_json(shown))
    # The secret comes last: a key without its counter must not exist.
    write_new(paths["key"], _to_json(secret), mode=MODE_PRIVATE)
    return KeyFile(name=name, signing_key=signing_key, public=public, kid=kid_of(public))


def load_signing_key(path: Path) -> KeyFile:
    """Read NAME.key.

    Raises:
        PermissionDeniedError: Group or others may read it; the message holds the chmod to run.
        DataError: The public half, wrong JSON, or the public key or key id does not belong to the secret.
        StorageError: There is no such file.
    """
    _require(path)
    if path.suffix == ".pub":
        raise DataError(f"{path} is the public half, which signs nothing; give {path.with_suffix('.key').name}")
    refuse_if_readable_by_others(path)
    values = _read_fields(path, _FIELDS_SECRET)
    signing_key = SigningKey(_hex_32(path, "secret", values["secret"]))
    public = bytes(signing_key.verify_key)
    if values["public"] != public.hex():
        message = (
            f"{path}: 'public' does not belong to 'secret'; the file was edited or damaged, restore it from a copy"
        )
        raise DataError(message)
    _check_kid(path, values, public)
    return KeyFile(name=values["name"], signing_key=signing_key, public=public, kid=kid_of(public))


def load_public_key(path: Path) -> PublicKey:
    """Read NAME.pub.

    Raises:
        DataError: Wrong JSON, or the key id does not belong to the public key.
        StorageError: There is no such file.
    """
    _require(path)
    values = _read_fields(path, _FIELDS_PUBLIC)
    public = _hex_32(path, "public", values["public"])
    _check_kid(path, values, public)
    return PublicKey(name=values["name"], public=public, kid=kid_of(public))


def next_seq(key_path: Path, *, wait_ms: int = LOCK_WAIT_MS_MAX) -> int:
    """Take the next number of a key; it is on disk before it is returned, so none comes twice.

    Args:
        key_path: NAME.key; the counter lies beside it as NAME.seq.
        wait_ms: How long to wait for another process that takes a number, 0..60,000 ms.

    Returns:
        1..2^63-1, each number once. A crash may leave a gap, which the ledger allows.

    Raises:
        StorageError: NAME.seq is missing.
        DataError: NAME.seq holds no number, or the counter is used up.
        TryAgainError: Another process holds the lock for too long.
    """
    path = key_path.with_suffix(".seq")
    with _locked(key_path.with_suffix(".seq.lock"), wait_ms):
        if not path.exists():
            message = (
                f"{path} is missing; it counts what this key has signed: write into it the highest "
                f"seq that the ledger knows of key {key_path.stem}, or 0 if it has never signed"
            )
            raise StorageError(message)
        text = read_bounded(path, bytes_max=64)
        if not _SEQ_TEXT.fullmatch(text):
            message = f"{path} holds no whole number; write into it the highest seq that the ledger knows of this key"
            raise DataError(message)
        seq = int(text) + 1
        if seq > INT_MAX:
            message = f"{path}: this key has used up its counter; make a new key"
            raise DataError(message)
        write_atomic(path, f"{seq}\n".encode(), mode=MODE_PRIVATE)
    return seq


def _to_json(values: dict[str, str]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _require(path: Path) -> None:
    if not path.is_file():
        message = f"there is no key file {path}; make one with: gridwitness keys new NAME"
        raise StorageError(message)


def _read_fields(path: Path, expected: frozenset[str]) -> dict[str, str]:
    data = read_bounded(path, bytes_max=KEY_FILE_BYTES_MAX)
    try:
        values: dict[str, str] = json.loads(data)
    except ValueError as error:
        message = f"{path} is no JSON, so it is no key file"
        raise DataError(message) from error
    fits = isinstance(values, dict) and values.keys() == expected
    if not fits or not all(isinstance(value, str) for value in values.values()):
        message = f"{path} is no key file: expected a JSON object with exactly the texts {', '.join(sorted(expected))}"
        raise DataError(message)
    if values["type"] != KEY_TYPE:
        message = f"{path}: key type {values['type']!r} is unknown; expected {KEY_TYPE!r}"
        raise DataError(message)
    check_identifier(values["name"], f"{path}: name")
    return values


def _hex_32(path: Path, what: str, text: str) -> bytes:
    if not _HEX_32.fullmatch(text):
        message = f"{path}: {what!r} is not {SEED_BYTES} bytes of lower-case hex"
        raise DataError(message)
    return bytes.fromhex(text)


def _check_kid(path: Path, values: dict[str, str], public: bytes) -> None:
    if values["kid"] != kid_of(public).hex():
        message = f"{path}: 'kid' does not belong to 'public'; the file was edited or damaged"
        raise DataError(message)


@contextlib.contextmanager
def _locked(path: Path, wait_ms: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE_PRIVATE)
    try:
        deadline_s = time.monotonic() + wait_ms / 1000
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline_s:
                message = f"another process holds {path} for more than {wait_ms} ms; try again when it is done"
                raise TryAgainError(message)
            time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

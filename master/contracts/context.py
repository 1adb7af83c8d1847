"""What a contract sees of the world: its own namespace, other contracts' read functions, the call, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from wire.blob import BLOB_BYTES_MAX, BlobRef
from wire.cbor import Value
from wire.errors import FormatError
from wire.receipt import Event
from wire.types import DIGEST_BYTES, Digest, check_identifier

OK: Final = "ok"
"""Code of a call that did what it was asked."""
KEY_BYTES_MAX: Final = 400
"""Longest key of a state entry."""
EVENT_SUBJECT_CHARACTERS_MAX: Final = 256


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """A contract does not do what the call asks; all writes and events of the call are dropped.

    Args:
        code: Identifier that goes into the outcome.
    """

    def __init__(self, code: str) -> None:
        super().__init__(check_identifier(code, "code"))
        self.code = code


class Entries(Protocol):
    """The entries of one namespace, for reading."""

    def get(self, key: bytes) -> Value | None:
        """Return the value under ``key``, a fresh copy, or None."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, Value]]:
        """Yield keys that start with ``prefix`` and their values in ascending order of key."""


class Reads(Protocol):
    """The state as read functions see it; only a contract's own read functions name its namespace."""

    def namespace(self, name: str) -> Entries:
        """Return the entries of a namespace, the changes of this call included."""


class BlockContext(Reads, Protocol):
    """What a contract may do in a block, with or without a call."""

    @property
    def time_ms(self) -> int:
        """Block time, milliseconds since 1970 UTC."""

    @property
    def height(self) -> int:
        """Height of the block."""

    def get(self, key: bytes) -> Value | None:
        """Return the contract's own value under ``key``, a fresh copy, or None."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, Value]]:
        """Yield the contract's own entries under ``prefix`` in ascending order of key."""

    def put(self, key: bytes, value: Value) -> None:
        """Write the contract's own value under ``key``, 1..400 bytes."""

    def put_encoded(self, key: bytes, raw: bytes) -> None:
        """Write the contract's own value under ``key`` by its canonical bytes, as a decoder has found them."""

    def delete(self, key: bytes) -> None:
        """Remove the contract's own value under ``key``, if there is one."""


class Context(BlockContext, Protocol):
    """One call of one contract method."""

    @property
    def chain(self) -> str:
        """Name of the ledger."""

    @property
    def tx_id(self) -> Digest:
        """Id of the transaction."""

    @property
    def sender(self) -> str:
        """Account that calls: a gateway's or an organisation's id."""

    @property
    def organisation(self) -> str:
        """Organisation that owns the signing key."""

    @property
    def kid(self) -> bytes:
        """Key id, 16 bytes, of the signing key."""

    def emit(self, event_type: str, subject: str, data: dict[str, Value]) -> None:
        """Say that something happened; ``subject`` is at most 256 characters."""

    def told(self) -> tuple[int, int]:
        """Return how many events the transaction has given so far, and their bytes as an outcome holds them."""


Method = Callable[[Context, dict[str, Value]], str]
"""Executes one call and returns `OK`, or another code when the call did nothing but answer.

Raises:
    Refused: The call is not done; its writes and events are dropped.
"""

Opening = Callable[[BlockContext, Digest], None]
"""Looks at every block before its transactions; takes the state root of the block before it. It must cost next to
nothing while it has nothing to do."""

Activation = Callable[[BlockContext], None]
"""Runs once, before everything else in the first block of a version that takes the place of another."""

Reaction = Callable[[Context, Event], None]
"""Follows up an event of another contract within the same transaction; it cannot refuse."""


@dataclass(frozen=True, slots=True)
class BlobArgument:
    """Two arguments of a method that together name a blob; a digest of null names none."""

    digest: str
    """Name of the argument with the SHA-256."""
    size: str
    """Name of the argument with the number of bytes."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one contract: an entry of the table."""

    name: str
    """Also its namespace."""
    version: int
    methods: Mapping[str, Method]
    reactions: Mapping[tuple[str, str], Reaction]
    """(contract, event type) -> what this contract does about it; events of reactions start no further ones."""
    modules: tuple[str, ...]
    """Modules whose source the code table digests, sorted."""
    opening: Opening | None = None
    activation: Activation | None = None
    """Turns the entries of the version before into its own; None where they are the same."""
    speaks_from: int | None = None
    """Oldest version whose calls it takes as its own, so that what was signed before an upgrade still counts; None:
    calls of its own version alone."""

    blobs: Mapping[str, tuple[BlobArgument, ...]] = field(default_factory=dict)
    """Method -> which of its arguments name blobs; no node votes for a block whose blobs it does not hold."""

    def takes(self, version: int) -> bool:
        """Tell whether a call that names ``version`` of this contract is one for it."""
        oldest = self.version if self.speaks_from is None else self.speaks_from
        return oldest <= version <= self.version


def blob_of(args: Mapping[str, Value], argument: BlobArgument) -> BlobRef | None:
    """Return the blob that two arguments name, None when they name none or are not of their form."""
    digest, size = args.get(argument.digest), args.get(argument.size)
    if type(digest) is not bytes or len(digest) != DIGEST_BYTES:
        return None
    if type(size) is not int or not 1 <= size <= BLOB_BYTES_MAX:
        return None
    return BlobRef(digest, size)


def blob_argument(args: Mapping[str, Value], argument: BlobArgument) -> BlobRef:
    """Return the blob that two arguments name.

    Raises:
        Refused: bad-blob, no digest of 32 bytes, or no size of 1..32 MiB.
    """
    found = blob_of(args, argument)
    if found is None:
        raise Refused("bad-blob")
    return found


def digest_argument(args: dict[str, Value], name: str) -> Digest:
    """Return an argument of exactly 32 bytes.

    Raises:
        Refused: bad-args.
    """
    value = args[name]
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES:
        raise Refused("bad-args")
    return value


def bytes_argument(args: dict[str, Value], name: str) -> bytes:
    """Return an argument that is a byte string.

    Raises:
        Refused: bad-args.
    """
    value = args[name]
    if not isinstance(value, bytes):
        raise Refused("bad-args")
    return value


def check_arguments(args: dict[str, Value], names: tuple[str, ...]) -> None:
    """Refuse a call whose arguments are not exactly ``names``.

    Raises:
        Refused: bad-args.
    """
    if sorted(args) != sorted(names):
        raise Refused("bad-args")


def check_event_subject(subject: str) -> str:
    """Return the subject of an event when it is short enough.

    Raises:
        FormatError: Longer than 256 characters.
    """
    if len(subject) > EVENT_SUBJECT_CHARACTERS_MAX:
        raise FormatError("event subject: at most 256 characters are allowed")
    return subject

"""Who may read what: data classes, subjects, and grants that are never forgotten (docs/spec, clauses AC-1 to AC-3).

The grants of one class and subject stand in pages of the state. A grant is added behind the others and only ever gets
an end. Once all places are taken, a grant that is over gives up its own for a new one and goes to the pages of the
past, in the order in which they left; so the newest state says who could read at every height there has been.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wire.cbor import Value
from wire.errors import FormatError
from wire.fields import Fields
from wire.genesis import ROLES
from wire.types import INT_MAX, Digest, check_identifier, shown

PUBLIC: Final = "public"
"""What everybody may read; it needs no grant, and none is given."""
RESTRICTED: Final = ("contracts", "measurements", "settings")
"""Classes that are read with a grant alone."""
SUBJECTS: Final = ("device", "organisation", "station")
ALL: Final = "all"
"""The subject of a grant for every subject there is."""
READERS: Final = ("account", "organisation", "role")
PAGE_GRANTS: Final = 64
PAGES_MAX: Final = 64
"""Of one class and subject: 4,096 grants that have a place."""
NAMESPACE: Final = "access"
_PAST: Final = ("left_height", "grant")
_GRANT: Final = ("id", "reader", "by", "from_height", "from_ms", "until_ms", "ended_height", "ended_by")


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission to read."""

    id: Digest
    """Id of the transaction that gave it."""
    reader: str
    """``account/ID``, ``organisation/ID`` or ``role/ROLE``."""
    by: str
    """Account that gave it."""
    from_height: int
    """Block that holds the grant: it counts in the state after it."""
    from_ms: int | None
    """Block time, milliseconds since 1970 UTC, from which on it counts; None: at once."""
    until_ms: int | None
    """Block time at which it no longer counts; None: never ends by itself."""
    ended_height: int | None
    """Block that revoked it: it does not count in the state after it; None while nobody has."""
    ended_by: str | None
    """Account that revoked it."""

    def holds(self, height: int, time_ms: int) -> bool:
        """Tell whether it counts in the state after a block.

        Args:
            height: Of the block.
            time_ms: Its block time.
        """
        if height < self.from_height or (self.ended_height is not None and height >= self.ended_height):
            return False
        begun = self.from_ms is None or self.from_ms <= time_ms
        return begun and (self.until_ms is None or time_ms < self.until_ms)

    def is_over(self, height: int, time_ms: int) -> bool:
        """Tell whether it counts neither in the state after a block nor after any later one.

        Args:
            height: Of the block.
            time_ms: Its block time.
        """
        ended = self.ended_height is not None and self.ended_height <= height
        return ended or (self.until_ms is not None and self.until_ms <= time_ms)

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {name: getattr(self, name) for name in _GRANT}


@dataclass(frozen=True, slots=True)
class PastGrant:
    """A grant that gave up its place."""

    left_height: int
    """Block in which it did; it was over by then."""
    grant: Grant

    def to_value(self) -> dict[str, Value]:
        """Return the state value."""
        return {"left_height": self.left_height, "grant": self.grant.to_value()}


def page_key(data_class: str, subject: str, page: int) -> bytes:
    """Return the key of a page, counted from 0."""
    return f"grants/{data_class}/{subject}/{page:08}".encode("ascii")


def past_count_key(data_class: str, subject: str) -> bytes:
    """Return the key under which stands how many grants have given up their places."""
    return f"past/{data_class}/{subject}".encode("ascii")


def past_key(data_class: str, subject: str, page: int) -> bytes:
    """Return the key of a page of the past, counted from 0."""
    return past_count_key(data_class, subject) + f"/{page:08}".encode("ascii")


def decode_past(value: Value) -> tuple[PastGrant, ...]:
    """Return the grants of a page of the past in the order in which they left.

    Raises:
        FormatError: It is no such page.
    """
    entries = Fields(value, ("grants",), "access.past").sequence("grants", PAGE_GRANTS)
    if not entries:
        raise FormatError("access.past: a page has at least one grant")
    rows = (Fields(entry, _PAST, "access.past") for entry in entries)
    return tuple(PastGrant(row.integer("left_height", 1), _grant(row.raw("grant"))) for row in rows)


def decode_page(value: Value) -> tuple[Grant, ...]:
    """Return the grants of a page in the order in which they were given.

    Raises:
        FormatError: It is no page.
    """
    grants = Fields(value, ("grants",), "access.page").sequence("grants", PAGE_GRANTS)
    if not grants:
        raise FormatError("access.page: a page has at least one grant")
    return tuple(_grant(entry) for entry in grants)


def check_class(text: object) -> str:
    """Return a restricted class.

    Raises:
        FormatError: Anything else.
    """
    if not isinstance(text, str) or text not in RESTRICTED:
        raise FormatError(f"data class: one of {', '.join(RESTRICTED)} is due, found {shown(text)}")
    return text


def split_subject(text: object) -> tuple[str, str]:
    """Return kind and name of a subject: one of `SUBJECTS` and its id, or (`ALL`, "").

    Raises:
        FormatError: It is none.
    """
    if text == ALL:
        return ALL, ""
    kind, name = _split(text, "subject")
    if kind not in SUBJECTS:
        raise FormatError(f"subject: all, or one of {', '.join(SUBJECTS)} and its id is due, found {shown(text)}")
    return kind, check_identifier(name, f"subject {kind}")


def split_reader(text: object) -> tuple[str, str]:
    """Return kind and name of a reader: one of `READERS` and an id or role.

    Raises:
        FormatError: It is none.
    """
    kind, name = _split(text, "reader")
    if kind not in READERS or (kind == "role" and name not in ROLES):
        raise FormatError(f"reader: account/ID, organisation/ID or role/ROLE is due, found {shown(text)}")
    return kind, check_identifier(name, f"reader {kind}")


def _split(text: object, what: str) -> tuple[str, str]:
    if not isinstance(text, str):
        raise FormatError(f"{what}: text is due, found {shown(text)}")
    kind, _, name = text.partition("/")
    return kind, name


def _grant(value: Value) -> Grant:
    fields = Fields(value, _GRANT, "access.grant")
    reader = fields.text("reader")
    split_reader(reader)
    return Grant(
        id=fields.digest("id"),
        reader=reader,
        by=fields.identifier("by"),
        from_height=fields.integer("from_height", 1),
        from_ms=_integer(fields, "from_ms"),
        until_ms=_integer(fields, "until_ms"),
        ended_height=_integer(fields, "ended_height"),
        ended_by=None if fields.is_null("ended_by") else fields.identifier("ended_by"),
    )


def _integer(fields: Fields, name: str) -> int | None:
    return None if fields.is_null(name) else fields.integer(name, 0, INT_MAX)

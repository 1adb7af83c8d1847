"""What the agent and its IEC 61850 child process say to each other: frames of canonical CBOR, each with a bound.

The child reads what hostile devices send with a C library, so its words are checked like a device's: the length
before the bytes are taken, canonical form, and every field (docs/spec/mms.md, MM-1 to MM-3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from wire import cbor
from wire.errors import FormatError
from wire.fields import Fields

REQUEST_BYTES_MAX: Final = 16 * 1024
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
ANSWER_VALUES_MAX: Final = 256 * 1024
HEAD: Final = struct.Struct(">I")
"""Length of the frame that follows, in bytes."""
DETAIL_CHARACTERS_MAX: Final = 256
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest file that is fetched."""

FAULTS: Final = ("busy", "limit", "lost", "missing", "odd", "refused", "scl", "unreachable")
"""Why the child has no value.

busy: the device asks to come again. limit: more than a bound allows. lost: the association ended or no answer came.
missing: the device has no such object. odd: the device's answer does not fit its own description. refused: the device
gives no access. scl: the SCL file cannot be read. unreachable: no association.
"""
START: Final = 0
"""Number of the answer that the child gives unasked, when it is ready."""

_REQUEST: Final = ("number", "call", "arguments")
_ANSWER: Final = ("number", "fault", "detail", "value")


@dataclass(frozen=True, slots=True)
class Request:
    """One call."""

    number: int
    """From 1, one more with each call."""
    call: str
    arguments: dict[str, cbor.Value]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call."""

    number: int
    fault: str | None
    """One of `FAULTS`, None when there is a value."""
    detail: str
    value: cbor.Value


def pack_request(request: Request) -> bytes:
    """Return the frame of a request.

    Raises:
        CborError: An argument is outside the CBOR profile.
        FormatError: It is longer than `REQUEST_BYTES_MAX`.
    """
    return _frame({name: getattr(request, name) for name in _REQUEST}, REQUEST_BYTES_MAX)


def pack_answer(answer: Answer) -> bytes:
    """Return the frame of an answer.

    Raises:
        CborError: The value is outside the CBOR profile.
        FormatError: It is longer than `ANSWER_BYTES_MAX`.
    """
    return _frame({name: getattr(answer, name) for name in _ANSWER}, ANSWER_BYTES_MAX)


def body_bytes(head: bytes, bytes_max: int) -> int:
    """Return how many bytes follow the head.

    Raises:
        FormatError: More than ``bytes_max``.
    """
    length: int = HEAD.unpack(head)[0]
    if length > bytes_max:
        raise FormatError(f"frame: {length} bytes are announced, at most {bytes_max} are allowed")
    return length


def unpack_request(body: bytes) -> Request:
    """Decode the body of a request.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    fields = Fields(cbor.decode(body, bytes_max=REQUEST_BYTES_MAX), _REQUEST, "request")
    return Request(fields.integer("number", 1), fields.text("call"), fields.mapping("arguments"))


def unpack_answer(body: bytes) -> Answer:
    """Decode the body of an answer.

    Raises:
        CborError: Not canonical.
        FormatError: A field is missing, unknown or out of range.
    """
    value = cbor.decode(body, bytes_max=ANSWER_BYTES_MAX, values_max=ANSWER_VALUES_MAX)
    fields = Fields(value, _ANSWER, "answer")
    fault = None if fields.is_null("fault") else fields.choice("fault", FAULTS)
    detail = fields.text("detail", DETAIL_CHARACTERS_MAX)
    return Answer(fields.integer("number"), fault, detail, fields.raw("value"))


def _frame(value: dict[str, cbor.Value], bytes_max: int) -> bytes:
    body = cbor.encode(value)
    if len(body) > bytes_max:
        raise FormatError(f"frame: {len(body)} bytes, at most {bytes_max} are allowed")
    return HEAD.pack(len(body)) + body

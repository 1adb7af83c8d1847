"""What can be wrong with IEC 60870-5-104; each message is one sentence, each code of a closed set, for counters.

Iec104Error
+-- ApciError           bytes are no APDU, or an APDU that may not come now: close the connection
+-- LinkTimeoutError    the other station did not confirm in time: close the connection
+-- AsduError           an ASDU is malformed; the link itself is sound
|   +-- UnknownTypeError   its type identification is none that we decode
+-- InterrogationError  points did not arrive as they were asked for
+-- FileTransferError   a file did not arrive whole
+-- ParameterError      our own side asked for something out of range
"""

from __future__ import annotations

from typing import ClassVar, Final

NOT_APCI: Final = "not-apci"
BAD_CONTROL: Final = "bad-control"
WRONG_SEND_NUMBER: Final = "wrong-send-number"
WRONG_RECEIVE_NUMBER: Final = "wrong-receive-number"
NOT_STARTED: Final = "not-started"
UNASKED: Final = "unasked"
CLOSED: Final = "closed"
TIMEOUT: Final = "timeout"
MALFORMED: Final = "malformed"
UNKNOWN_TYPE: Final = "unknown-type"
OUT_OF_RANGE: Final = "out-of-range"
REFUSED: Final = "request-refused"
NOT_READY: Final = "not-ready"
WRONG_FILE: Final = "wrong-file"
WRONG_ORDER: Final = "wrong-order"
WRONG_LENGTH: Final = "wrong-length"
BAD_CHECKSUM: Final = "bad-checksum"
CODES: Final = (
    NOT_APCI,
    BAD_CONTROL,
    WRONG_SEND_NUMBER,
    WRONG_RECEIVE_NUMBER,
    NOT_STARTED,
    UNASKED,
    CLOSED,
    TIMEOUT,
    MALFORMED,
    UNKNOWN_TYPE,
    OUT_OF_RANGE,
    REFUSED,
    NOT_READY,
    WRONG_FILE,
    WRONG_ORDER,
    WRONG_LENGTH,
    BAD_CHECKSUM,
)


class Iec104Error(ValueError):
    """Something does not follow IEC 60870-5-104.

    Args:
        message: One sentence for people.
        code: One of `CODES` where the class alone says too little.
    """

    default_code: ClassVar[str]

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code


class ApciError(Iec104Error):
    """The connection carries what it may not carry, and has to be closed."""

    default_code = NOT_APCI


class LinkTimeoutError(Iec104Error):
    """The other station did not confirm within t1; the connection has to be closed."""

    default_code = TIMEOUT


class AsduError(Iec104Error):
    """An ASDU is malformed."""

    default_code = MALFORMED


class UnknownTypeError(AsduError):
    """An ASDU has a type identification that is not decoded here."""

    default_code = UNKNOWN_TYPE

    def __init__(self, type_id: int) -> None:
        super().__init__(f"type identification {type_id} is not known here")
        self.type_id = type_id


class InterrogationError(Iec104Error):
    """Points did not arrive as they were asked for; those that came count for nothing."""

    default_code = WRONG_ORDER


class FileTransferError(Iec104Error):
    """A file or directory did not arrive as it has to; what came of it counts for nothing."""

    default_code = WRONG_ORDER


class ParameterError(Iec104Error):
    """Our own side asked for something that has no encoding."""

    default_code = OUT_OF_RANGE

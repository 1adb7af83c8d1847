"""The child process that reads one IEC 61850 device: ``python -m agent.drivers.mms_child FILE PORT``.

It takes requests on its standard input and gives answers on its standard output (`agent.drivers.mms_pipe`), puts
fetched files into the open descriptor FILE, and may connect to no TCP port but PORT. It holds no keys, opens no other
file and outlives nobody: the agent ends it at will, and its own end is a device that did not answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from agent.drivers import confine, mms_pipe
from agent.drivers.mms_pipe import Answer, Request
from agent.drivers.mms_reads import FaultError, Reads
from wire.cbor import Value
from wire.errors import WireError

MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Address space, of which the libraries take a quarter; a device that sends lists without end ends the child."""


def serve(reads: Reads, requests: int, answers: int) -> None:
    """Answer requests in their order until the agent closes its end.

    Args:
        reads: The association.
        requests: Descriptor to read from.
        answers: Descriptor to write to.
    """
    calls: dict[str, Callable[..., Value]] = {
        call.__name__: call
        for call in (
            reads.connect,
            reads.release,
            reads.domains,
            reads.items,
            reads.value,
            reads.tree,
            reads.files,
            reads.fetch,
            reads.scl,
        )
    }
    while (request := _next(requests)) is not None:
        _send(answers, _answer(calls[request.call], request))


def _answer(call: Callable[..., Value], request: Request) -> bytes:
    try:
        return mms_pipe.pack_answer(Answer(request.number, None, "", call(**request.arguments)))
    except FaultError as error:
        fault, detail = error.fault, error.detail
    except WireError:
        fault, detail = "limit", f"sends more than an answer to {request.call} may hold"
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        # the library's binding answers nothing where the device sent nothing, and refuses its own nothing
        fault, detail = "odd", f"sends what the library cannot take ({type(error).__name__} in {request.call})"
    shown = detail.encode("ascii", "backslashreplace").decode()[: mms_pipe.DETAIL_CHARACTERS_MAX]
    return mms_pipe.pack_answer(Answer(request.number, fault, shown, None))


def _next(requests: int) -> Request | None:
    head = _read(requests, mms_pipe.HEAD.size)
    if head is None:
        return None
    body = _read(requests, mms_pipe.body_bytes(head, mms_pipe.REQUEST_BYTES_MAX))
    return None if body is None else mms_pipe.unpack_request(body)


def _read(source: int, count: int) -> bytes | None:
    """Read exactly so many bytes; None at the end of the input."""
    held = b""
    while len(held) < count:
        piece = os.read(source, count - len(held))
        if not piece:
            return None
        held += piece
    return held


def _send(target: int, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(target, rest) :]


def main() -> int:
    """Run the child."""
    file, port = int(sys.argv[1]), int(sys.argv[2])
    answers = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # what the library may print is no answer
    os.close(nowhere)
    confine.limit(file_bytes=mms_pipe.FILE_BYTES_MAX + 1, memory_bytes=MEMORY_BYTES_MAX)
    is_locked = confine.lock_out(file, port)
    _send(answers, mms_pipe.pack_answer(Answer(mms_pipe.START, None, "", is_locked)))
    serve(Reads(file), sys.stdin.fileno(), answers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""One request on its way through a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from master.api.context import Context
from master.api.parameters import Arguments


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose parameters are checked."""

    context: Context
    request: Request
    arguments: Arguments


Handler: TypeAlias = Callable[[Call], Awaitable[Response]]


def answer(content: object, status: int = 200) -> Response:
    """Return a JSON answer that nobody keeps."""
    return JSONResponse(content, status_code=status)

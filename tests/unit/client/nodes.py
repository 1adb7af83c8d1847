"""A node that answers from a table, with the interface of kit.http.NodeClient."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pytest
import typer

from client.cli import app
from kit.exitcodes import run
from kit.http import NodeProblemError
from kit.httpsign import RequestSigner
from kit.sse import ServerEvent

Answer = dict[str, Any] | Exception | Callable[[Mapping[str, str]], dict[str, Any]]


class FakeNode:
    node = "http://node"

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.posted: list[tuple[str, bytes, str]] = []
        self.post_answer: Answer = {"results": []}
        self.files: dict[str, bytes] = {}
        self.stream: list[ServerEvent] = []
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.after: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        self.asked.append((path, dict(params or {})))
        if path not in self.answers and path.rsplit("/", 1)[0] in self.answers:
            raise NodeProblemError(self.node + path, 404, {"title": "No such item"})
        return _give(self.answers[path], params or {})

    def get_bytes(
        self, path: str, params: Mapping[str, str] | None = None, *, signer: RequestSigner | None = None
    ) -> bytes:
        self.asked.append((path, dict(params or {})))
        return self.files[path]

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, Any]:
        self.posted.append((path, body, content_type))
        return _give(self.post_answer, {})

    def put_bytes(self, path: str, body: bytes) -> dict[str, Any]:
        self.files[path] = body
        return {}

    def events(
        self,
        path: str = "/v1/events",
        *,
        after: str = "",
        params: Mapping[str, str] | None = None,
        unreachable_ms_max: int | None = 60_000,
        told: Callable[[str], None] = lambda _: None,
    ) -> Iterator[ServerEvent]:
        self.after = after
        yield from self.stream


def _give(answer: Answer, params: Mapping[str, str]) -> dict[str, Any]:
    if isinstance(answer, Exception):
        raise answer
    return answer(params) if callable(answer) else answer


def use_node(monkeypatch: pytest.MonkeyPatch, module: str, node: FakeNode) -> None:
    """Let a command module talk to ``node`` whatever address it is given, with or without a signature."""

    def open_node(urls: Sequence[str], timeout_s: float = 10.0, **_: object) -> FakeNode:
        assert list(urls)
        return node

    monkeypatch.setattr(f"client.commands.{module}.NodeClient", open_node, raising=False)
    monkeypatch.setattr("client.ways.NodeClient", open_node)


def call(*arguments: str) -> int:
    """Run the program and return its exit code."""
    return run(app, program="gridwitness", args=arguments)


def commands(group: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:  # noqa: ANN401 typer tells no better type
    """Return all commands of the program by their words."""
    group = typer.main.get_command(group) if isinstance(group, typer.Typer) else group
    if not hasattr(group, "commands"):
        return {" ".join(path): group}
    return {name: one for word, sub in group.commands.items() for name, one in commands(sub, (*path, word)).items()}


def event(number: int, kind: str, **data: object) -> ServerEvent:
    document = {"type": kind, "time_ms": 1_790_000_000_000, "data": data}
    return ServerEvent(f"{number}-0", kind, json.dumps(document))

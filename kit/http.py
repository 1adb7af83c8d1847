"""The one HTTP client: asks the first node that answers, and turns what goes wrong into a sentence.

A request goes to the next node of the list when one is unreachable or says 502, 503 or 504; whichever
answered is asked first from then on. Sending a transaction twice does no harm, so POST does the same.
Answers are bounded in bytes and in time. Proxies and redirects are not followed: an address that a
person configured is the address that is asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from kit.clock import SystemClock
from kit.exitcodes import DataError, ExitCode, GridwitnessError, UnreachableError, UsageError
from kit.httpsign import RequestSigner
from kit.sse import ServerEvent, SseParser, json_object
from wire.httpsig import boot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from kit.clock import Clock

ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
PROBLEM_BYTES_MAX: Final = 64 * 1024
NODES_MAX: Final = 64
PIECE_BYTES: Final = 64 * 1024
STREAM_SILENCE_S: Final = 45.0
"""An event stream that sends nothing for so long is dead: nodes send a comment every 15 s."""
PAUSE_MS_MIN: Final = 500
PAUSE_MS_MAX: Final = 10_000

_ELSEWHERE: Final = frozenset({502, 503, 504})
_NO_CONTENT: Final = 204
_REDIRECT: Final = 300
_EXIT_CODES: Final = {
    401: ExitCode.PERMISSION,
    403: ExitCode.PERMISSION,
    429: ExitCode.TRY_AGAIN,
    502: ExitCode.TRY_AGAIN,
    503: ExitCode.TRY_AGAIN,
    504: ExitCode.TRY_AGAIN,
}
_SERVER_FAULT: Final = 500
_BAD_PARAMETER: Final = "urn:gridwitness:problem:bad-parameter"
"""Said of what the caller asks for, so it is the caller's words that are wrong."""
_CAUSES_MAX: Final = 8

T = TypeVar("T")


class NodeProblemError(GridwitnessError):
    """A node answered with an error (RFC 9457).

    ``problem`` is its whole document; ``exit_code`` follows the status: 401 and 403 give 77,
    429 and 502..504 give 75, other 5xx give 74, a parameter out of its range 64, all else 65.
    """

    def __init__(self, url: str, status: int, problem: Mapping[str, Any]) -> None:
        self.url = url
        self.status = status
        self.problem = dict(problem)
        self.type = str(problem.get("type", "about:blank"))
        self.title = str(problem.get("title", f"HTTP status {status}"))
        self.detail = str(problem.get("detail", ""))
        default = ExitCode.IO if status >= _SERVER_FAULT else ExitCode.DATA
        self.exit_code = ExitCode.USAGE if self.type == _BAD_PARAMETER else _EXIT_CODES.get(status, default)
        said = self.detail.rstrip(".") == self.title.rstrip(".")
        reason = f"{self.title}: {self.detail}" if self.detail and not said else self.title
        super().__init__(f"{url} answered {status}: {reason}")


class Sleep(Protocol):
    """Waits so many seconds; tests pass one that does not."""

    def __call__(self, seconds: float, /) -> None:
        """Wait."""
        ...


class _SilentError(Exception):
    """One node cannot be reached or broke off; never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    params: Mapping[str, str] | None
    headers: Mapping[str, str]
    body: bytes | None = None
    silence_s: float | None = None
    signer: RequestSigner | None = None


def _ignore(_sentence: str) -> None:
    return


class NodeClient:
    """Talks to a network of nodes through whichever answers.

    Args:
        base_urls: 1..64 addresses such as http://127.0.0.1:8080.
        timeout_s: For connecting, and for a whole answer.
        answer_bytes_max: A longer answer is refused.
        ca: PEM of the authority for https addresses; None takes the system's.
        session: For tests.
        clock: For tests.
        sleep: For tests.

    Raises:
        UsageError: An address is no http or https address, or there is none.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        timeout_s: float = 10.0,
        *,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        ca: Path | None = None,
        session: requests.Session | None = None,
        clock: Clock | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        if not 1 <= len(base_urls) <= NODES_MAX:
            raise UsageError(f"name 1 to {NODES_MAX} nodes, not {len(base_urls)}")
        self._nodes = [_check_address(url) for url in base_urls]
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._clock: Clock = SystemClock() if clock is None else clock
        self._sleep = sleep
        self._session = requests.Session() if session is None else session
        self._session.trust_env = False
        if ca is not None:
            self._session.verify = str(ca)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    @property
    def node(self) -> str:
        """The address that is asked first: the one that answered last."""
        return self._nodes[0]

    def get_json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET a JSON object.

        Raises:
            NodeProblemError: The node answered with an error.
            UnreachableError: No node can be reached.
            DataError: The answer is no JSON object, or too long.
        """
        return self._object(self.get_bytes(path, params), path)

    def get_bytes(
        self, path: str, params: Mapping[str, str] | None = None, *, signer: RequestSigner | None = None
    ) -> bytes:
        """GET bytes, such as a bundle; raises as ``get_json``.

        With a signer the request is signed (RFC 9421) when the node asks for it, for the address that is asked alone.
        """
        return self._first(_Request("GET", path, params, {}, signer=signer), self._read)

    def post_cbor(self, path: str, body: bytes, *, content_type: str = "application/cbor") -> dict[str, Any]:
        """POST bytes and return the JSON object that answers; raises as ``get_json``."""
        request = _Request("POST", path, None, {"Content-Type": content_type}, body)
        return self._object(self._first(request, self._read), path)

    def put_bytes(self, path: str, body: bytes) -> dict[str, Any]:
        """PUT bytes at the node that is asked first and return the JSON object that answers; raises as ``get_json``."""
        request = _Request("PUT", path, None, {"Content-Type": "application/octet-stream"}, body)
        return self._object(self._first(request, self._read), path)

    def events(
        self,
        path: str = "/v1/events",
        *,
        after: str = "",
        params: Mapping[str, str] | None = None,
        unreachable_ms_max: int | None = 60_000,
        told: Callable[[str], None] = _ignore,
    ) -> Iterator[ServerEvent]:
        """Follow an event stream; a broken connection is resumed where it stopped, at any node.

        Args:
            path: Of the stream.
            after: The id of the last event already seen; "" starts where the node does.
            params: Query of the first and every later connection.
            unreachable_ms_max: Give up when no node answered for so long; None never does.
            told: Called with one sentence when no node answers any more, and when one answers again.

        Raises:
            NodeProblemError: A node refused the stream.
            UnreachableError: No node answered for ``unreachable_ms_max``.
            DataError: What came is no event stream.
        """
        last_id = after
        pause_ms = PAUSE_MS_MIN
        answered_ms = self._clock.monotonic_ms()
        is_silent = False
        while True:
            request = _Request("GET", path, params, _stream_headers(last_id), None, STREAM_SILENCE_S)
            try:
                response = self._first(request, _same)
            except (UnreachableError, NodeProblemError) as error:
                silent_ms = self._clock.monotonic_ms() - answered_ms
                patient = unreachable_ms_max is None or silent_ms < unreachable_ms_max
                if not patient or not _passes(error):
                    raise
                if not is_silent:
                    told(f"{error}; trying again until it answers")
                is_silent = True
            else:
                if response.status_code == _NO_CONTENT:
                    return  # the server asks not to come back
                if is_silent:
                    told(f"{self.node} answers again")
                is_silent = False
                parser = SseParser(last_id)
                for event in self._follow(response, parser):
                    pause_ms = PAUSE_MS_MIN
                    yield event
                # an id may come without an event: the node tells where the stream starts
                last_id = parser.last_id
                answered_ms = self._clock.monotonic_ms()
            self._sleep(pause_ms / 1000)
            pause_ms = min(2 * pause_ms, PAUSE_MS_MAX)

    def _object(self, data: bytes, path: str) -> dict[str, Any]:
        return json_object(data, f"the answer of {self.node} to {path}")

    def _first(self, request: _Request, use: Callable[[requests.Response], T]) -> T:
        """Use the answer of the first node that gives one."""
        failures: list[str] = []
        problem: NodeProblemError | None = None
        for _ in range(len(self._nodes)):
            try:
                return use(self._open(request))
            except _SilentError as error:
                failures.append(f"{self.node} ({error})")
            except NodeProblemError as error:
                if error.status not in _ELSEWHERE:
                    raise
                problem = error
            self._nodes.append(self._nodes.pop(0))
        if problem is not None:
            raise problem
        many = len(failures) > 1
        head = "none of the nodes can be reached: " if many else "the node cannot be reached: "
        hint = "check that it runs and that the address is right"
        raise UnreachableError(f"{head}{', '.join(failures)}; {hint}")

    def _open(self, request: _Request, more: Mapping[str, str] | None = None) -> requests.Response:
        url = self.node + request.path
        read_s = self._timeout_s if request.silence_s is None else request.silence_s
        headers = {"Accept-Encoding": "identity", **request.headers, **(more or {})}
        try:
            response = self._session.request(
                request.method,
                url,
                params=request.params,
                data=request.body,
                headers=headers,
                timeout=(self._timeout_s, read_s),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            raise _SilentError(_reason(error, self._timeout_s)) from error
        if response.status_code < _REDIRECT:
            return response
        boot = boot_of(response.headers.get("Accept-Signature", ""))
        if request.signer is not None and boot is not None and more is None:
            # for whom it is signed, the signer knows: a node that names another one could send the request on to it
            response.close()
            sent = requests.Request(request.method, url, params=request.params).prepare()
            return self._open(request, request.signer.headers(request.method, str(sent.url), request.body, boot))
        data = self._read(response, bytes_max=PROBLEM_BYTES_MAX)
        raise NodeProblemError(url, response.status_code, _problem(data))

    def _read(self, response: requests.Response, *, bytes_max: int | None = None) -> bytes:
        limit = self._answer_bytes_max if bytes_max is None else bytes_max
        deadline_ms = self._clock.monotonic_ms() + int(self._timeout_s * 1000)
        data = bytearray()
        with response:
            for piece in _pieces(response):
                data += piece
                if len(data) > limit:
                    raise DataError(f"{response.url} answered with more than {limit} bytes")
                if self._clock.monotonic_ms() > deadline_ms:
                    raise _SilentError(f"its answer took more than {self._timeout_s:g} s")
        return bytes(data)

    def _follow(self, response: requests.Response, parser: SseParser) -> Iterator[ServerEvent]:
        """Yield the events of one connection until it ends or breaks."""
        with response:
            kind = response.headers.get("Content-Type", "")
            if kind.partition(";")[0].strip() != "text/event-stream":
                raise DataError(f"{response.url} sends {kind or 'no type'}, not an event stream")
            try:
                for piece in _pieces(response):
                    yield from parser.feed(piece)
            except _SilentError:
                return


def _same(response: requests.Response) -> requests.Response:
    return response


def _passes(error: GridwitnessError) -> bool:
    return isinstance(error, UnreachableError) or error.exit_code is ExitCode.TRY_AGAIN


def _stream_headers(last_id: str) -> dict[str, str]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    return {**headers, "Last-Event-ID": last_id} if last_id else headers


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield what has arrived as it arrives, at most 64 KiB at a time."""
    while True:
        try:
            piece: bytes = response.raw.read1(PIECE_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _SilentError("it broke off its answer") from error
        if not piece:
            return
        yield piece


def _problem(data: bytes) -> dict[str, Any]:
    try:
        return json_object(data, "the problem document")
    except DataError:
        return {}


def _reason(error: requests.RequestException, timeout_s: float) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {timeout_s:g} s"
    cause: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if cause is None:
            break
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _check_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_bare = not (parts.query or parts.fragment or parts.username or parts.password)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and is_bare and parts.port != 0
    except ValueError:  # a port out of range, or half an IPv6 address
        fits = False
    if not fits:
        raise UsageError(f"{url!r} is no node address; expected such as http://127.0.0.1:8080")
    return url.rstrip("/")

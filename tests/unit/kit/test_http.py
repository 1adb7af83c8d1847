"""The client over scripted answers: real HTTP bytes through a socket pair, no network."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from kit.clock import FakeClock
from kit.exitcodes import DataError, ExitCode, UnreachableError, UsageError
from kit.http import NodeClient, NodeProblemError

REFUSED = requests.ConnectionError("as urllib3 tells it")
REFUSED.__context__ = urllib3.exceptions.HTTPError("retries")
REFUSED.__context__.__cause__ = ConnectionRefusedError(111, "Connection refused")
LATE = requests.ReadTimeout("late")

Answer: TypeAlias = bytes | Exception | Callable[[requests.PreparedRequest], bytes]


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream(*chunks: bytes, whole: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if whole else b"")


def event(number: int) -> bytes:
    return b"id: %d-0\nevent: e\ndata: {}\n\n" % number


class Script(HTTPAdapter):
    """Answers each request with the next entry of its host's list."""

    def __init__(self, answers: Mapping[str, list[Answer]]) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[requests.PreparedRequest] = []
        self.timeouts: list[object] = []

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 the library's interface
        timeout: object = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002
        cert: object = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        self.asked.append(request)
        self.timeouts.append(timeout)
        assert request.url is not None
        host = request.url.split("/")[2]
        found = self.answers[host].pop(0)
        if isinstance(found, Exception):
            raise found from found.__cause__ or found.__context__
        data = found(request) if callable(found) else found
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(65536, 2 * len(data)))
        theirs.sendall(data)
        theirs.close()
        original = http.client.HTTPResponse(ours, method=request.method)
        original.begin()
        ours.close()
        raw = urllib3.HTTPResponse(
            body=original,
            headers=urllib3.HTTPHeaderDict(original.headers.items()),
            status=original.status,
            preload_content=False,
            original_response=original,
        )
        return self.build_response(request, raw)


class Bench:
    def __init__(self, clock: FakeClock | None = None, **answers: list[Answer]) -> None:
        self.script = Script(answers)
        self.clock = FakeClock() if clock is None else clock
        self.pauses: list[float] = []
        session = requests.Session()
        session.mount("http://", self.script)
        self.client = NodeClient(
            [f"http://{host}" for host in answers],
            5.0,
            answer_bytes_max=1000,
            session=session,
            clock=self.clock,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(int(seconds * 1000))

    def urls(self) -> list[str | None]:
        return [request.url for request in self.script.asked]


def test_get_json_gives_the_object() -> None:
    bench = Bench(a=[answer(b'{"height": 7}')])
    assert bench.client.get_json("/v1/status", {"limit": "1"}) == {"height": 7}
    assert bench.urls() == ["http://a/v1/status?limit=1"]
    assert bench.script.timeouts == [(5.0, 5.0)]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>"])
def test_get_json_of_other_answer_is_refused(body: bytes) -> None:
    with pytest.raises(DataError, match="to /v1/status is"):
        Bench(a=[answer(body)]).client.get_json("/v1/status")


def test_get_bytes_of_the_longest_answer_gives_it() -> None:
    assert Bench(a=[answer(b"x" * 1000)]).client.get_bytes("/b") == b"x" * 1000


def test_get_bytes_of_longer_answer_is_refused() -> None:
    with pytest.raises(DataError, match="http://a/b answered with more than 1000 bytes"):
        Bench(a=[answer(b"x" * 1001)]).client.get_bytes("/b")


def test_post_cbor_sends_the_bytes_with_their_type() -> None:
    bench = Bench(a=[answer(b'{"results": []}', "202 Accepted")])
    assert bench.client.post_cbor("/v1/tx", b"\xa0") == {"results": []}
    (request,) = bench.script.asked
    assert (request.method, request.body) == ("POST", b"\xa0")
    assert request.headers["Content-Type"] == "application/cbor"


def test_put_bytes_sends_them_and_gives_the_answer() -> None:
    bench = Bench(a=[answer(b'{"size": 3}', "201 Created")])
    assert bench.client.put_bytes("/v1/blobs/00", b"abc") == {"size": 3}
    (request,) = bench.script.asked
    assert (request.method, request.body) == ("PUT", b"abc")
    assert request.headers["Content-Type"] == "application/octet-stream"


def test_unreachable_node_is_followed_by_the_next_which_then_comes_first() -> None:
    bench = Bench(a=[REFUSED], b=[LATE], c=[answer(b"{}"), answer(b"{}")])
    bench.client.get_json("/x")
    assert bench.client.node == "http://c"
    bench.client.get_json("/y")
    assert bench.urls() == ["http://a/x", "http://b/x", "http://c/x", "http://c/y"]


def test_answer_cut_off_is_asked_again_at_the_next_node() -> None:
    cut = answer(b"x" * 100)[:-1]
    bench = Bench(a=[cut], b=[answer(b"whole")])
    assert bench.client.get_bytes("/x") == b"whole"


def test_chunked_answer_cut_off_is_asked_again_at_the_next_node() -> None:
    bench = Bench(a=[stream(b"half", whole=False)], b=[answer(b"whole")])
    assert bench.client.get_bytes("/x") == b"whole"


def test_one_unreachable_node_is_named_with_the_reason() -> None:
    with pytest.raises(UnreachableError) as caught:
        Bench(a=[REFUSED]).client.get_json("/x")
    assert str(caught.value) == (
        "the node cannot be reached: http://a (Connection refused); check that it runs and that the address is right"
    )
    assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_all_unreachable_nodes_are_named_with_their_reasons() -> None:
    answers: list[list[Answer]] = [[REFUSED], [LATE], [requests.ConnectionError("?")]]
    with pytest.raises(UnreachableError) as caught:
        Bench(a=answers[0], b=answers[1], c=answers[2]).client.get_json("/x")
    assert "http://a (Connection refused), http://b (no answer within 5 s), http://c (Conn" in str(caught.value)


def test_untrusted_https_node_is_unreachable() -> None:
    error = requests.exceptions.SSLError(ssl.SSLCertVerificationError("verify failed"))
    with pytest.raises(UnreachableError, match="SSLError"):
        Bench(a=[error]).client.get_json("/x")


def test_answer_that_drips_too_long_is_unreachable() -> None:
    clock = FakeClock()
    bench = Bench(clock, a=[answer(b"{}")])
    slow = bench.clock.monotonic_ms
    calls: list[int] = []

    def jump() -> int:
        calls.append(1)
        return slow() + (0 if len(calls) == 1 else 6000)

    clock.monotonic_ms = jump  # type: ignore[method-assign]
    with pytest.raises(UnreachableError, match="its answer took more than 5 s"):
        bench.client.get_json("/x")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400 Bad", 65),
        ("401 Who", 77),
        ("403 No", 77),
        ("404 Gone", 65),
        ("409 Conflict", 65),
        ("413 Big", 65),
        ("429 Slow", 75),
        ("500 Oops", 74),
        ("503 Later", 75),
        ("302 Elsewhere", 65),
    ],
)
def test_problem_document_becomes_an_error_with_the_exit_code(status: str, code: int) -> None:
    body = b'{"type": "urn:gridwitness:problem:x", "title": "Refused", "detail": "seq 4 is used"}'
    bench = Bench(a=[answer(body, status, "application/problem+json")])
    with pytest.raises(NodeProblemError) as caught:
        bench.client.get_json("/v1/tx")
    error = caught.value
    assert (error.type, error.title) == ("urn:gridwitness:problem:x", "Refused")
    assert (error.status, error.exit_code) == (int(status[:3]), code)
    assert str(error) == f"http://a/v1/tx answered {status[:3]}: Refused: seq 4 is used"


def test_parameter_that_the_node_refuses_is_wrong_use() -> None:
    body = b'{"type": "urn:gridwitness:problem:bad-parameter", "title": "Wrong", "detail": "state: one of a is due"}'
    bench = Bench(a=[answer(body, "400 Bad", "application/problem+json")])
    with pytest.raises(NodeProblemError) as caught:
        bench.client.get_json("/v1/devices")
    assert caught.value.exit_code == 64


def test_problem_whose_detail_says_no_more_is_told_once() -> None:
    bench = Bench(a=[answer(b'{"title": "No account has this key", "detail": "No account has this key."}', "403 No")])
    with pytest.raises(NodeProblemError, match=r"answered 403: No account has this key$"):
        bench.client.get_json("/v1/tx")


def test_problem_without_document_is_told_by_its_status() -> None:
    bench = Bench(a=[answer(b"<html>", "500 Oops", "text/html")])
    with pytest.raises(NodeProblemError, match="http://a/x answered 500: HTTP status 500"):
        bench.client.get_json("/x")


def test_refusal_is_not_asked_again_elsewhere() -> None:
    bench = Bench(a=[answer(b"{}", "400 Bad")], b=[])
    with pytest.raises(NodeProblemError):
        bench.client.get_json("/x")
    assert bench.urls() == ["http://a/x"]


def test_node_that_says_later_is_followed_by_the_next() -> None:
    bench = Bench(a=[answer(b"{}", "503 Later")], b=[answer(b'{"n": 1}')])
    assert bench.client.get_json("/x") == {"n": 1}


def test_all_nodes_that_say_later_give_that_problem() -> None:
    bench = Bench(a=[answer(b"{}", "503 Later")], b=[REFUSED])
    with pytest.raises(NodeProblemError, match="answered 503"):
        bench.client.get_json("/x")


def test_events_are_followed_over_a_break_from_the_last_id_at_the_next_node() -> None:
    bench = Bench(
        a=[stream(event(1), event(2)[:9], whole=False), REFUSED],
        b=[stream(event(2), event(3)), answer(b"", "204 Enough")],
    )
    found = [e.id for e in bench.client.events(after="0-0", params={"type": "alarm"})]
    assert found == ["1-0", "2-0", "3-0"]
    ids = [request.headers.get("Last-Event-ID") for request in bench.script.asked]
    assert ids == ["0-0", "1-0", "1-0", "3-0"]
    assert bench.urls()[0] == "http://a/v1/events?type=alarm"
    assert bench.script.timeouts[0] == (5.0, 45.0)
    assert bench.pauses == [0.5, 0.5]


def test_events_broken_off_before_the_first_one_are_followed_from_where_the_stream_started() -> None:
    bench = Bench(a=[stream(b"id: 7\n\n", whole=False), stream(event(8)), answer(b"", "204 Enough")])
    assert [e.id for e in bench.client.events()] == ["8-0"]
    assert [request.headers.get("Last-Event-ID") for request in bench.script.asked] == [None, "7", "8-0"]


def test_events_from_the_start_send_no_last_id() -> None:
    bench = Bench(a=[answer(b"", "204 Enough")])
    assert list(bench.client.events()) == []
    assert "Last-Event-ID" not in bench.script.asked[0].headers


def test_events_of_unreachable_nodes_pause_longer_and_give_up() -> None:
    bench = Bench(a=[REFUSED] * 20)
    with pytest.raises(UnreachableError):
        next(bench.client.events(unreachable_ms_max=30_000))
    assert bench.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_events_without_limit_wait_until_a_node_answers() -> None:
    bench = Bench(a=[*[REFUSED] * 50, answer(b"{}", "503 Later"), stream(event(1))])
    told: list[str] = []
    assert next(bench.client.events(unreachable_ms_max=None, told=told.append)).id == "1-0"
    assert len(told) == 2
    assert "Connection refused" in told[0]
    assert "trying again" in told[0]
    assert told[1].endswith("answers again")


def test_events_of_a_node_that_answers_tell_nothing() -> None:
    told: list[str] = []
    bench = Bench(a=[stream(event(1))])
    assert next(bench.client.events(told=told.append)).id == "1-0"
    assert told == []


def test_events_refused_by_the_node_are_not_asked_again() -> None:
    bench = Bench(a=[answer(b'{"title": "No"}', "403 No")])
    with pytest.raises(NodeProblemError, match="answered 403: No"):
        next(bench.client.events(unreachable_ms_max=None))
    assert bench.pauses == []


def test_events_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match="sends application/json, not an event stream"):
        next(Bench(a=[answer(b"{}")]).client.events())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a:80",
        "ftp://a",
        "http://",
        "http://a?x",
        "http://a#x",
        "http://u@a",
        "http://:p@a",
        "http://[::1",
        "http://a:99999",
        "http://a:0",
        "http://a:x",
    ],
)
def test_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no node address"):
        NodeClient([url])


@pytest.mark.parametrize("count", [0, 65])
def test_wrong_number_of_nodes_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"not {count}"):
        NodeClient(["http://a"] * count)


def test_client_ignores_the_environment_and_keeps_the_authority() -> None:
    with NodeClient(["https://a:1/base/"], ca=Path("/ca.pem")) as client:
        assert client.node == "https://a:1/base"
        assert client._session.trust_env is False
        assert client._session.verify == "/ca.pem"

from __future__ import annotations

import pytest
import requests
from nacl.signing import SigningKey

from kit.clock import FakeClock
from kit.exitcodes import ExitCode
from kit.http import NodeClient, NodeProblemError
from kit.httpsign import RequestSigner, authority_of
from wire.errors import SignatureError
from wire.httpsig import AUTHORITY_PATTERN, Message, audience, check_request, read_signature

KEY = SigningKey(bytes(32))
CHAIN = "test-01234567"
BASE = "http://node.example:8080"
OTHER = "http://other.example:8080"


class Session(requests.Session):
    """Answers without a network: the first node is busy for what is signed.

    Args:
        is_restricted: Both nodes ask for a signature.
        named: Ledger and address that they name; "" for each one's own.
        asked: The whole Accept-Signature; None for the usual one.
    """

    def __init__(
        self, *, is_restricted: bool = True, named: tuple[str, str] = (CHAIN, ""), asked: str | None = None
    ) -> None:
        super().__init__()
        self.named, self.asked = named, asked
        self.is_restricted = is_restricted
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        self.sent.append(request)
        answer = requests.Response()
        is_other = str(request.url).startswith(OTHER)
        answer.raw = Body(b"sealed" if "signature" in request.headers else b"{}")
        if "signature" in request.headers:
            answer.status_code = 200 if is_other else 503
            return answer
        answer.status_code = 401 if self.is_restricted else 200
        own = "other.example:8080" if is_other else "node.example:8080"
        tag = audience(self.named[0], self.named[1] or own, "00ff")
        usual = f'gridwitness=("@method" "@path" "@query");created;tag="{tag}"'
        answer.headers["Accept-Signature"] = usual if self.asked is None else self.asked
        return answer


class Body:
    """As urllib3 gives it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read1(self, amount: int) -> bytes:
        data, self._data = self._data[:amount], self._data[amount:]
        return data

    def release_conn(self) -> None:
        return

    def close(self) -> None:
        return


def signed_by(session: Session) -> list[requests.PreparedRequest]:
    return [request for request in session.sent if "signature" in request.headers]


def tag_of(request: requests.PreparedRequest) -> str:
    return read_signature({name.lower(): str(value) for name, value in request.headers.items()}).tag


# holds HR-4
def test_request_is_signed_anew_for_each_address_that_it_goes_to() -> None:
    session, clock = Session(), FakeClock()
    client = NodeClient([BASE, OTHER], session=session)
    raw = client.get_bytes("/v1/blobs/a%2Fb", {"x": "1 2"}, signer=RequestSigner(KEY, CHAIN, clock))
    assert raw == b"sealed"
    signed = signed_by(session)
    assert [str(request.url) for request in signed] == [f"{node}/v1/blobs/a%2Fb?x=1+2" for node in (BASE, OTHER)]
    public, message = KEY.verify_key.encode(), Message("GET", "/v1/blobs/a%2Fb", "x=1+2")
    nonces = set()
    for request, node in zip(signed, ("node.example:8080", "other.example:8080"), strict=True):
        found = read_signature({name.lower(): str(value) for name, value in request.headers.items()})
        check_request(found, message, public, {audience(CHAIN, node, "00ff")}, clock.now_ms())
        nonces.add(found.nonce)
    assert len(nonces) == 2


# holds HR-4
@pytest.mark.parametrize(
    "named", [(CHAIN, "other.example:8080"), ("other-01234567", ""), ("other-01234567", "x.example")]
)
def test_request_is_signed_for_the_address_that_was_asked_whatever_its_node_says(named: tuple[str, str]) -> None:
    session, clock = Session(named=named), FakeClock()
    with pytest.raises(NodeProblemError):
        NodeClient([BASE], session=session).get_bytes("/v1/blobs/00", signer=RequestSigner(KEY, CHAIN, clock))
    (request,) = signed_by(session)
    assert tag_of(request) == audience(CHAIN, "node.example:8080", "00ff")
    relayed = read_signature({name.lower(): str(value) for name, value in request.headers.items()})
    with pytest.raises(SignatureError, match="this is gridwitness"):
        check_request(
            relayed, Message("GET", "/v1/blobs/00"), KEY.verify_key.encode(), {audience(*named, "00ff")}, clock.now_ms()
        )


@pytest.mark.parametrize(
    "answer", ["", "sig1=();tag", f'gridwitness=();tag="gridwitness/{CHAIN}/node.example:8080/BOOT"']
)
def test_request_is_not_signed_for_a_node_that_asks_for_something_else(answer: str) -> None:
    session = Session(asked=answer)
    with pytest.raises(NodeProblemError) as refused:
        NodeClient([BASE], session=session).get_bytes("/v1/blobs/00", signer=RequestSigner(KEY, CHAIN, FakeClock()))
    assert refused.value.status == 401
    assert not signed_by(session)


def test_request_without_a_signer_is_not_signed() -> None:
    session = Session()
    with pytest.raises(NodeProblemError) as refused:
        NodeClient([OTHER], session=session).get_bytes("/v1/blobs/00")
    assert refused.value.exit_code == ExitCode.PERMISSION
    (request,) = session.sent
    assert "signature" not in request.headers


def test_request_for_what_is_open_is_not_signed() -> None:
    session = Session(is_restricted=False)
    signer = RequestSigner(KEY, CHAIN, FakeClock())
    assert NodeClient([OTHER], session=session).get_bytes("/v1/blobs/00", signer=signer) == b"{}"
    assert ["signature" in request.headers for request in session.sent] == [False]


# holds HR-4
@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://Dispatch.Example:8080/v1/blobs/00?x=1", "dispatch.example:8080"),
        ("https://dispatch.example", "dispatch.example"),
        ("https://dispatch.example:443/base", "dispatch.example"),
        ("http://dispatch.example:443", "dispatch.example:443"),
        ("http://dispatch.example:80/", "dispatch.example"),
        ("http://[FE80::1]:8080", "[fe80::1]:8080"),
        ("http://user:word@127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
def test_address_is_host_in_small_letters_and_port_unless_it_is_the_usual_one(url: str, authority: str) -> None:
    assert authority_of(url) == authority
    assert AUTHORITY_PATTERN.fullmatch(authority)


def test_address_without_a_host_has_no_form_of_an_address() -> None:
    assert not AUTHORITY_PATTERN.fullmatch(authority_of("http:"))

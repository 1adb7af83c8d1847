from __future__ import annotations

import json

import requests
from nacl.signing import SigningKey

from kit.clock import FakeClock
from kit.http import NodeClient
from kit.httpsign import RequestSigner
from wire.httpsig import Message, audience, check_request, read_signature

KEY = SigningKey(bytes(32))
BASE = "http://node.example:8080"
OTHER = "http://other.example:8080"


class Session(requests.Session):
    """Answers without a network: the first node is busy for what is signed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        self.sent.append(request)
        answer = requests.Response()
        url = str(request.url)
        is_status = url.endswith("/v1/status")
        answer.status_code = 200 if is_status or url.startswith(OTHER) else 503
        node = "east" if url.startswith(OTHER) else "dispatch"
        body = json.dumps({"chain": "test-01234567", "node": node}).encode() if is_status else b"sealed"
        answer.raw = Body(body)
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


def test_request_is_signed_anew_for_each_node_that_it_goes_to() -> None:
    session, clock = Session(), FakeClock()
    client = NodeClient([BASE, OTHER], session=session)
    raw = client.get_bytes("/v1/blobs/a%2Fb", {"x": "1 2"}, signer=RequestSigner(KEY, clock))
    assert raw == b"sealed"
    signed = [request for request in session.sent if "signature" in request.headers]
    assert [str(request.url) for request in signed] == [f"{node}/v1/blobs/a%2Fb?x=1+2" for node in (BASE, OTHER)]
    public, message = KEY.verify_key.encode(), Message("GET", "/v1/blobs/a%2Fb", "x=1+2")
    nonces = set()
    for request, node in zip(signed, ("dispatch", "east"), strict=True):
        found = read_signature({name.lower(): str(value) for name, value in request.headers.items()})
        check_request(found, message, public, audience("test-01234567", node), clock.now_ms())
        nonces.add(found.nonce)
    assert len(nonces) == 2


def test_request_without_a_signer_is_not_signed() -> None:
    session = Session()
    assert NodeClient([OTHER], session=session).get_bytes("/v1/blobs/00") == b"sealed"
    (request,) = session.sent
    assert "signature" not in request.headers

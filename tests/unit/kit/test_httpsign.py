from __future__ import annotations

import pytest
import requests
from nacl.signing import SigningKey

from kit.clock import FakeClock
from kit.exitcodes import ExitCode
from kit.http import NodeClient, NodeProblemError
from kit.httpsign import RequestSigner
from wire.httpsig import Message, audience, check_request, read_signature

KEY = SigningKey(bytes(32))
BASE = "http://node.example:8080"
OTHER = "http://other.example:8080"


class Session(requests.Session):
    """Answers without a network: the first node is busy for what is signed."""

    def __init__(self, *, is_restricted: bool = True) -> None:
        super().__init__()
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
        tag = audience("test-01234567", "east" if is_other else "dispatch", "00ff")
        answer.headers["Accept-Signature"] = f'gridwitness=("@method" "@path" "@query");created;tag="{tag}"'
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
        check_request(found, message, public, audience("test-01234567", node, "00ff"), clock.now_ms())
        nonces.add(found.nonce)
    assert len(nonces) == 2


def test_request_without_a_signer_is_not_signed() -> None:
    session = Session()
    with pytest.raises(NodeProblemError) as refused:
        NodeClient([OTHER], session=session).get_bytes("/v1/blobs/00")
    assert refused.value.exit_code == ExitCode.PERMISSION
    (request,) = session.sent
    assert "signature" not in request.headers


def test_request_for_what_is_open_is_not_signed() -> None:
    session = Session(is_restricted=False)
    signer = RequestSigner(KEY, FakeClock())
    assert NodeClient([OTHER], session=session).get_bytes("/v1/blobs/00", signer=signer) == b"{}"
    assert ["signature" in request.headers for request in session.sent] == [False]

"""Our envelopes and bytes against pycose, cwt and cbor2 5.9, which live in an environment of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.wire.samples import RAW_TX, key_of, public_of, vectors
from tests.unit.wire.test_golden import FORMATS
from wire import cose
from wire.errors import SignatureError
from wire.tx import TX_AAD, open_tx

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-interop" / "bin" / "python"
SCRIPT = Path(__file__).with_name("cose_peers.py")
PEERS = ("pycose", "cwt")
VERSIONS = {"pycose": "1.1.0", "cwt": "3.3.0", "cbor2": "5.9.0"}
PUBLIC, SECRET = public_of("gw-1"), key_of("gw-1").encode()
KID = cose.kid_of(PUBLIC)
SIZES = (0, 1, 23, 24, 255, 256, 60_000)

Ask = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON.relative_to(ROOT)} is missing: `make setup` makes it")
    command = [str(PYTHON), str(SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        inlet, outlet = process.stdin, process.stdout

        def question(peer: str, do: str, **arguments: bytes) -> dict[str, str]:
            request = {"peer": peer, "do": do, **{name: data.hex() for name, data in arguments.items()}}
            inlet.write(json.dumps(request) + "\n")
            inlet.flush()
            line = outlet.readline()
            if not line:
                pytest.fail(f"{SCRIPT.name} ended with {process.wait(10)}")
            reply: dict[str, str] = json.loads(line)
            return reply

        yield question
        inlet.close()
        assert process.wait(60) == 0


def test_peers_are_the_locked_ones(ask: Ask) -> None:
    assert {peer: ask(peer, "version")["version"] for peer in VERSIONS} == VERSIONS


# holds COSE-1 COSE-7 TX-1
@pytest.mark.parametrize("peer", PEERS)
def test_peer_verifies_our_transaction(ask: Ask, peer: str) -> None:
    reply = ask(peer, "verify", public=PUBLIC, kid=KID, message=RAW_TX, aad=TX_AAD)
    assert reply == {"result": open_tx(RAW_TX).envelope.payload.hex()}


# holds COSE-7
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("aad", [b"", b"gridwitness/tx/2"])
def test_peer_refuses_our_transaction_as_another_kind_of_statement(ask: Ask, peer: str, aad: bytes) -> None:
    assert "error" in ask(peer, "verify", public=PUBLIC, kid=KID, message=RAW_TX, aad=aad)


@pytest.mark.parametrize("peer", PEERS)
def test_peer_refuses_our_transaction_with_a_changed_byte(ask: Ask, peer: str) -> None:
    payload = bytearray(RAW_TX)
    payload[len(RAW_TX) // 2] ^= 1
    signature = RAW_TX[:-1] + bytes((RAW_TX[-1] ^ 1,))
    for changed in (bytes(payload), signature):
        assert "error" in ask(peer, "verify", public=PUBLIC, kid=KID, message=changed, aad=TX_AAD)


@pytest.mark.parametrize("peer", PEERS)
def test_peer_refuses_our_transaction_under_another_key(ask: Ask, peer: str) -> None:
    assert "error" in ask(peer, "verify", public=public_of("lab"), kid=KID, message=RAW_TX, aad=TX_AAD)


# holds COSE-1 COSE-2 COSE-4 COSE-5 COSE-6 COSE-7
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("size", SIZES)
def test_peer_writes_byte_for_byte_what_we_write(ask: Ask, peer: str, size: int) -> None:
    payload = b"p" * size
    reply = ask(peer, "sign", secret=SECRET, public=PUBLIC, kid=KID, payload=payload, aad=TX_AAD)
    theirs = bytes.fromhex(reply["result"])
    assert theirs == cose.sign1(payload, key_of("gw-1"), TX_AAD)
    cose.verify1(cose.parse1(theirs), PUBLIC, TX_AAD)


# holds COSE-2 COSE-9
@pytest.mark.parametrize("peer", PEERS)
def test_message_of_a_peer_with_another_kid_is_refused(ask: Ask, peer: str) -> None:
    for kid, reason in ((bytes(16), "the kid names another key"), (b"short", "protected header is not exactly")):
        reply = ask(peer, "sign", secret=SECRET, public=PUBLIC, kid=kid, payload=b"p", aad=TX_AAD)
        with pytest.raises(SignatureError, match=reason):
            cose.verify1(cose.parse1(bytes.fromhex(reply["result"])), PUBLIC, TX_AAD)


# holds COSE-6
@pytest.mark.parametrize("peer", PEERS)
def test_message_with_a_trailing_byte_passes_the_peer_and_not_us(ask: Ask, peer: str) -> None:
    """Why we parse the envelope ourselves: one transaction would have many ids."""
    assert "result" in ask(peer, "verify", public=PUBLIC, kid=KID, message=RAW_TX + b"\x00", aad=TX_AAD)
    with pytest.raises(SignatureError, match="trailing"):
        cose.parse1(RAW_TX + b"\x00")


# holds COSE-7
@pytest.mark.parametrize("peer", PEERS)
def test_peer_verifies_the_working_group_example_that_we_recompute(ask: Ask, peer: str) -> None:
    case = {name: bytes.fromhex(text) for name, text in vectors("cose_examples.json")["eddsa_sig_01"].items()}
    reply = ask(peer, "verify", public=case["public"], kid=b"11", message=case["message"], aad=b"")
    assert reply == {"result": case["payload"].hex()}
    cose.verify_ed25519(case["public"], case["to_be_signed"], case["signature"])


# holds CBOR-13
@pytest.mark.parametrize("name", FORMATS)
def test_peer_decodes_our_bytes_and_writes_them_again(ask: Ask, name: str) -> None:
    written = FORMATS[name][1]
    if name == "transaction":
        written = open_tx(written).envelope.payload
    assert ask("cbor2", "recode", data=written) == {"result": written.hex()}

"""Other people's COSE and CBOR, asked over standard input and output; runs in .venv-interop, imports nothing of ours.

Each line of the input is one JSON object, {"peer": "pycose" | "cwt" | "cbor2", "do": ...} bytes as hex.
Each line of the output is one, too: what was asked for, or {"error": the exception's class}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version

import cbor2
import cwt  # type: ignore[import-not-found]  # lives in .venv-interop alone
from pycose.algorithms import EdDSA  # type: ignore[import-not-found]  # same
from pycose.headers import KID, Algorithm  # type: ignore[import-not-found]  # same
from pycose.keys import OKPKey  # type: ignore[import-not-found]  # same
from pycose.keys.curves import Ed25519  # type: ignore[import-not-found]  # same
from pycose.messages import Sign1Message  # type: ignore[import-not-found]  # same

ALGORITHM, KEY_ID, EDDSA = 1, 4, -8


def pycose_sign(secret: bytes, public: bytes, kid: bytes, payload: bytes, aad: bytes) -> bytes:
    message = Sign1Message(phdr={Algorithm: EdDSA, KID: kid}, uhdr={}, payload=payload, external_aad=aad)
    message.key = OKPKey(crv=Ed25519, d=secret, x=public)
    raw: bytes = message.encode()
    return raw


def pycose_verify(public: bytes, message: bytes, aad: bytes) -> bytes:
    opened = Sign1Message.decode(message)
    opened.key = OKPKey(crv=Ed25519, x=public)
    opened.external_aad = aad
    if not opened.verify_signature():
        raise ValueError("the signature does not verify")
    payload: bytes = opened.payload
    return payload


def cwt_key(kid: bytes, public: bytes, secret: bytes | None = None) -> cwt.COSEKey:
    parameters = {1: 1, 2: kid, 3: EDDSA, -1: 6, -2: public}
    return cwt.COSEKey.new(parameters if secret is None else {**parameters, -4: secret})


def cwt_sign(secret: bytes, public: bytes, kid: bytes, payload: bytes, aad: bytes) -> bytes:
    protected = {ALGORITHM: EDDSA, KEY_ID: kid}
    key = cwt_key(kid, public, secret)
    raw: bytes = cwt.COSE.new().encode_and_sign(payload, key, protected=protected, unprotected={}, external_aad=aad)
    return raw


def cwt_verify(public: bytes, kid: bytes, message: bytes, aad: bytes) -> bytes:
    payload: bytes = cwt.COSE.new(verify_kid=True).decode(message, cwt_key(kid, public), external_aad=aad)
    return payload


def recode(data: bytes) -> bytes:
    return cbor2.dumps(cbor2.loads(data), canonical=True)


ACTIONS: dict[tuple[str, str], Callable[..., bytes]] = {
    ("pycose", "sign"): pycose_sign,
    ("pycose", "verify"): lambda kid, **rest: pycose_verify(**rest),
    ("cwt", "sign"): cwt_sign,
    ("cwt", "verify"): cwt_verify,
    ("cbor2", "recode"): recode,
}


def answer(request: dict[str, str]) -> dict[str, str]:
    peer, action = request.pop("peer"), request.pop("do")
    if action == "version":
        return {"version": version(peer)}
    try:
        result = ACTIONS[peer, action](**{name: bytes.fromhex(text) for name, text in request.items()})
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is its refusal, and the caller sees it
        return {"error": type(error).__name__}
    return {"result": result.hex()}


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

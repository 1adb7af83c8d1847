"""Signed HTTP requests (RFC 9421) in one strict form: Ed25519, fixed components (docs/spec, HR-1 to HR-6).

The signature covers method, path, query and, with a body, its Content-Digest (RFC 9530); its parameters say when it
begins and ends, carry a nonce, and name by ``tag`` whom it is for: the ledger, the address at which the client asks,
and the last start of the node there. Who goes by another address refuses it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wire.cose import KID_BYTES, SIGNATURE_BYTES, kid_of, verify_ed25519
from wire.errors import MALFORMED, SignatureError
from wire.types import sha256

if TYPE_CHECKING:
    from nacl.signing import SigningKey

SIGNATURE_INPUT: Final = "signature-input"
SIGNATURE: Final = "signature"
CONTENT_DIGEST: Final = "content-digest"
LABEL: Final = "gridwitness"
LIFE_S_MAX: Final = 300
"""From creation to end of a signature."""
SKEW_S: Final = 30
"""By which the clocks of the two sides may differ."""
HEADER_CHARACTERS_MAX: Final = 1024
_COMPONENTS: Final = ("@method", "@path", "@query")
_NAMES: Final = frozenset({"created", "expires", "nonce", "keyid", "alg", "tag"})
_ALGORITHM: Final = "ed25519"
_INPUT: Final = re.compile(
    rf'{LABEL}=(\((?P<components>[^()]*)\)(?P<parameters>(?:;[a-z]+=(?:[0-9]{{1,12}}|"[!#-\[\]-~]{{1,400}}"))*))',
    re.ASCII,
)
_PARAMETER: Final = re.compile(r';([a-z]+)=(?:([0-9]+)|"([^"]+)")', re.ASCII)
_VALUE: Final = re.compile(rf"{LABEL}=:([A-Za-z0-9+/=]{{88}}):", re.ASCII)
_BOOT: Final = re.compile(r';tag="gridwitness/[^"/]+/[^"/]+/([0-9a-f]{1,16})"', re.ASCII)
AUTHORITY_PATTERN: Final = re.compile(r"(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[1-9][0-9]{0,4})?", re.ASCII)
"""Host, lower-case, and port of an address; without the port that its scheme has by itself."""
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_KID: Final = re.compile(rf"[0-9a-f]{{{2 * KID_BYTES}}}", re.ASCII)
_SECONDS_PER_MS: Final = 1000


class StaleSignatureError(SignatureError):
    """The signature is of another time than now."""


@dataclass(frozen=True, slots=True)
class Message:
    """What of a request is signed."""

    method: str
    path: str
    """As it is sent, percent-encoded."""
    query: str = ""
    """As it is sent, without the question mark."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Presented:
    """A signature of the one form, not yet verified."""

    kid: bytes
    created_s: int
    expires_s: int
    """Seconds since 1970 UTC."""
    nonce: str
    tag: str
    has_digest: bool
    """The body's Content-Digest is covered."""
    parameters: str
    """The component list and the parameters as they were sent: the last line of what is signed."""
    signature: bytes


def audience(chain: str, authority: str, boot: str) -> str:
    """Return the tag of requests to one node of one ledger.

    Args:
        chain: Name of the ledger; a client knows it from its genesis file.
        authority: Host and port that the client was told, see `AUTHORITY_PATTERN`.
        boot: What the node drew at its last start, when it forgot the nonces before.
    """
    return f"gridwitness/{chain}/{authority}/{boot}"


def boot_of(accept_signature: str) -> str | None:
    """Return the start that an Accept-Signature names (RFC 9421, 5.1); None when it asks for no signature of ours.

    It is all that a client takes from a node's answer: whom the signature is for, the client knows by itself.
    """
    match = _BOOT.search(accept_signature[:HEADER_CHARACTERS_MAX])
    return None if match is None else match[1]


def content_digest(body: bytes) -> str:
    """Return a body's Content-Digest. Source: RFC 9530, 2."""
    return f"sha-256=:{base64.b64encode(sha256(body)).decode('ascii')}:"


def signature_base(components: Sequence[tuple[str, str]], parameters: str) -> bytes:
    """Return the bytes that are signed.

    Args:
        components: Names and values of what is covered, in their order.
        parameters: Of the signature, as they are sent.

    Source: RFC 9421, 2.5.
    """
    lines = [f'"{name}": {value}' for name, value in components]
    return "\n".join((*lines, f'"@signature-params": {parameters}')).encode("ascii")


def sign_request(
    message: Message, key: SigningKey, tag: str, created_s: int, nonce: str, life_s: int = 60
) -> dict[str, str]:
    """Return the headers that sign a request.

    Args:
        message: What is sent.
        key: Of the account.
        tag: Whom it is for, see `audience`.
        created_s: Now, seconds since 1970 UTC.
        nonce: 16..64 characters of ``A-Z a-z 0-9 _ -``, never used before.
        life_s: 1..`LIFE_S_MAX`.
    """
    listed = _listed((*_COMPONENTS, CONTENT_DIGEST) if message.body else _COMPONENTS)
    parameters = (
        f'({listed});created={created_s};expires={created_s + life_s};nonce="{nonce}"'
        f';keyid="{kid_of(key.verify_key.encode()).hex()}";alg="{_ALGORITHM}";tag="{tag}"'
    )
    signed = key.sign(signature_base(_values(message, has_digest=bool(message.body)), parameters)).signature
    headers = {
        SIGNATURE_INPUT: f"{LABEL}={parameters}",
        SIGNATURE: f"{LABEL}=:{base64.b64encode(signed).decode('ascii')}:",
    }
    return {**headers, CONTENT_DIGEST: content_digest(message.body)} if message.body else headers


def read_signature(headers: Mapping[str, str]) -> Presented:
    """Take the signature of a request apart; it proves nothing before `check_request`.

    Args:
        headers: By lower-case name.

    Raises:
        SignatureError: It is not of the one form; the message says what is due.
    """
    given, value = headers.get(SIGNATURE_INPUT, ""), headers.get(SIGNATURE, "")
    if len(given) > HEADER_CHARACTERS_MAX or (match := _INPUT.fullmatch(given)) is None:
        raise SignatureError(f"Signature-Input: one signature with the label {LABEL} is due", code=MALFORMED)
    listed = match["components"]
    if listed not in (_listed(_COMPONENTS), _listed((*_COMPONENTS, CONTENT_DIGEST))):
        raise SignatureError(
            "Signature-Input: @method, @path, @query and, with a body, content-digest are due", code=MALFORMED
        )
    found = _PARAMETER.findall(match["parameters"])
    named = {name: number or text for name, number, text in found}
    if named.keys() != _NAMES or len(found) != len(_NAMES):
        raise SignatureError(f"Signature-Input: {', '.join(sorted(_NAMES))} are due, each once", code=MALFORMED)
    if {name for name, number, _ in found if number} != {"created", "expires"}:
        raise SignatureError("Signature-Input: created and expires are numbers, the others are texts", code=MALFORMED)
    if named["alg"] != _ALGORITHM or _KID.fullmatch(named["keyid"]) is None or _NONCE.fullmatch(named["nonce"]) is None:
        raise SignatureError(
            "Signature-Input: alg ed25519, keyid of 32 hex digits and a nonce of 16..64 characters are due",
            code=MALFORMED,
        )
    return Presented(
        kid=bytes.fromhex(named["keyid"]),
        created_s=int(named["created"]),
        expires_s=int(named["expires"]),
        nonce=named["nonce"],
        tag=named["tag"],
        has_digest=CONTENT_DIGEST in listed,
        parameters=match[1],
        signature=_signature(value),
    )


def check_request(
    presented: Presented, message: Message, public_key: bytes, tags: Collection[str], now_ms: int
) -> None:
    """Prove that the holder of a key signed a request, for this node and not long ago.

    Whether the nonce was used before, the caller has to know.

    Args:
        presented: As read.
        message: As received; with a body, its digest was computed here.
        public_key: Ed25519 key that the ledger has for ``presented.kid``.
        tags: Who checks, one for each of its addresses, see `audience`.
        now_ms: Milliseconds since 1970 UTC.

    Raises:
        StaleSignatureError: It is of another time, or lives longer than `LIFE_S_MAX`.
        SignatureError: It is for somebody else, does not cover the body, or does not verify.
    """
    if presented.tag not in tags:
        raise SignatureError(f"the signature is for {presented.tag}, this is {' or '.join(tags) or 'without a name'}")
    now_s = now_ms // _SECONDS_PER_MS
    if not 0 < presented.expires_s - presented.created_s <= LIFE_S_MAX:
        raise StaleSignatureError(f"the signature has to end 1..{LIFE_S_MAX} s after it was made")
    if not presented.created_s - SKEW_S <= now_s <= presented.expires_s + SKEW_S:
        raise StaleSignatureError(
            f"the signature was made {now_s - presented.created_s} s ago and ends in {presented.expires_s - now_s} s "
            f"by this node's clock; the clocks may differ by {SKEW_S} s"
        )
    if presented.has_digest != bool(message.body):
        raise SignatureError("content-digest has to be covered with a body, and with a body alone")
    values = _values(message, has_digest=presented.has_digest)
    verify_ed25519(public_key, signature_base(values, presented.parameters), presented.signature)


def _listed(components: tuple[str, ...]) -> str:
    return " ".join(f'"{name}"' for name in components)


def _values(message: Message, *, has_digest: bool) -> list[tuple[str, str]]:
    values = [("@method", message.method), ("@path", message.path or "/"), ("@query", f"?{message.query}")]
    return [*values, (CONTENT_DIGEST, content_digest(message.body))] if has_digest else values


def _signature(value: str) -> bytes:
    match = _VALUE.fullmatch(value)
    try:
        signature = b"" if match is None else base64.b64decode(match[1], validate=True)
    except binascii.Error:
        signature = b""
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"Signature: 64 bytes in base64 with the label {LABEL} are due", code=MALFORMED)
    return signature

"""Checks certificates, receipts, state and history proofs. Written from docs/spec alone; imports nothing of ours."""

from hashlib import sha256
from typing import Any
from unicodedata import is_normalized

import cbor2
from nacl.signing import VerifyKey

DIGESTS = "parent tx_root outcome_root state_root history_root validators_hash next_validators_hash code_table_hash"
HEADER = f"version chain epoch height proposer time_ms tx_count fault_proof_root {DIGESTS}"


def need(holds: object, clause: str) -> None:
    if not holds:
        raise ValueError(clause)


def sha(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def fields(value: Any, names: str) -> Any:  # noqa: ANN401 - CBOR-18
    need(isinstance(value, dict) and set(value) == set(names.split()), f"CBOR-18: {names}")
    need(all(type(entry) is not bool for entry in value.values()), "CBOR-15")
    return value


def plain(value: object, depth: int = 8) -> bool:  # CBOR-1, CBOR-2, CBOR-5, CBOR-7, CBOR-9
    if isinstance(value, dict):
        return all(type(key) is str for key in value) and plain([*value, *value.values()], depth)
    if isinstance(value, list):
        return depth > 0 and all(plain(entry, depth - 1) for entry in value)
    number = type(value) is int and -(2**63) <= value < 2**63
    return number or type(value) in {bool, bytes, type(None)} or (type(value) is str and is_normalized("NFC", value))


def decode(raw: bytes, names: str) -> Any:  # noqa: ANN401 - CBOR-13
    value = cbor2.loads(raw)
    need(plain(value) and cbor2.dumps(value, canonical=True) == raw, "CBOR-13")
    return fields(value, names)


def read_header(raw: bytes) -> Any:  # noqa: ANN401 - HD-1
    header = decode(raw, HEADER)
    need(header["version"] == 1 and len(raw) <= 4096 and header["height"] >= 1, "HD-1")
    need(all(type(header[name]) is bytes and len(header[name]) == 32 for name in DIGESTS.split()), "HD-1")
    return header


def set_digest(validators: list[Any]) -> bytes:  # QC-2, HD-7
    names = [fields(entry, "member vote_key tls_digest")["member"] for entry in validators]
    need(names == sorted(set(names)) and 0 < len({at["vote_key"] for at in validators}) == len(names) < 17, "QC-2")
    return sha(cbor2.dumps(validators, canonical=True))


def check_certificate(chain: str, epoch: tuple[Any, ...], raw: bytes, certificate: Any) -> Any:  # noqa: ANN401
    header, (number, validators, first) = read_header(raw), epoch
    due = (chain, number, set_digest(validators))
    need((header["chain"], header["epoch"], header["validators_hash"]) == due and header["height"] >= first, "EP-2")
    fields(certificate, "scheme step epoch height view digest signatures")
    claim = ["gridwitness-pbft-1", "commit", number, header["height"], sha(raw)]
    need([certificate[name] for name in ("scheme", "step", "epoch", "height", "digest")] == claim, "QC-5 QC-9")
    keys = {entry["member"]: entry["vote_key"] for entry in validators}
    members = [member for member, _ in certificate["signatures"]]
    need(members == sorted(set(members)) and set(members) <= set(keys), "QC-5 QC-7")
    need(len(members) >= (len(keys) + (len(keys) - 1) // 3) // 2 + 1, "QC-1 QC-6")
    epoch_bytes, *places = (at.to_bytes(8, "big") for at in (number, header["height"], certificate["view"]))
    vote = b"\x12gridwitness/vote/1" + bytes((len(chain),)) + chain.encode() + epoch_bytes + b"\x04" + b"".join(places)
    for member, signature in certificate["signatures"]:
        VerifyKey(keys[member]).verify(vote + sha(raw), signature)  # QC-3, QC-7
    return header


def walk(genesis: bytes, ends: list[Any]) -> tuple[str, tuple[Any, ...]]:  # GE-2, EP-1, EP-3, EP-4, EP-5
    start, number, first = cbor2.loads(genesis), 0, 1
    chain = f"{start['name']}-{sha(genesis).hex()[:8]}"
    rows = [(entry["member"], entry["vote_key"], sha(entry["tls_certificate"])) for entry in start["validators"]]
    validators = [dict(zip(("member", "vote_key", "tls_digest"), row, strict=True)) for row in rows]
    need(type(ends) is list and len(ends) <= 1024, "EP-5")
    for end in ends:
        fields(end, "header certificate validators")
        header = check_certificate(chain, (number, validators, first), end["header"], end["certificate"])
        need(header["validators_hash"] != header["next_validators_hash"] == set_digest(end["validators"]), "EP-3")
        number, validators, first = number + 1, end["validators"], header["height"] + 1
    return chain, (number, validators, first)


def final(genesis: bytes, value: Any) -> Any:  # noqa: ANN401 - FH-1, FH-2, RC-4
    chain, epoch = walk(genesis, value["epochs"])
    return check_certificate(chain, epoch, value["header"], value["certificate"])


def climb(path: list[bytes], node: int, last: int, first: bytes, second: bytes) -> tuple[bytes, bytes]:
    need(type(path) is list and len(path) <= 64, "MT-4 MT-5")
    for sibling in path:
        need(last and type(sibling) is bytes and len(sibling) == 32, "MT-4")
        left = bool(node & 1) or node == last
        first = sha(b"\x01", sibling, first) if left else first
        second = sha(b"\x01", sibling, second) if left else sha(b"\x01", second, sibling)
        while left and node and not node & 1:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    need(not last, "MT-4")
    return first, second


def included(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    need(0 <= index < size and climb(path, index, size - 1, b"", sha(b"\x00", leaf))[1] == root, "MT-4")


def consistent(first: int, second: int, path: list[bytes], old: bytes, new: bytes) -> None:
    need(0 < first <= second and (first < second or (path == [] and old == new)), "MT-5")
    start, path = (old, path) if first & (first - 1) == 0 or first == second else (path[0], path[1:])
    shift = 64 if first == second else (first & -first).bit_length() - 1
    need(climb(path, first - 1 >> shift, second - 1 >> shift, start, start) == (old, new), "MT-5")


def check_receipt(raw: bytes, tx: bytes, genesis: bytes) -> None:
    proof = decode(raw, "type version tx header certificate index size tx_path outcome outcome_path epochs")
    need((proof["type"], proof["version"]) == ("receipt", 1) and len(raw) <= 4 << 20, "RC-1 RC-8")
    header, outcome = final(genesis, proof), decode(proof["outcome"], "tx code events")
    need(proof["tx"] == sha(tx) == outcome["tx"] and proof["size"] == header["tx_count"], "RC-3 RC-5")
    included(tx, proof["index"], proof["size"], proof["tx_path"], header["tx_root"])
    included(proof["outcome"], proof["index"], proof["size"], proof["outcome_path"], header["outcome_root"])


def check_state(raw: bytes, genesis: bytes) -> None:
    proof = decode(raw, "type version namespace key value bucket path final")
    need((proof["type"], proof["version"], len(proof["path"])) == ("state-proof", 1, 20), "SP-1 SP-4")
    bucket, namespace = bytes(memoryview(proof["bucket"])), proof["namespace"].encode()
    pairs = [(bucket[at : at + 32], bucket[at + 32 : at + 64]) for at in range(0, len(bucket), 64)]
    need([key for key, _ in pairs] == sorted(dict(pairs)) and len(bucket) % 64 == 0, "SP-1 SP-2")
    key = sha(bytes((len(namespace),)), namespace, proof["key"])
    need(dict(pairs).get(key) == (None if proof["value"] is None else sha(proof["value"])), "SP-3")
    number, digest = int.from_bytes(key, "big") >> 236, sha(b"\x00", bucket) if pairs else bytes(32)
    for level, sibling in enumerate(proof["path"]):
        digest = sha(b"\x01", *((sibling, digest) if number >> level & 1 else (digest, sibling)))
    need(digest == final(genesis, fields(proof["final"], "header certificate epochs"))["state_root"], "SP-4")


def check_history(raw: bytes, genesis: bytes, known: bytes | None = None) -> None:
    proof = decode(raw, "type version header path final")
    need((proof["type"], proof["version"]) == ("consistency-proof" if known else "history-proof", 1), "HP-1")
    old, new = read_header(proof["header"]), final(genesis, fields(proof["final"], "header certificate epochs"))
    need(old["chain"] == new["chain"] and known in {None, proof["header"]}, "HP-2 HP-5")
    if known:
        consistent(old["height"], new["height"], proof["path"], old["history_root"], new["history_root"])
    else:
        included(sha(proof["header"]), old["height"], new["height"], proof["path"], new["history_root"])

"""Hostile bytes for every decoder, and proof that the judge of them sees what it is there to see."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz.engine import FindingError, campaign, judge, seeds_of
from tests.fuzz.mutate import BYTES_MAX, Mutator
from tests.fuzz.targets import CORPUS, TARGETS, Target
from wire import cbor
from wire.errors import FormatError

INPUTS = 2_000
"""Of one decoder in the short form, the same on every machine; `make fuzz MINUTES=n` is the long one."""
SECONDS = 120.0
"""For a machine that is fifty times as slow as it should be."""
NAMES = [target.name for target in TARGETS]


# holds CBOR-13 TP-10
@pytest.mark.parametrize("target", TARGETS, ids=NAMES)
def test_decoder_refuses_hostile_bytes_in_the_documented_way(target: Target) -> None:
    assert campaign(target, 0, SECONDS, INPUTS).inputs == INPUTS > len(seeds_of(target))


@pytest.mark.parametrize("target", TARGETS, ids=NAMES)
def test_decoder_accepts_its_corpus_of_real_runs(target: Target) -> None:
    seeds = seeds_of(target)
    assert seeds, "no corpus"
    for raw in seeds:
        target_accepts(target, raw)


def target_accepts(target: Target, raw: bytes) -> None:
    if target.name in {"agenttoml", "nodetoml"}:
        return  # they name files of the run
    result = target.decode(raw)
    if target.encode is not None:
        assert target.encode(result) == raw


def test_corpus_is_small_and_belongs_to_decoders() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    assert all(path.stat().st_size <= 10_000 for path in files)
    assert {path.name for path in CORPUS.iterdir()} - {"genesis.cbor"} <= set(NAMES)


def slow(raw: bytes) -> bytes:
    until_s = time.thread_time() + 0.05
    while time.thread_time() < until_s:
        pass
    return raw


def greedy(raw: bytes) -> object:
    return [bytes(1000) for _ in range(2_000)]


def wordy(raw: bytes) -> object:
    raise FormatError("x" * 1000)


@pytest.mark.parametrize(
    ("decode", "encode", "said"),
    [
        (lambda raw: {}[raw], None, "decoding raised KeyError"),
        (lambda raw: raw[1:], lambda result: result, "encodes to other bytes"),
        (wordy, None, "a refusal of 1000 characters"),
        (slow, None, " s for "),
        (greedy, None, "bytes of memory"),
    ],
    ids=["exception", "form", "sentence", "time", "memory"],
)
def test_campaign_finds_a_planted_defect(
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes] | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.fuzz.engine.CPU_S_MAX", 0.04)
    monkeypatch.setattr("tests.fuzz.engine.MEMORY_BYTES_MAX", 1_000_000)
    monkeypatch.setattr("tests.fuzz.engine.MEMORY_PER_BYTE_MAX", 0)
    with pytest.raises(FindingError, match=said):
        campaign(Target("planted", decode, encode), 0, 20, inputs_max=200)
    assert (tmp_path / "build" / "fuzz" / "planted.bin").exists()


def test_campaign_finds_a_defect_behind_the_decoder() -> None:
    with pytest.raises(FindingError, match="proving raised ZeroDivisionError"):
        judge(Target("planted", bytes, None, lambda result: 1 // 0), b"")


def test_campaign_walks_behind_the_checks_of_a_map() -> None:
    """A fault three checks deep is found from one honest example."""

    def decode(raw: bytes) -> object:
        value = cbor.decode_map(raw)
        if set(value) != {"kind", "size", "body"}:
            raise FormatError("another map")
        if not isinstance(value["size"], int) or not isinstance(value["body"], bytes):
            raise FormatError("another type")
        return 1 // (value["size"] - 65_536)

    target = Target("planted", decode)
    seeds = [cbor.encode({"kind": "a", "size": 7, "body": b"abc"})]
    mutator = Mutator(Random(0))

    def search() -> None:
        for _ in range(20_000):
            judge(target, mutator.mutate(seeds))

    with pytest.raises(FindingError, match="ZeroDivisionError"):
        search()


def test_same_seed_gives_the_same_bytes() -> None:
    seeds = seeds_of(TARGETS[0])
    first, second = Mutator(Random(7)), Mutator(Random(7))
    made = [first.mutate(seeds) for _ in range(300)]
    assert made == [second.mutate(seeds) for _ in range(300)]
    assert len(set(made)) > 200
    assert all(len(raw) <= BYTES_MAX for raw in made)

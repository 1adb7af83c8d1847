"""Any sequence of calls: the same bytes every time, and invariants that always hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.contracts.reports import entry, evidence, item, release
from tests.unit.ledger.naive import naive_root
from tests.unit.ledger.worlds import World
from wire import cbor
from wire.release import Release
from wire.tx import SignedTx
from wire.types import sha256

CONTENTS = (b"one", b"two", b"three")
RELEASES = tuple(
    release(f"r-{number}-{target or 'model'}", device=target, firmware=content)
    for number, content in enumerate(CONTENTS)
    for target in (None, "dev-1", "dev-2")
)


@dataclass(frozen=True)
class Submit:
    made: Release


@dataclass(frozen=True)
class Endorse:
    sender: str
    made: Release


@dataclass(frozen=True)
class Publish:
    """All that makes a release effective, in one block."""

    made: Release


@dataclass(frozen=True)
class Report:
    device: str
    content: bytes
    seq: int
    serial: str
    whole: bool
    status: str


Step = Submit | Endorse | Publish | Report
STEPS = st.one_of(
    st.builds(Publish, st.sampled_from(RELEASES)),
    st.builds(Submit, st.sampled_from(RELEASES)),
    st.builds(Endorse, st.sampled_from(["lab", "regulator", "grid"]), st.sampled_from(RELEASES)),
    st.builds(
        Report,
        st.sampled_from(["dev-1", "dev-2"]),
        st.sampled_from(CONTENTS),
        st.integers(1, 30),
        st.sampled_from(["s-1", "s-2"]),
        st.booleans(),
        st.sampled_from(["read", "unreachable"]),
    ),
)


def sign(world: World, step: Step) -> list[SignedTx]:
    match step:
        case Submit(made):
            return [world.sign(made.manufacturer, "references", "submit", {"release": made.encode()})]
        case Endorse(sender, made):
            args: dict[str, cbor.Value] = {"release": made.digest(), "report": None}
            if sender == "lab":
                args |= {"report": sha256(b"report"), "verdict": "pass"}
            return [world.sign(sender, "references", "test" if sender == "lab" else "endorse", args)]
        case Publish(made):
            return [
                tx
                for one in (Submit(made), Endorse("lab", made), Endorse("regulator", made))
                for tx in sign(world, one)
            ]
        case Report(device, content, seq, serial, whole, status):
            line = entry(device, item(serial, firmware=content), whole=whole, status=status)
            raw = evidence(line, pair=(1, seq)).encode()
            return [world.sign("gw-1", "consistency", "report", {"evidence": raw})]


def decoded(world: World, namespace: str, prefix: bytes) -> dict[bytes, cbor.Value]:
    return {key: cbor.decode(value) for key, value in world.state.scan(namespace, prefix)}


def check_invariants(world: World) -> None:
    assert world.tree.root == world.head.state_root == naive_root(world.state.leaves)
    live: Counter[bytes] = Counter()
    for key, value in decoded(world, "references", b"slot/").items():
        assert isinstance(value, dict)
        digest = value["digest"]
        assert isinstance(digest, bytes)
        live[digest] += 1
        assert key.count(b"/") >= 2
    for key, value in decoded(world, "references", b"release/").items():
        assert isinstance(value, dict)
        assert isinstance(value["kinds"], list)
        assert isinstance(value["endorsements"], list)
        # a release counts for exactly the slots that name it, and only with all roles behind it
        assert live[key.removeprefix(b"release/")] == len(value["kinds"])
        roles = {one["role"] for one in value["endorsements"] if isinstance(one, dict)}
        assert (value["effective_height"] is not None) == (roles >= {"manufacturer", "laboratory", "regulator"})
    ids = []
    for value in decoded(world, "consistency", b"alarm/").values():
        assert isinstance(value, dict)
        ids.append(value["alarm_id"])
    assert len(set(map(str, ids))) == len(ids)


@settings(max_examples=40)
@given(st.lists(st.lists(STEPS, max_size=4), max_size=8))
def test_any_calls_keep_the_invariants_and_their_bytes(blocks: list[list[Step]]) -> None:
    first, second = World(), World()
    for block in blocks:
        for world in (first, second):
            world.run(*(tx for step in block for tx in sign(world, step)))
            check_invariants(world)
        assert first.head.digest == second.head.digest
    assert first.state.entries == second.state.entries


@settings(max_examples=40)
@given(st.lists(STEPS, max_size=12))
def test_device_verdicts_are_those_of_an_appraisal_from_scratch(steps: list[Step]) -> None:
    """Re-appraisal on releases leaves the same findings as reading the same item once more would."""
    world = World()
    for step in steps:
        world.run(*sign(world, step))
    for device in ("dev-1", "dev-2"):
        record = decoded(world, "consistency", b"device/" + device.encode()).get(b"device/" + device.encode())
        if record is None:
            continue
        assert isinstance(record, dict)
        firmware = record["findings"]
        assert isinstance(firmware, list)
        slots = {
            key: value
            for target in (b"d/" + device.encode(), b"m/")
            for key, value in decoded(world, "references", b"slot/" + target).items()
            if key.endswith(b"/firmware")
        }
        (found,) = [one for one in firmware if isinstance(one, dict) and one["kind"] == "firmware"]
        slot = next(iter(slots.values()), None)
        if slot is None:
            assert found["verdict"] == "unknown_reference"
        else:
            assert isinstance(slot, dict)
            matches = found["read_sha256"] == slot["sha256"]
            assert (found["verdict"] == "match") == matches
            assert found["expected_sha256"] == slot["sha256"]


STORY = """
from tests.property.test_contracts import RELEASES, Publish, Report, sign
from tests.unit.ledger.worlds import World
world = World()
for made in RELEASES:
    seq = world.head.height + 1
    steps = [Report("dev-1", b"one", seq, "s-1", True, "read"), Publish(made)]
    steps += [Report(f"dev-{n}", made.release.encode(), 2 * seq + n, "s-1", True, "read") for n in (1, 2)]
    world.run(*(tx for step in steps for tx in sign(world, step)))
assert {"alarm_raised", "release_superseded"} <= world.seen
print(world.head.digest.hex(), world.head.state_root.hex())
"""


def test_ledger_does_not_depend_on_the_hash_seed() -> None:
    heads = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", STORY],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        )
        heads.add(done.stdout)
    assert len(heads) == 1
    assert len(heads.pop().split()) == 2

from __future__ import annotations

from dataclasses import replace

import pytest

from master.consensus.events import Now, Report, Send
from master.consensus.fetch import ASKED_AT_ONCE_MAX, FetchEffect, Install, Keep, Open, Phase, StateFetch, check_chunk
from master.consensus.snapshot_messages import Chunk, GetChunk, GetSnapshot, Wanted
from tests.unit.ledger.snapshots import crowded, cut
from tests.unit.wire.test_snapshot import MANIFEST
from wire.errors import ProofError
from wire.snapshot import SUBTREES, Manifest, Place

HEIGHT = MANIFEST.height
LAG = 20
PARTS = tuple(cut(crowded(), 1)[1])
NUMBER = PARTS[0].subtree
MANY = replace(MANIFEST, roots=tuple(bytes((1,)) * 32 for _ in range(SUBTREES)))
"""Nothing of it is proven here: it only has many subtrees."""
MEMBERS = ("a", "b", "c")


class Bench:
    """A fetch with its clock; time passes by hand."""

    def __init__(self, head: int = 0, resumed: tuple[Manifest, dict[int, Place]] | None = None) -> None:
        self.fetch = StateFetch(1_000, LAG, resumed)
        self.head = head
        self.now = Now(0, 100_000)

    def pass_ms(self, duration_ms: int) -> None:
        self.now = replace(self.now, monotonic_ms=self.now.monotonic_ms + duration_ms)

    def hear(self, height: int = HEIGHT + 3, *members: str) -> None:
        for member in members or MEMBERS:
            self.fetch.heard(member, height, self.now)

    def tick(self) -> list[FetchEffect]:
        return self.fetch.tick(self.head, self.now)

    def wait(self, height: int = HEIGHT + 3, *members: str) -> list[FetchEffect]:
        """Hear the same for two intervals; return what comes of it."""
        self.hear(height, *members)
        assert self.tick() == []
        self.pass_ms(2_000)
        self.hear(height, *members)
        return self.tick()

    def ask(self) -> None:
        assert self.wait() == [Send(member, GetSnapshot()) for member in MEMBERS]

    def begin(self, manifest: Manifest = MANIFEST) -> list[FetchEffect]:
        """Get offers from all and return what comes of them."""
        self.ask()
        for member in MEMBERS:
            self.fetch.offered(member, manifest)
        return self.tick()

    def keep(self, member: str, request: GetChunk, *parts: int) -> dict[int, Place]:
        """Let an answer arrive, be checked and stored."""
        chunk = Chunk(HEIGHT, tuple(PARTS[number] for number in parts))
        assert self.fetch.arrived(member, chunk) == [Keep(member, MANIFEST, request, chunk)]
        places = check_chunk(MANIFEST, request, chunk)
        self.fetch.kept(Keep(member, MANIFEST, request, chunk), places, self.now)
        return places


def requests(effects: list[FetchEffect]) -> dict[str, GetChunk]:
    return {
        effect.member: effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, GetChunk)
    }


# ---- when


# holds SN-7
@pytest.mark.parametrize(("height", "asked"), [(LAG, 3), (LAG - 1, 0), (0, 0)])
def test_fetch_asks_for_snapshots_from_the_bound_on_and_not_before(height: int, asked: int) -> None:
    bench = Bench()
    assert len(bench.wait(height)) == asked
    assert not bench.fetch.is_active  # what somebody claims keeps nobody from asking for blocks


# holds SN-7
def test_fetch_what_was_heard_long_ago_counts_for_nothing() -> None:
    bench = Bench()
    bench.hear()
    bench.pass_ms(3_001)
    assert bench.tick() == []


# holds SN-7
def test_fetch_asks_when_all_who_are_ahead_lack_the_next_block() -> None:
    bench = Bench(head=HEIGHT - 1)
    bench.hear(HEIGHT)
    bench.fetch.lacks("a", bench.now)
    bench.fetch.lacks("b", bench.now)
    assert bench.tick() == []
    bench.fetch.lacks("c", bench.now)
    assert len(bench.wait(HEIGHT)) == 3
    for member in MEMBERS:
        bench.fetch.offered(member, MANIFEST)
    assert Open(MANIFEST) in bench.tick()


# holds SN-7
def test_fetch_that_a_member_lacked_a_block_is_forgotten() -> None:
    bench = Bench(head=HEIGHT - 1)
    for member in MEMBERS:
        bench.fetch.lacks(member, bench.now)
    bench.pass_ms(30_001)
    assert bench.wait(HEIGHT) == []


# holds SN-7
def test_fetch_waits_for_all_offers_or_their_time_and_takes_the_newest() -> None:
    bench = Bench()
    bench.ask()
    older = replace(MANIFEST, final=replace(MANIFEST.final, header=replace(MANIFEST.final.header, height=HEIGHT - 1)))
    bench.fetch.offered("a", older)
    bench.fetch.offered("b", MANIFEST)
    bench.fetch.offered("nobody", MANIFEST)
    assert bench.tick() == []
    bench.pass_ms(10_000)
    bench.hear()
    assert bench.tick()[0] == Open(MANIFEST)
    assert bench.fetch.manifest == MANIFEST


# holds SN-7
@pytest.mark.parametrize("offer", [None, "too old"])
def test_fetch_without_a_snapshot_that_helps_leaves_it_to_blocks_for_a_while(offer: str | None) -> None:
    bench = Bench(head=HEIGHT - LAG + 1 if offer else 0)
    assert bench.wait(HEIGHT + LAG)
    for member in MEMBERS:
        bench.fetch.offered(member, MANIFEST if offer else None)
    assert bench.tick() == []
    assert not bench.fetch.is_active
    bench.pass_ms(7_999)
    assert bench.wait(HEIGHT + LAG) == []
    bench.pass_ms(1)
    assert bench.tick()


# holds SN-7
def test_fetch_what_holds_for_a_moment_alone_is_no_reason() -> None:
    bench = Bench()
    bench.hear(LAG)
    assert bench.tick() == []
    bench.pass_ms(1_000)
    bench.hear(LAG - 1)
    assert bench.tick() == []
    bench.pass_ms(1_000)
    bench.hear(LAG)
    assert bench.tick() == []


# holds SN-2 SN-7
def test_fetch_manifest_that_proves_nothing_is_no_offer() -> None:
    bench = Bench()
    bench.ask()
    assert bench.fetch.refused("a", "why") == [Report("manifest-rejected", "a: why")]
    bench.fetch.offered("b", None)
    bench.fetch.offered("c", None)
    assert bench.tick() == []
    assert bench.fetch.phase is Phase.IDLE


# ---- parts


# holds SN-8
def test_fetch_asks_for_subtrees_that_are_not_empty_until_all_are_there() -> None:
    bench = Bench()
    effects = bench.begin()
    assert requests(effects) == {"a": GetChunk(HEIGHT, (Wanted(NUMBER, Place()),))}
    for number in range(len(PARTS)):
        (member, request), *_ = requests(effects).items()
        assert bench.fetch.missing == 1
        bench.keep(member, request, number)
        effects = bench.tick()
    assert effects == [Install(MANIFEST)]
    assert bench.fetch.phase is Phase.INSTALLING
    assert bench.tick() == []


# holds SN-8
def test_fetch_asks_members_for_different_subtrees_at_once() -> None:
    bench = Bench()
    assert len(bench.wait(HEIGHT + 3, *"abcdef")) == 6
    for member in "abcdef":
        bench.fetch.offered(member, MANY)
    asked = requests(bench.tick())
    assert len(asked) == ASKED_AT_ONCE_MAX
    wanted = [entry.subtree for request in asked.values() for entry in request.wanted]
    assert wanted == list(range(64 * ASKED_AT_ONCE_MAX))
    assert requests(bench.tick()) == {}


# holds SN-8
def test_fetch_member_whose_chunk_lies_is_asked_no_more_and_another_is() -> None:
    bench = Bench()
    (request,) = requests(bench.begin()).values()
    lie = Chunk(HEIGHT, (replace(PARTS[0], path=()),))
    assert bench.fetch.arrived("a", lie) == [Keep("a", MANIFEST, request, lie)]
    with pytest.raises(ProofError):
        check_chunk(MANIFEST, request, lie)
    assert bench.fetch.rejected("a", "a lie") == [Report("chunk-rejected", "a: a lie")]
    assert list(requests(bench.tick())) == ["b"]
    bench.pass_ms(20_000)
    bench.hear()
    assert list(requests(bench.tick())) == ["c"]


# holds SN-8
def test_fetch_member_that_does_not_answer_waits_for_the_others() -> None:
    bench = Bench()
    bench.begin()
    bench.pass_ms(10_000)
    bench.hear()
    assert list(requests(bench.tick())) == ["b"]
    bench.pass_ms(10_000)
    bench.hear()
    assert list(requests(bench.tick())) == ["a"]


def test_fetch_answer_that_is_being_stored_is_not_late() -> None:
    bench = Bench()
    (request,) = requests(bench.begin()).values()
    chunk = Chunk(HEIGHT, PARTS[:1])
    assert bench.fetch.arrived("a", chunk)
    assert bench.fetch.arrived("a", chunk) == []
    bench.pass_ms(30_000)
    bench.hear()
    assert bench.tick() == []
    bench.fetch.kept(Keep("a", MANIFEST, request, chunk), check_chunk(MANIFEST, request, chunk), bench.now)
    assert requests(bench.tick())["a"].wanted[0].place == PARTS[0].end


@pytest.mark.parametrize(("member", "height"), [("b", HEIGHT), ("a", HEIGHT + 1)])
def test_fetch_chunk_that_nobody_asked_for_is_dropped(member: str, height: int) -> None:
    bench = Bench()
    bench.begin()
    assert bench.fetch.arrived(member, Chunk(height, PARTS[:1])) == []


def test_fetch_what_was_kept_of_a_snapshot_that_was_given_up_counts_for_nothing() -> None:
    bench = Bench()
    (request,) = requests(bench.begin()).values()
    late = Keep("a", MANIFEST, request, Chunk(HEIGHT, PARTS[:1]))
    bench.fetch.failed("no room", bench.now)
    bench.fetch.kept(late, {NUMBER: PARTS[-1].end}, bench.now)
    bench.pass_ms(10_000)
    assert requests(bench.begin())
    bench.fetch.kept(late, {NUMBER: PARTS[-1].end}, bench.now)
    assert bench.fetch.missing == 1


# ---- ends


# holds SN-8
def test_fetch_when_nobody_has_the_snapshot_any_more_begins_anew_with_another() -> None:
    bench = Bench()
    bench.begin()
    for member in MEMBERS:
        assert bench.fetch.arrived(member, Chunk(HEIGHT, ())) == []
        effects = bench.tick()
    assert effects == [Report("snapshot-abandoned", "nobody has this snapshot any more")]
    bench.pass_ms(10_000)
    bench.ask()


# holds SN-8
def test_fetch_when_blocks_come_as_far_gives_up() -> None:
    bench = Bench()
    bench.begin()
    bench.head = HEIGHT
    assert bench.tick() == [Report("snapshot-abandoned", "blocks have come as far")]
    assert not bench.fetch.is_active


# holds SN-8
def test_fetch_that_stands_still_lets_blocks_have_their_turn_and_goes_on_where_it_was() -> None:
    bench = Bench()
    (request,) = requests(bench.begin()).values()
    bench.keep("a", request, 0)
    bench.pass_ms(59_999)
    bench.hear()
    assert list(requests(bench.tick())) == ["a"]
    bench.pass_ms(1)
    assert bench.tick() == [Report("snapshot-abandoned", "no part of it came for long")]
    assert not bench.fetch.is_active
    bench.pass_ms(10_000)
    effects = bench.begin()
    assert not [effect for effect in effects if isinstance(effect, Open)]
    assert requests(effects)["a"].wanted == (Wanted(NUMBER, PARTS[0].end),)


# holds SN-8
def test_fetch_that_cannot_be_stored_or_installed_gives_up_for_a_while() -> None:
    bench = Bench()
    bench.begin()
    assert bench.fetch.failed("no room", bench.now) == [Report("snapshot-abandoned", "no room")]
    assert bench.tick() == []
    bench.pass_ms(10_000)
    assert bench.tick() == []
    assert Open(MANIFEST) in bench.begin()


# holds SN-8
def test_fetch_resumed_asks_only_for_what_is_missing() -> None:
    done = {number: Place(1024, 0) for number in range(SUBTREES) if number not in (3, 7)}
    bench = Bench(resumed=(MANY, {**done, 7: Place(5, 2)}))
    assert bench.fetch.is_active
    assert bench.tick() == []
    bench.hear()
    (request,) = requests(bench.tick()).values()
    assert request.wanted == (Wanted(3, Place()), Wanted(7, Place(5, 2)))


# ---- proof of an answer


WANTED = GetChunk(HEIGHT, (Wanted(NUMBER, Place()),))


# holds SN-4 SN-8
def test_chunk_of_the_place_that_was_asked_for_is_proven() -> None:
    assert check_chunk(MANIFEST, WANTED, Chunk(HEIGHT, PARTS[:1])) == {NUMBER: PARTS[0].end}
    later = GetChunk(HEIGHT, (Wanted(NUMBER, PARTS[1].end),))
    assert check_chunk(MANIFEST, later, Chunk(HEIGHT, PARTS[2:3])) == {NUMBER: PARTS[2].end}


# holds SN-4 SN-8
def test_chunk_that_is_no_answer_to_the_request_is_refused() -> None:
    with pytest.raises(ProofError, match="more parts"):
        check_chunk(MANIFEST, WANTED, Chunk(HEIGHT, PARTS[:2]))
    with pytest.raises(ProofError, match="not the one that was asked for"):
        check_chunk(MANIFEST, WANTED, Chunk(HEIGHT, PARTS[1:2]))
    twice = GetChunk(HEIGHT, (Wanted(NUMBER, Place()), Wanted(NUMBER, PARTS[1].start)))
    with pytest.raises(ProofError, match="another follows"):
        check_chunk(MANIFEST, twice, Chunk(HEIGHT, PARTS[:2]))
    with pytest.raises(ProofError, match="root of its subtree"):
        check_chunk(MANY, WANTED, Chunk(HEIGHT, PARTS[:1]))

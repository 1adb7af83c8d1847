"""A node that lost everything, or fell far behind, among others that prune (F39), lie in snapshots, and go on.

The joiner's decisions, stores, snapshots and proofs are the real ones; network, clock, crashes and the others' minds
are not. The others share one real store, since their stores would be equal.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final

from kit.exitcodes import StorageError
from master.consensus.backfill import Backfill, BackfillEffect, Fill
from master.consensus.events import Now, Report, Send
from master.consensus.fetch import FetchEffect, Install, Keep, Open, StateFetch, check_chunk
from master.consensus.message_codec import decode_message, encode_message
from master.consensus.messages import Blocks, GetBlocks, Message, Status
from master.consensus.snapshot_messages import Archive, Chunk, GetArchive, GetChunk, GetSnapshot, SnapshotManifest
from master.io.frames import FrameDecoder, FrameError
from master.io.store import Store
from master.io.store_tools import Fsck
from master.io.sync_disk import SyncDisk, adopt
from master.ledger.application import Application
from tests.simulation.join_plan import BLOCKS_MAX, JoinPlan, chain, draw_join
from tests.simulation.network import Agenda, Network
from tests.unit.ledger.worlds import make_genesis
from wire.errors import WireError
from wire.receipt import decode_outcome
from wire.snapshot import OldBlock, Part
from wire.tx import SignedTx

JOINER: Final = "joiner"
OTHERS: Final = ("a", "b", "c")
LIAR: Final = "b"
INTERVAL_MS: Final = 250
LAG_BLOCKS: Final = 6
KEPT_BLOCKS: Final = 5
PARTS_BYTES: Final = 2_000
ARCHIVE_BYTES: Final = 2_000
MAP_BYTES: Final = 16 * 1024 * 1024

_FAULTS_MS: Final = 12_000
_DEADLINE_MS: Final = 180_000


class CrashError(Exception):
    """The joiner's process dies here."""


@dataclass(frozen=True, slots=True)
class JoinOutcome:
    """What a run came to."""

    failure: str | None
    counts: Counter[str]


class JoinRun:
    """One run of one plan in a folder of its own."""

    def __init__(self, plan: JoinPlan, folder: Path) -> None:
        self._plan = plan
        self._rng = Random(f"joining {plan.seed}")
        self._genesis = make_genesis()
        self._agenda = Agenda()
        self.counts: Counter[str] = Counter()
        self._network = Network(plan.network, self._rng, self._agenda, self._deliver, self._count)
        self._source = Store.create(folder / "source" / "ledger", self._genesis, map_bytes=MAP_BYTES)
        self._shared = SyncDisk(self._source, folder / "source" / "ledger", self._genesis, MAP_BYTES)
        self._path = folder / "joiner" / "ledger"
        self._floor = 0
        self._fuse = 0
        self._is_up = False
        self._lives = 0
        self._is_calm = False
        self._store: Store
        self._disk: SyncDisk
        self._application: Application
        self._fetch: StateFetch
        self._backfill: Backfill
        self._asked_ms = 0

    def run(self) -> JoinOutcome:
        """Live through the plan; what breaks is in the outcome."""
        plan = self._plan
        failure = None
        try:
            for height in range(1, plan.start + 1):
                self._grow(height)
            with Store.create(self._path, self._genesis, map_bytes=MAP_BYTES) as store:
                for execution, certificate in chain()[: plan.own]:
                    store.commit(execution, certificate)
            self._floor = plan.own
            self._boot()
            for member in OTHERS:
                self._every(INTERVAL_MS, lambda member=member: self._say_status(member))  # type: ignore[misc]
            self._every(plan.growth_ms, lambda: self._grow(self._source.head().height + 1))
            self._every(100, self._tick)
            if plan.prunes:
                self._every(2_000, self._prune)
            self._agenda.run(_FAULTS_MS)
            self._network.is_healed = self._is_calm = True
            while not self._is_done():
                assert self._agenda.now_ms < _DEADLINE_MS, f"stuck: {self._standing()}"
                self._agenda.run(self._agenda.now_ms + 500)
            self._judge()
        except Exception as error:  # noqa: BLE001 whatever it dies of, its seed must be told
            failure = f"{type(error).__name__}: {error}"
        finally:
            self._down()
            self._shared.close()
            self._source.close()
        return JoinOutcome(failure, self.counts)

    # ---- the others ---------------------------------------------------------------------------

    def _grow(self, height: int) -> None:
        if height > BLOCKS_MAX or (self._is_calm and self._rng.random() < 0.8):
            return
        self._source.commit(*chain()[height - 1])
        if height % self._plan.snapshot_blocks == 0:
            self._shared.open_moment(lambda: False)()

    def _prune(self) -> None:
        end = self._source.head().height - KEPT_BLOCKS
        self.counts["pruned"] += self._source.prune(range(1, max(1, end)))

    def _say_status(self, member: str) -> None:
        height = self._source.head().height + 1
        if self._plan.lies and member == LIAR and not self._is_calm and self._rng.random() < 0.3:
            height += 1_000
        self._send(member, JOINER, Status(height, 0, "new"))

    def _answer(self, member: str, message: Message) -> Message | None:
        match message:
            case GetBlocks():
                found = []
                for height in range(message.first_height, message.first_height + 4):
                    block, certificate = self._source.block(height), self._source.certificate(height)
                    if block is None or certificate is None:
                        break
                    found.append((block, certificate))
                return Blocks(tuple(found))
            case GetSnapshot():
                return SnapshotManifest(self._shared.manifest())
            case GetChunk():
                wanted = [(entry.subtree, entry.place) for entry in message.wanted]
                return self._bend(
                    member, Chunk(message.height, self._shared.parts(message.height, wanted, PARTS_BYTES))
                )
            case GetArchive():
                blocks = self._shared.old_blocks(message.height, message.outcomes)[: self._rng.randint(1, 4)]
                return self._bend(member, Archive(blocks))
            case _:
                return None

    def _bend(self, member: str, message: Chunk | Archive) -> Message:
        """Let the liar change something that its signature does not cover."""
        if not self._plan.lies or member != LIAR:
            return message
        if isinstance(message, Archive):
            return Archive(self._bend_blocks(message.blocks))
        return Chunk(message.height, self._bend_parts(message.parts))

    def _bend_blocks(self, blocks: tuple[OldBlock, ...]) -> tuple[OldBlock, ...]:
        if not blocks:
            return ()
        first, *rest = blocks
        if not first.outcomes or self._rng.random() < 0.5:
            return (replace(first, outcomes=(*first.outcomes, b"and more")), *rest)
        outcome, *others = first.outcomes
        changed = replace(decode_outcome(outcome), code="other").encode()
        return (replace(first, outcomes=(changed, *others)), *rest)

    def _bend_parts(self, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        if not parts:
            return ()
        first, *others = parts
        kind = self._rng.choice(("entry", "path", "twice"))
        if kind == "entry" and first.entries:
            return (replace(first, entries=first.entries[1:]), *others)
        if kind == "path":
            return (replace(first, path=(*first.path, bytes(32))), *others)
        return (first, first, *others)[:64]

    # ---- the joiner ---------------------------------------------------------------------------

    def _boot(self) -> None:
        """Start as the real program does: first adopt what lies ready."""
        self._lives += 1
        self._fuse = 1 + int(self._rng.expovariate(1 / self._plan.fuse)) if self._plan.fuse and not self._is_calm else 0
        try:
            adopted = adopt(self._path, self._genesis, MAP_BYTES, self._raise_floor)
        except CrashError:
            self.counts["crash"] += 1
            self._agenda.after(100, self._boot)
            return
        self.counts["adopted"] += adopted is not None
        self._store = Store.open(self._path, self._genesis, map_bytes=MAP_BYTES)
        assert self._floor >= self._store.head().height, "the store is ahead of the guard: this would be quarantine"
        self._disk = SyncDisk(self._store, self._path, self._genesis, MAP_BYTES)
        joined = self._disk.joined()
        self.counts["resumed"] += joined is not None
        self._fetch = StateFetch(INTERVAL_MS, LAG_BLOCKS, joined)
        self._backfill = Backfill(INTERVAL_MS, 10, self._disk.due())
        self._application = Application(self._genesis, self._store, self._store.state_tree(), SignedTx.verify)
        self._is_up = True

    def _down(self) -> None:
        if self._is_up:
            self._is_up = False
            self._disk.close()
            self._store.close()

    def _raise_floor(self, height: int) -> None:
        self._floor = max(self._floor, height)
        self._burn()

    def _burn(self) -> None:
        """Die here, if it is time."""
        self._fuse -= 1
        if self._fuse == 0:
            raise CrashError

    def _live(self, work: Callable[[], None]) -> None:
        """Do something in the joiner's process; it may be killed in the middle."""
        if not self._is_up:
            return
        try:
            work()
        except CrashError:
            self.counts["crash"] += 1
            self._down()
            self._agenda.after(self._rng.randint(50, 1_500), self._boot)

    def _tick(self) -> None:
        def work() -> None:
            now = self._now()
            head = self._store.head().height
            self._perform(self._fetch.tick(head, now))
            if not self._is_up:
                return
            self._perform(self._backfill.tick(now))
            if not self._fetch.is_active and now.monotonic_ms >= self._asked_ms:
                self._asked_ms = now.monotonic_ms + INTERVAL_MS
                self._send(JOINER, self._rng.choice(OTHERS), GetBlocks(head + 1))

        self._live(work)

    def _hear(self, member: str, message: Message) -> None:
        now = self._now()
        match message:
            case Status():
                self._fetch.heard(member, message.height - 1, now)
                self._backfill.heard(member, now)
            case Blocks():
                if not message.blocks:
                    self._fetch.lacks(member, now)
                self._apply(message)
            case SnapshotManifest():
                self._offer(member, message)
            case Chunk():
                self._perform(self._fetch.arrived(member, message))
            case Archive():
                self._perform(self._backfill.arrived(member, message, now))
            case _:
                pass

    def _offer(self, member: str, message: SnapshotManifest) -> None:
        try:
            if message.manifest is not None:
                self._disk.prove(message.manifest)
        except WireError as error:
            self._perform(self._fetch.refused(member, str(error)))
        else:
            self._fetch.offered(member, message.manifest)

    def _apply(self, message: Blocks) -> None:
        for block, certificate in message.blocks:
            if block.header.height != self._store.head().height + 1:
                continue
            execution = self._application.process(self._store.head(), block)
            self._raise_floor(block.header.height)
            self._store.commit(execution, certificate)
            self._application.committed(execution)
            self._burn()

    def _perform(self, effects: list[FetchEffect] | list[BackfillEffect]) -> None:
        for effect in effects:
            self._burn()
            match effect:
                case Send():
                    self._send(JOINER, effect.member, effect.message)
                case Report():
                    self.counts[effect.code] += 1
                case Open():
                    self._disk.begin(effect.manifest)
                case Keep():
                    self._keep(effect)
                case Install():
                    self._install()
                case Fill():
                    self._fill(effect)

    def _keep(self, effect: Keep) -> None:
        try:
            places = check_chunk(effect.manifest, effect.request, effect.chunk)
        except WireError as error:
            self._perform(self._fetch.rejected(effect.member, str(error)))
            return
        self._disk.keep(effect.chunk.parts)
        self._burn()
        self._fetch.kept(effect, places, self._now())

    def _install(self) -> None:
        try:
            self._disk.finish()
        except StorageError as error:
            raise AssertionError(f"what was proven makes no store: {error}") from error
        self._burn()
        self._down()
        self._boot()

    def _fill(self, effect: Fill) -> None:
        try:
            due = self._disk.fill(effect.due, effect.archive)
        except WireError as error:
            self._perform(self._backfill.rejected(effect.member, str(error), self._now()))
            return
        self._burn()
        self._backfill.filled(effect.member, due, self._now())

    # ---- around -------------------------------------------------------------------------------

    def _now(self) -> Now:
        return Now(self._genesis.time_ms + self._agenda.now_ms, 50_000 + self._agenda.now_ms)

    def _every(self, mean_ms: int, call: Callable[[], None]) -> None:
        def again() -> None:
            call()
            self._agenda.after(self._rng.randint(mean_ms // 2, mean_ms * 3 // 2), again)

        self._agenda.after(self._rng.randint(1, mean_ms), again)

    def _send(self, sender: str, receiver: str, message: Message) -> None:
        self._network.send(sender, receiver, encode_message(message))

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    def _deliver(self, sender: str, receiver: str, stream: bytes, _is_spoiled: bool) -> None:  # noqa: FBT001
        try:
            frames = FrameDecoder().receive(stream)
            messages = [decode_message(raw) for raw in frames]
        except (FrameError, WireError):
            return
        for message in messages:
            self._take(sender, receiver, message)

    def _take(self, sender: str, receiver: str, message: Message) -> None:
        if receiver == JOINER:
            if isinstance(message, Blocks) and self._plan.network.spoiled and not self._are_certified(message):
                return
            self._live(lambda: self._hear(sender, message))
            return
        answer = self._answer(receiver, message)
        if answer is not None:
            self._send(receiver, sender, answer)

    def _are_certified(self, message: Blocks) -> bool:
        """Stand for the engine's check of certificates: a block is one of the chain or none."""
        known = [execution.head.digest for execution, _ in chain()]
        return all(block.header.digest() in known for block, _ in message.blocks)

    def _is_done(self) -> bool:
        is_there = self._is_up and self._store.head().height == self._source.head().height
        return is_there and self._store.archive.known_from() == 1 and not self._fetch.is_active

    def _standing(self) -> str:
        if not self._is_up:
            return "the joiner is down"
        heads = f"head {self._store.head().height} of {self._source.head().height}"
        past = f"past from {self._store.archive.known_from()}"
        return f"{heads}, {past}, {self._fetch.phase.value}, {self._fetch.missing} missing, {self.counts}"

    def _judge(self) -> None:
        """Compare the joiner's store with the others', record by record (I2, I13); bodies may differ.

        Raises:
            AssertionError: They differ.
        """
        damages = Fsck(self._store, self._genesis, lambda _: None).run()
        assert not damages, f"fsck: {damages[:3]}"
        assert self._store.state_tree().root == self._source.head().state_root
        height = self._store.head().height
        for at in range(1, height + 1):
            assert self._store.header(at) == self._source.header(at), f"header {at}"
            assert self._store.certificate(at) == self._source.certificate(at), f"certificate {at}"
        for table in ("state", "leaves", "history", "outcomes", "events", "epochs"):
            own, others = dict(self._store.raw_records(table)), dict(self._source.raw_records(table))
            assert own == others, f"table {table}: {len(own)} records, {len(others)} due"
        assert self._store.events(0, -1, 1_000) == self._source.events(0, -1, 1_000)


def run_join(seed: int, folder: Path) -> JoinOutcome:
    """Run one seed in a folder of its own."""
    return JoinRun(draw_join(seed), folder / str(seed)).run()


def main() -> int:
    """Run seeds: FIRST [COUNT]; print what breaks, and how often the rare situations came."""
    first, count = int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 1
    counts: Counter[str] = Counter()
    failed = 0
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory() as folder:
            outcome = run_join(seed, Path(folder))
        counts.update(outcome.counts)
        if outcome.failure is not None:
            failed += 1
            sys.stdout.write(f"seed {seed}: {outcome.failure}\n")
    sys.stdout.write(f"{count} seeds, {failed} failed: {dict(sorted(counts.items()))}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())

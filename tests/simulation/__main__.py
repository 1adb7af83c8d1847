"""Campaigns: ``python -m tests.simulation --first 0 --seeds 100 [--profile NAME]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.cluster import run_plan
from tests.simulation.coverage import missing, summary
from tests.simulation.kept import FOLDER, KEPT, read_kept, write_kept
from tests.simulation.plan import BLOB_PROFILES, PROFILES, draw_plan
from tests.simulation.scripts import SCRIPTS, run_script


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run seeds one after the other; print one line for each that fails."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument(
        "--profile", choices=(*PROFILES, *BLOB_PROFILES), default=None, help="one mix of faults for all seeds"
    )
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    parser.add_argument("--trace", action="store_true", help="print the digest of the first seed's run and end")
    parser.add_argument(
        "--kept", choices=[path.stem for path in KEPT], default=None, help="repeat one kept run instead"
    )
    parser.add_argument("--keep", default="", help="keep the plan of the first failing seed under this name")
    parser.add_argument("--script", choices=SCRIPTS, default=None, help="play one fixed schedule instead")
    arguments = parser.parse_args()
    if arguments.trace:
        say(run_plan(draw_plan(arguments.first, arguments.profile)).trace)
        return 0
    if arguments.script is not None:
        failure = run_script(arguments.script)
        say("1 script, 0 failed" if failure is None else f"FAILED {failure}")
        return 0 if failure is None else 1
    if arguments.kept is not None:
        failure = run_plan(read_kept(FOLDER / f"{arguments.kept}.json").plan).failure
        say("1 run, 0 failed" if failure is None else f"FAILED {failure}")
        return 0 if failure is None else 1
    return campaign(arguments)


def campaign(arguments: argparse.Namespace) -> int:
    """Run many seeds and say what they met."""
    counts: Counter[str] = Counter()
    failed = slowest_ms = heights = 0
    start_s = time.monotonic()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        outcome = run_plan(draw_plan(seed, arguments.profile))
        counts.update(outcome.counts)
        slowest_ms = max(slowest_ms, outcome.healed_ms)
        heights += outcome.height
        if outcome.failure is not None:
            failed += 1
            again = f"python -m tests.simulation --seeds 1 --first {seed}"
            again += f" --profile {arguments.profile}" if arguments.profile else ""
            say(f"FAILED {outcome.failure} | again: {again}")
            if arguments.keep and failed == 1:
                write_kept(arguments.keep, outcome.failure, draw_plan(seed, arguments.profile))
            if arguments.stop:
                break
    took_s = time.monotonic() - start_s
    say(f"{arguments.seeds} seeds, {failed} failed, {heights} blocks, {took_s:.0f} s")
    say(f"slowest healing: {slowest_ms} ms of virtual time")
    for line in summary(counts):
        say(line)
    never = missing(counts)
    say(f"never met: {', '.join(never)}" if never else "everything in the table was met")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

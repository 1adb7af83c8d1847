"""``python -m tests.campaign --minutes 30 --devices 100 [--seed N]``: faults at random, until the time is over."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import structlog

from firmware_sim.faults import CATALOGUE
from tests.campaign.bench import running
from tests.campaign.run import Campaign, Outcome

DEVICES = 100


def main() -> int:
    """Run one campaign and print what it saw; exit code 1 after any false or missed alarm."""
    parser = argparse.ArgumentParser(prog="campaign")
    parser.add_argument("--minutes", type=float, default=30, help="how long (default 30)")
    parser.add_argument("--devices", type=int, default=DEVICES, help=f"how many (default {DEVICES})")
    parser.add_argument("--seed", type=int, default=0, help="decides which fault comes when")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="gridwitness-campaign-") as name:
        outcome = campaign(Path(name), arguments.devices, arguments.minutes * 60, arguments.seed)
    show(outcome)
    return 1 if outcome.problems else 0


def campaign(folder: Path, devices: int, seconds: float, seed: int) -> Outcome:
    """Make a bench below ``folder`` and try faults on it for so long."""
    with running(folder, devices) as bench:

        async def run() -> Outcome:
            return await Campaign(bench, seed).run(seconds)

        return asyncio.run(run())


def show(outcome: Outcome) -> None:
    """Print a line for each fault and each problem."""
    for fault in CATALOGUE:
        say(
            f"{fault:24} {outcome.trials[fault]:7} trials {outcome.detected[fault]:7} alarms at the first complete poll"
        )
    trials = sum(outcome.trials.values())
    say(f"{trials} trials, {outcome.polls} polls, {outcome.unread} of them not complete")
    told = ", ".join(f"{outcome.events[name]} {name}" for name in sorted(outcome.events) if name.startswith("alarm"))
    say(f"{outcome.blocks} blocks, {outcome.events['report_accepted']} reports, {told}")
    for problem in outcome.problems:
        say(f"WRONG {problem}")
    say(f"{len(outcome.problems)} false or missed alarms")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

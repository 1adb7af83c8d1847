"""Bugs that others have shipped, each as an edit of this source, with the faults under which the simulator finds it.

Source: the list of section "Mutation gate" in the reference; `NAMED` holds its fifteen. The others concern the signer
guard, quarantine, complaints and what is sent in the order of a set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement; ``old`` stands exactly once in the file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    profile: str
    """Fault profile of the simulator, ``script:NAME`` or ``hash-seeds:PROFILE``."""
    seed: int
    """Where it was found last; tried first."""
    edits: tuple[Edit, ...]
    breaks: str = ""
    """How the failure begins: the invariant that this bug breaks."""


NAMED: Final = (
    "quorum of 2f+1 with six validators",
    "certificate dropped on view change",
    "certificate of the lowest view wins",
    "VIEW-CHANGE never sent again",
    "vote sent before it is on disk",
    "digest taken from the certificate, not from the block",
    "freshness asked of a block that is proposed again",
    "votes while catching up",
    "highest announced view adopted",
    "block applied twice",
    "outcomes' events in the order of a set",
    "stale validators after an epoch",
    "VIEW-CHANGE signed without its certificate",
    "body not in the log",
    "only VIEW-CHANGEs for exactly this view counted",
)
"""The bugs that must be in the gate, whatever else is."""

_REPLICA, _SYNC, _VOTES = (f"master/consensus/{name}.py" for name in ("replica", "sync", "votes"))
_CHECKS, _MESSAGES, _GUARD = (f"master/consensus/{name}.py" for name in ("checks", "messages", "guard"))
_PROOFS: Final = "master/consensus/message_checks.py"
_RECOVERY, _SIGNER, _VIEWS = (f"master/consensus/{name}.py" for name in ("recovery", "signer", "views"))

MUTANTS: Final = (
    Mutant(
        "stale validators after an epoch",
        "leader",
        0,
        (
            Edit(
                "master/consensus/state.py",
                "        epoch = head.epoch or Epoch(self.epoch, self.validators)\n",
                "        epoch = Epoch(self.epoch, self.validators)\n",
            ),
        ),
        breaks="an honest node's message was refused",
    ),
    Mutant(
        "quorum of 2f+1 with six validators",
        "six",
        0,
        (
            Edit(
                "wire/certificate.py",
                "return (validators + faults(validators)) // 2 + 1",
                "return 2 * faults(validators) + 1",
            ),
        ),
        breaks="ValueError: QC-1 QC-6",
    ),
    Mutant(
        "certificate dropped on view change",
        "delays",
        0,
        (
            Edit(
                _VIEWS,
                "        digest = prepared_digest(state.prepared)\n",
                "        state.prepared = None\n        digest = prepared_digest(state.prepared)\n",
            ),
        ),
    ),
    Mutant(
        "certificate of the lowest view wins",
        "script:lowest-pc",
        0,
        (Edit(_VOTES, "return max(prepared, key=", "return min(prepared, key="),),
        breaks="script lowest-pc: fork",
    ),
    Mutant(
        "VIEW-CHANGE never sent again",
        "lossy",
        0,
        (
            Edit(
                _SYNC,
                "            messages.append(state.own[Step.VIEW_CHANGE])\n",
                "            pass\n",
            ),
            Edit(_SYNC, "            messages += state.view_changes.all()\n", "            pass\n"),
        ),
        breaks="L1",
    ),
    Mutant(
        "vote sent before it is on disk",
        "calm",
        0,
        (
            Edit(
                _REPLICA,
                "return [persist, self._voice.seal(), Broadcast(vote)]",
                "return [Broadcast(vote), persist, self._voice.seal()]",
            ),
        ),
        breaks="node-0 sent PREPARE of view 0 before it was on disk",
    ),
    Mutant(
        "digest taken from the certificate, not from the block",
        "liar",
        1,
        (
            Edit(_PROOFS, "certificate.digest != block.header.digest() or certificate.step", "certificate.step"),
            Edit(
                _SYNC,
                "certified = (certificate.height, certificate.epoch, certificate.digest)",
                "certified = (certificate.height, certificate.epoch, header.digest())",
            ),
        ),
        breaks="I1",
    ),
    Mutant(
        "freshness asked of a block that is proposed again",
        "outage",
        13,
        (Edit(_CHECKS, "if carried is None and abs(", "if abs("),),
        breaks="L1",
    ),
    Mutant(
        "votes while catching up",
        "delays",
        0,
        (
            Edit(
                _SYNC,
                "return bool(self._waiting) or len(fresh) > faults(len(state.rules.validators))",
                "return not fresh and False",
            ),
        ),
        breaks="catching up",
    ),
    Mutant(
        "highest announced view adopted",
        "liar",
        0,
        (Edit(_VIEWS, "nth_highest_view(enough)", "nth_highest_view(1)"),),
        breaks="I16",
    ),
    Mutant(
        "block applied twice",
        "liar",
        0,
        (
            Edit(
                _SYNC,
                "if (header.height, header.epoch, header.parent) == due and certified == (*due[:2], header.digest()):",
                "if certified[1:] == (due[1], header.digest()):",
            ),
            Edit(
                _SYNC,
                "useful = [pair for pair in message.blocks if pair[0].header.height >= state.rules.height]",
                "useful = list(message.blocks)",
            ),
        ),
    ),
    Mutant(
        "outcomes' events in the order of a set",
        "hash-seeds:real",
        0,
        (
            Edit(
                "master/ledger/application.py",
                "raw = Outcome(signed.id, code, tuple(events)).encode()",
                "kinds = {event.type for event in events}\n"
                "            events[:] = [event for kind in kinds for event in events if event.type == kind]\n"
                "            raw = Outcome(signed.id, code, tuple(events)).encode()",
            ),
        ),
        breaks="another trace",
    ),
    Mutant(
        "messages in the order of a set",
        "hash-seeds:silent",
        0,
        (Edit(_VOTES, "for member in sorted(self._slots))", "for member in set(self._slots))"),),
        breaks="another trace",
    ),
    Mutant(
        "VIEW-CHANGE signed without its certificate",
        "script:stripped-pc",
        0,
        (Edit(_MESSAGES, "    if prepared is None:\n", "    if prepared is None or prepared.height:\n"),),
        breaks="script stripped-pc: fork",
    ),
    Mutant(
        "body not in the log",
        "outage",
        0,
        (
            Edit(
                _REPLICA,
                "basis = () if proposal.member == self._settings.member else (Accepted(proposal),)",
                "basis: tuple[Record, ...] = ()",
            ),
            Edit(_REPLICA, "basis = () if prepared.digest in state.logged else (Fetched(body),)", "basis = ()"),
        ),
    ),
    Mutant(
        "only VIEW-CHANGEs for exactly this view counted",
        "lonely",
        3,
        (Edit(_VOTES, "sum(entry.view >= view for", "sum(entry.view == view for"),),
    ),
    Mutant(
        "signer guard asked for nothing",
        "torn",
        0,
        (
            Edit(_GUARD, "        if statement.place < self.place:\n", "        if self.is_restored and False:\n"),
            Edit(
                _GUARD,
                "        if statement.place == self.place and statement.digest != self.digest:\n",
                "        if self.is_restored and False:\n",
            ),
        ),
        breaks="I3",
    ),
    Mutant(
        "no quarantine without a guard",
        "erased",
        0,
        (
            Edit(
                _RECOVERY,
                "    if guard is None:\n",
                "    if guard is None or guard.is_restored:\n        return None\n    if guard is None:\n",
            ),
            Edit(_RECOVERY, "if not guard.contradicts(said):", "if not guard.contradicts(said) or self.nonce:"),
        ),
        breaks="I3",
    ),
    Mutant(
        "floor not raised before the block is stored",
        "calm",
        0,
        (
            Edit(
                _SIGNER,
                "        if height <= self.guard.floor:\n",
                "        if height >= 0:\n",
            ),
            Edit(_GUARD, "statement.view, max(floor, statement.height)", "statement.view, floor"),
        ),
    ),
    Mutant(
        "a new guard doubted by nobody",
        "reformat",
        5,
        (Edit("master/consensus/voice.py", "        if proven >= self._seated_from:\n", "        if proven < 0:\n"),),
        breaks="I3",
    ),
    Mutant(
        "what a closed connection said still counts",
        "lossy",
        0,
        (Edit(_REPLICA, "                self._sync.gone(event.member)\n", "                pass\n"),),
        breaks="closed connections",
    ),
    Mutant(
        "no complaint about a censor",
        "censor",
        0,
        (
            Edit(
                _VIEWS,
                "        if state.view or not is_late or",
                "        if is_late or state.view or not is_late or",
            ),
        ),
    ),
    Mutant(
        "votes without the blob",
        "blobs",
        0,
        (
            Edit(
                "master/availability.py",
                "missing = tuple(blob for blob in blobs if not self._holds(blob))",
                "missing = tuple(blob for blob in blobs[:0] if not self._holds(blob))",
            ),
        ),
        breaks="votes hold blobs",
    ),
)

"""The ledger's rules: which transactions count, and what a block makes of the state. Pure, ABCI-shaped.

check -> propose or process -> (the shell commits the execution to its store) -> committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from master.contracts import membership, validator_records
from master.contracts.context import OK, Refused
from master.contracts.membership_decisions import Code
from master.contracts.table import Software, own_software
from master.contracts.validator_records import Admitted
from master.ledger import genesis as height_0
from master.ledger.blobs import BlobRoom, check_room, record
from master.ledger.call import BlockCall, CallContext, StateReads, Surroundings, decode_entry
from master.ledger.code import RunningCode
from master.ledger.faults import EpochSets, FaultCourt, FaultRefusedError
from master.ledger.parameters import LedgerParameters, ledger_parameters
from master.ledger.parsed import ParsedEntry
from master.ledger.preview import preview
from master.ledger.ran import FAULT_RESULT, Ran, execution_of, results_of
from master.ledger.refusals import BlockRefused, ContractFaultError, TxRefused
from master.ledger.rows import Execution, Head
from master.ledger.sequence import NAMESPACE as SEQUENCE
from master.ledger.sequence import SequenceWindow, decode_window
from master.ledger.state import Overlay, StateReader, Write
from master.ledger.tree import StateTree
from wire.block import Block
from wire.certificate import ValidatorSet
from wire.errors import SignatureError, WireError
from wire.genesis import AccountKey, Gateway, Genesis, Station
from wire.header import Header, tx_root
from wire.merkle import tree_head
from wire.receipt import EVENTS_MAX, OUTCOME_BYTES_MAX, Event, Outcome, decode_outcome
from wire.tx import SignedTx, open_tx
from wire.types import Digest

Verify = Callable[[SignedTx, bytes], None]
"""(transaction, public key of 32 bytes); raises SignatureError when the key did not sign it."""

Open = Callable[[bytes], SignedTx]
"""Parses a signed transaction as `wire.tx.open_tx` does; may answer from memory for bytes that it has seen."""

_WINDOWS_MAX: Final = 16_384
"""Of 0.6 KB each, that were written last."""
_ACCOUNT_KEYS_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block stands."""

    height: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What the state knows of a transaction that may stand in a block."""

    key: AccountKey
    window: SequenceWindow


class Application:
    """Applies the rules to a state that somebody else keeps.

    Args:
        genesis: Of this ledger.
        reader: State after the newest committed block.
        tree: Over the leaves of that state.
        verify: Checks a signature; the shell injects one that remembers.
        open_tx: Opens a block's transactions; the shell injects one that remembers.
        epochs: Validators of every epoch up to now; without it, those of the genesis file alone.
        height: Of the newest committed block.
        software: The contracts that can be run; this program's own if not given.

    Raises:
        FormatError: The genesis file asks for parameters that this software does not know; a `CodeDueError` when the
            next block is executed by contracts that it does not have.
    """

    def __init__(
        self,
        genesis: Genesis,
        reader: StateReader,
        tree: StateTree,
        verify: Verify,
        open_tx: Open = open_tx,
        epochs: EpochSets | None = None,
        *,
        height: int = 0,
        software: Software | None = None,
    ) -> None:
        self._genesis_writes = height_0.genesis_writes(genesis)
        self._chain = genesis.chain()
        self._reader = reader
        self._tree = tree
        self._verify = verify
        self._open_tx = open_tx
        first_set = genesis.validator_set()
        self._court = FaultCourt(self._chain, epochs or {0: first_set}.get)
        self._account_keys: dict[bytes, tuple[bytes, AccountKey]] = {}
        self._windows: dict[bytes, tuple[bytes, SequenceWindow]] = {}
        valid, super_only = b"parameter/tx_valid_ms_max", b"parameter/super_only"
        read_valid = partial(membership.integer_parameter, name="tx_valid_ms_max")
        self._tx_valid_ms_max = ParsedEntry(membership.NAMESPACE, valid, read_valid)
        self._super_only = ParsedEntry(membership.NAMESPACE, super_only, membership.super_only)
        self._code = RunningCode(software or own_software(), reader, height)
        self._code.check()

    def check_code(self) -> None:
        """Return if this software can execute the next block.

        Raises:
            CodeDueError: It cannot.
        """
        self._code.check()

    def coming_code(self) -> tuple[Code, ...]:
        """Return the contract versions that begin after the next block, sorted by name and version."""
        return self._code.coming()

    def parameters(self) -> LedgerParameters:
        """Return the parameters by which nodes go, as the newest committed state says."""
        return ledger_parameters(StateReads(Overlay(self._reader)))

    def validators(self) -> ValidatorSet:
        """Return the set that decides the next block but one, as the newest committed state says."""
        return validator_records.validator_set(StateReads(Overlay(self._reader)))

    def gateways(self) -> tuple[tuple[Gateway, Station], ...]:
        """Return every gateway and its station, as the newest committed state says."""
        return tuple(membership.gateways(StateReads(Overlay(self._reader))))

    def peers(self, head: Head) -> tuple[Admitted, ...]:
        """Return who may connect to full nodes: the validators of the committed state, and those it admits beside."""
        state = StateReads(Overlay(self._reader))
        grace_blocks = membership.integer_parameter(state, "ready_blocks_max")
        return (
            *(
                Admitted(record.member, record.tls_certificate, record.address)
                for record in validator_records.records(state)
            ),
            *validator_records.admitted(state, head.height, head.time_ms, grace_blocks),
        )

    def genesis_writes(self) -> tuple[Write, ...]:
        """Return the writes of height 0, sorted by namespace and key."""
        return self._genesis_writes

    def check(self, tx: SignedTx, time_ms: int) -> None:
        """Tell whether a transaction could stand in a block of that time on the newest committed state.

        Args:
            tx: As opened.
            time_ms: Block time, milliseconds since 1970 UTC.

        Raises:
            TxRefused: Not now, or never; its code says why.
        """
        self._admit(Overlay(self._reader), tx, time_ms, self._verify)

    def fits(self, tx: SignedTx, height: int, time_ms: int) -> bool:
        """Tell whether a block of that height and time could hold a transaction: it is tried, and nothing is kept.

        A contract that fails by its own mistake shows only so; every honest leader leaves that transaction out.
        """
        try:
            self.outcome_of(tx, height, time_ms)
        except (TxRefused, ContractFaultError):
            return False
        return True

    def outcome_of(self, tx: SignedTx, height: int, time_ms: int) -> Outcome:
        """Return what a transaction would come to in a block of that height and time; nothing is kept.

        Raises:
            TxRefused: It could not stand there.
            ContractFaultError: The contract failed by its own mistake.
        """
        return decode_outcome(self._run(Overlay(self._reader), tx, _Place(height, time_ms)).outcome)

    def screen(self, tx: SignedTx, time_ms: int) -> AccountKey:
        """Do what `check` does, but leave the signature to the caller, who may verify many at once elsewhere.

        Returns:
            The key that must have signed it, with its account and whose that is.

        Raises:
            TxRefused: Not now, or never; its code says why.
        """
        return self._admit(Overlay(self._reader), tx, time_ms, _unverified).key

    def propose(  # noqa: PLR0913 - all that a block is built from
        self,
        head: Head,
        *,
        proposer: str,
        epoch: int,
        validators_hash: Digest,
        next_validators_hash: Digest,
        time_ms: int,
        candidates: Sequence[SignedTx],
        bytes_max: int,
        fault_proofs: Sequence[bytes] = (),
        is_late: Callable[[], bool] = lambda: False,
    ) -> tuple[Execution, tuple[tuple[Digest, str], ...]]:
        """Build and execute the block after ``head``.

        Candidates are taken in their order until one does not fit or it is late; what cannot stand in the block is left
        out.

        Args:
            head: The newest committed block.
            proposer: This node's member name.
            epoch: Number of the validator set.
            validators_hash: Of that set.
            next_validators_hash: Of the set that decides the next block.
            time_ms: Block time, above the head's.
            candidates: In the order of execution.
            bytes_max: Most bytes of transactions; the ledger's own limit holds too.
            fault_proofs: What is known against validators; taken as far as it may stand in the block.
            is_late: Whether the block has enough once it holds a transaction: voters refuse an old block time.

        Returns:
            The execution, and (id, code) of every candidate that was refused.

        Raises:
            ValueError: The time is not above the head's.
        """
        self._check_head(head)
        if time_ms <= head.time_ms:
            raise ValueError(f"block time {time_ms} is not above the head's {head.time_ms}")
        place = _Place(head.height + 1, time_ms)
        block_state = self._open_block(head, place)
        room = min(bytes_max, self._block_bytes_max(block_state))
        taken, done, refused = self._take(block_state, candidates, place, room, is_late)
        outcomes = [ran.outcome for ran in done]
        proofs = self._court.choose(block_state, fault_proofs, place.height, place.time_ms)
        writes = block_state.writes()
        leaves, update = preview(self._reader, self._tree, writes)
        header = Header(
            chain=self._chain,
            epoch=epoch,
            height=place.height,
            proposer=proposer,
            time_ms=time_ms,
            parent=head.digest,
            tx_count=len(taken),
            tx_root=tx_root(taken),
            outcome_root=tree_head(outcomes),
            state_root=update.root,
            history_root=head.history.head(),
            validators_hash=validators_hash,
            next_validators_hash=next_validators_hash,
            code_table_hash=self._code.hash,
            fault_proof_root=tree_head(proofs),
        )
        block = Block(header, tuple(taken), proofs)
        return execution_of(head, block, done, (writes, leaves, update)), refused

    def process(self, head: Head, block: Block) -> Execution:
        """Check and execute a block that somebody else built.

        Who may propose, how far the time may be from the clock, and certificates are not judged here.

        Raises:
            BlockRefused: It may not follow ``head``, or leads to other roots than its header says.
        """
        self._check_head(head)
        self._check_header(head, block)
        place = _Place(block.header.height, block.header.time_ms)
        block_state = self._open_block(head, place)
        if sum(map(len, block.transactions)) > self._block_bytes_max(block_state):
            raise BlockRefused("too-large", "its transactions exceed block_bytes_max")
        if len(block.transactions) != block.header.tx_count:
            raise BlockRefused("tx-count", "it holds another number of transactions than its header says")
        if block.tx_root() != block.header.tx_root:
            raise BlockRefused("tx-root", "its transactions lead to another tx_root")
        done: list[Ran] = []
        blobs = BlobRoom()
        for number, raw in enumerate(block.transactions):
            try:
                signed = self._open_tx(raw)
                check_room(blobs, self._code.named_blobs(signed.tx), signed.tx.sender)
                done.append(self._run(block_state, signed, place))
            except WireError as error:
                raise BlockRefused("bad-transaction", f"transaction {number}: {error}") from error
            except TxRefused as error:
                raise BlockRefused("bad-transaction", f"transaction {number}: {error.code}") from error
            except ContractFaultError as error:
                results = (*results_of(done), FAULT_RESULT)
                raise BlockRefused("contract-fault", f"transaction {number}: {error}", results) from error
        self._record_faults(block_state, block)
        if tree_head(ran.outcome for ran in done) != block.header.outcome_root:
            raise BlockRefused("outcome-root", "its transactions have other outcomes here", results_of(done))
        writes = block_state.writes()
        leaves, update = preview(self._reader, self._tree, writes)
        if update.root != block.header.state_root:
            raise BlockRefused("state-root", "its transactions lead to another state here", results_of(done))
        return execution_of(head, block, done, (writes, leaves, update))

    def committed(self, execution: Execution) -> None:
        """Bring the tree up to date after the store has taken the execution.

        Raises:
            ValueError: The execution does not follow the state that the tree stands for.
        """
        self._tree.apply(execution.tree_update)
        self._code.follow(execution.head.height, execution.writes)

    def _take(
        self,
        state: Overlay,
        candidates: Sequence[SignedTx],
        place: _Place,
        room: int,
        is_late: Callable[[], bool],
    ) -> tuple[list[bytes], list[Ran], tuple[tuple[Digest, str], ...]]:
        """Execute candidates until one does not fit into ``room`` bytes, or it is late and there is one.

        Returns:
            Transactions, what came of them, and (id, code) of what was refused.
        """
        taken: list[bytes] = []
        done: list[Ran] = []
        refused: list[tuple[Digest, str]] = []
        blobs = BlobRoom()
        for candidate in candidates:
            named = self._code.named_blobs(candidate.tx)
            if len(candidate.raw) > room or (taken and is_late()) or not blobs.takes(named):
                break
            try:
                done.append(self._run(state, candidate, place))
            except TxRefused as error:
                refused.append((candidate.id, error.code))
            except ContractFaultError:
                refused.append((candidate.id, "contract-fault"))
            else:
                taken.append(candidate.raw)
                room -= len(candidate.raw)
        return taken, done, tuple(refused)

    def _record_faults(self, state: Overlay, block: Block) -> None:
        try:
            self._court.execute(state, block.fault_proofs, block.header.height, block.header.time_ms)
        except FaultRefusedError as error:
            raise BlockRefused("fault-proofs", str(error)) from error

    def _check_head(self, head: Head) -> None:
        if head.state_root != self._tree.root:
            raise ValueError("the head has another state root than the state tree")

    def _check_header(self, head: Head, block: Block) -> None:
        header = block.header
        rules = (
            ("chain", header.chain == self._chain, f"it is of chain {header.chain}"),
            ("height", header.height == head.height + 1, f"{header.height}, {head.height + 1} is due"),
            ("parent", header.parent == head.digest, "it does not follow the head"),
            ("history-root", header.history_root == head.history.head(), "another history_root"),
            ("time", header.time_ms > head.time_ms, f"{header.time_ms} is not above the head's {head.time_ms}"),
            ("code-table", header.code_table_hash == self._code.hash, "another code_table_hash"),
            ("fault-proofs", header.fault_proof_root == tree_head(block.fault_proofs), "another fault_proof_root"),
        )
        for code, holds, detail in rules:
            if not holds:
                raise BlockRefused(code, detail)

    def _open_block(self, head: Head, place: _Place) -> Overlay:
        """Return the state on which a block's transactions run: contracts have looked at the block before."""
        state = Overlay(self._reader)
        self._code.begin(state, place.time_ms)
        for name, opening in self._code.openings:
            opening(BlockCall(name, state, place.height, place.time_ms), head.state_root)
        return state

    def _block_bytes_max(self, state: Overlay) -> int:
        return membership.integer_parameter(StateReads(state), "block_bytes_max")

    def _admit(self, state: Overlay, tx: SignedTx, time_ms: int, verify: Verify) -> _Admitted:
        """Return what the state knows of the signing key, or refuse."""
        call = tx.tx
        if call.chain != self._chain:
            raise TxRefused("wrong-chain")
        contract = self._code.contracts.get(call.contract)
        if contract is None or not contract.takes(call.version):
            raise TxRefused("unknown-contract")
        if call.method not in contract.methods:
            raise TxRefused("unknown-method")
        key = self._signer(state, tx, time_ms)
        if call.valid_until_ms < time_ms:
            raise TxRefused("expired")
        if call.valid_until_ms - time_ms > self._tx_valid_ms_max.of(state):
            raise TxRefused("valid-too-long")
        try:
            verify(tx, key.key)
        except SignatureError as error:
            raise TxRefused("bad-signature") from error
        window = self._window(state, tx.envelope.kid)
        if window.is_used(call.seq):
            raise TxRefused("replayed")
        return _Admitted(key, window)

    def _signer(self, state: Overlay, tx: SignedTx, time_ms: int) -> AccountKey:
        """Return the key that a transaction names, if it may sign for its sender now."""
        key = self._account_key(state, tx.envelope.kid)
        if key is None:
            raise TxRefused("unknown-key")
        if key.sender != tx.tx.sender:
            raise TxRefused("wrong-sender")
        if not membership.may_sign(StateReads(state), key, time_ms):
            raise TxRefused("suspended")
        return key

    def _window(self, state: Overlay, kid: bytes) -> SequenceWindow:
        """Return the window of a key; one that this application wrote itself is not decoded again."""
        raw = state.get(SEQUENCE, kid)
        known = self._windows.get(kid)
        return known[1] if known is not None and known[0] == raw else decode_window(raw)

    def _use(self, state: Overlay, kid: bytes, window: SequenceWindow) -> None:
        """Write the window of a key."""
        raw = window.encode()
        if len(self._windows) >= _WINDOWS_MAX:
            self._windows.clear()
        self._windows[kid] = raw, window
        state.put(SEQUENCE, kid, raw)

    def _account_key(self, state: Overlay, kid: bytes) -> AccountKey | None:
        """Return the key that a kid names; an entry that says what it said last is not decoded again."""
        raw = state.get(membership.NAMESPACE, membership.account_key_entry(kid))
        if raw is None:
            return None
        known = self._account_keys.get(kid)
        if known is not None and known[0] == raw:
            return known[1]
        key = membership.decode_account_key(decode_entry(raw))
        while len(self._account_keys) >= _ACCOUNT_KEYS_MAX:
            self._account_keys.pop(next(iter(self._account_keys)), None)
        self._account_keys[kid] = (raw, key)
        return key

    def _run(self, state: Overlay, signed: SignedTx, place: _Place) -> Ran:
        """Execute one transaction on ``state``.

        Raises:
            TxRefused: It may not stand here; nothing was changed.
            ContractFaultError: A contract failed; nothing was changed.
        """
        admitted = self._admit(state, signed, place.time_ms, self._verify)
        around = Surroundings(signed, admitted.key.organisation, place.height, place.time_ms)
        call_state = Overlay(state)
        events: list[Event] = []
        try:
            code = self._call(around, call_state, events)
            if code == OK:
                record(call_state, self._code.named_blobs(signed.tx), around.organisation, place.height, place.time_ms)
            raw = Outcome(signed.id, code, tuple(events)).encode()
        except Refused as error:
            events.clear()
            raw, call_state = Outcome(signed.id, error.code, ()).encode(), Overlay(state)
        except Exception as error:
            raise ContractFaultError(f"{signed.tx.contract} {signed.tx.method}: {type(error).__name__}") from error
        if len(events) > EVENTS_MAX or len(raw) > OUTCOME_BYTES_MAX:
            events.clear()
            raw, call_state = Outcome(signed.id, "outcome-too-large", ()).encode(), Overlay(state)
        self._use(call_state, signed.envelope.kid, admitted.window.use(signed.tx.seq))
        state.absorb(call_state)
        return Ran(signed.id, raw, len(events))

    def _call(self, around: Surroundings, state: Overlay, events: list[Event]) -> str:
        call = around.signed.tx
        contract = self._code.contracts[call.contract]
        context = CallContext(around, contract.name, state, events)
        act = f"{contract.name}.{call.method}"
        if act in self._super_only.of(state) and not membership.may(context, act):
            raise Refused("super-node-only")
        code = contract.methods[call.method](context, call.args)
        if code != OK:
            return code
        for event in tuple(events):
            for name, other in self._code.contracts.items():
                reaction = other.reactions.get((event.contract, event.type))
                if reaction is not None:
                    reaction(CallContext(around, name, state, events), event)
        return code


def _unverified(_tx: SignedTx, _public_key: bytes) -> None:
    """Stand in for a check of the signature that is done elsewhere."""

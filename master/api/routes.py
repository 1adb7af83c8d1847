"""The one table of routes: the application and its description are both made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from master.api import blobs, chain, compliance, faults, lists, proofs, service, stream, submit
from master.api.call import Handler
from master.api.parameters import Parameter
from master.views.schema import Schema, Table, hexadecimal, record, sequence, text
from master.views.table import TABLES

JSON: Final = "application/json"
_OCTETS: Final[Schema] = {"type": "string", "format": "binary"}
_PLAIN: Final[Schema] = {"type": "string"}

RESULTS_SCHEMA: Final[Schema] = record(
    {
        "results": sequence(
            {
                "type": "object",
                "properties": {
                    "id": hexadecimal("SHA-256 of the transaction's bytes.", 32),
                    "status": text(choices=("pending", "duplicate", "refused")),
                    "reason": text("Code of the refusal."),
                    "blobs": sequence(
                        hexadecimal("SHA-256 of one.", 32),
                        "Blobs that must be brought to /v1/blobs before it can stand in a block.",
                    ),
                },
                "required": ["id", "status"],
                "additionalProperties": False,
            }
        )
    },
    "What became of each transaction, in their order.",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One good answer of a route."""

    about: str
    content: Mapping[str, Schema]
    """Schema by media type."""


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method."""

    path: str
    name: str
    """operationId."""
    about: str
    handler: Handler
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter[object], ...] = ()
    method: Literal["GET", "POST", "PUT"] = "GET"
    body: Mapping[str, Schema] = field(default_factory=dict)
    """Schema of the request's body by media type."""
    pattern: str = ""
    """``path`` as the router reads it, where the two differ."""
    problems: tuple[int, ...] = (400,)
    """Statuses of problems beside 404, 405, 414, 431, 500 and 503, which any request may get."""


def _json(about: str, schema: Schema) -> dict[int, Answer]:
    return {200: Answer(about, {JSON: schema})}


def _view_routes(table: Table) -> tuple[Route, ...]:
    path, name = table.path, table.name
    item = item_name(table)
    return (
        Route(
            path=path,
            name=f"list_{name}",
            about=f"{table.about} {'Newest first.' if table.newest_first else f'By {table.key}.'}",
            handler=lists.list_handler(table),
            parameters=lists.list_parameters(table),
            answers=_json("A page of them.", lists.list_schema({"$ref": f"#/components/schemas/{item}"})),
        ),
        Route(
            path=f"{path}/{{id}}",
            name=f"get_{item}",
            about=table.about,
            handler=lists.item_handler(table),
            parameters=(lists.item_parameter(table),),
            answers=_json("The item.", lists.item_schema(table)),
        ),
    )


def item_name(table: Table) -> str:
    """Return the name of a table's item in the description."""
    return table.name.removesuffix("s")


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        path="/v1/status",
        name="get_status",
        about="How the node and its ledger stand.",
        handler=service.status,
        answers=_json("The status.", service.STATUS_SCHEMA),
    ),
    Route(
        path="/v1/tx",
        name="submit",
        method="POST",
        about="Submit one signed transaction, or a CBOR sequence of up to 256 of them. A single one "
        "that is refused gets a problem; in a sequence each gets its own result.",
        handler=submit.submit,
        body=dict.fromkeys((*submit.ONE_TYPES, submit.SEQUENCE_TYPE), _OCTETS),
        answers={
            202: Answer("At least one is pending.", {JSON: RESULTS_SCHEMA}),
            200: Answer("None is pending: each is a duplicate or was refused.", {JSON: RESULTS_SCHEMA}),
        },
        problems=(400, 403, 408, 409, 413, 415, 421, 429),
    ),
    Route(
        path="/v1/tx/{id}",
        name="get_transaction",
        about="Where a transaction stands and what came of it.",
        handler=chain.transaction,
        parameters=(chain.TX_ID,),
        answers=_json("The transaction.", chain.TX_SCHEMA),
    ),
    Route(
        path="/v1/bundles/{id}",
        name="get_bundle",
        about="A committed transaction with its receipt: what `gridwitness verify` takes.",
        handler=chain.bundle,
        parameters=(chain.TX_ID,),
        answers={200: Answer("Canonical CBOR.", {chain.CBOR_TYPE: _OCTETS})},
    ),
    Route(
        path="/v1/blocks/{height}",
        name="get_block",
        about="One block and who certified it; as CBOR: {type, version, block, certificate}.",
        handler=chain.block,
        parameters=(chain.HEIGHT, chain.FORMAT),
        answers={200: Answer("The block.", {JSON: chain.BLOCK_SCHEMA, chain.CBOR_TYPE: _OCTETS})},
    ),
    Route(
        path="/v1/headers",
        name="list_headers",
        about="Headers with their certificates, ascending, for light nodes.",
        handler=chain.headers,
        parameters=(chain.FROM, chain.HEADERS_LIMIT),
        answers=_json("A page of them.", chain.HEADERS_SCHEMA),
    ),
    Route(
        path="/v1/headers/{height}/proof",
        name="prove_history",
        about="Proof that a block is in the chain of a newer one; as CBOR: a history proof (docs/spec HP-1).",
        handler=proofs.history,
        parameters=(chain.HEIGHT, proofs.NEWER, chain.FORMAT),
        answers={200: Answer("The proof.", {JSON: proofs.HISTORY_SCHEMA, chain.CBOR_TYPE: _OCTETS})},
    ),
    Route(
        path="/v1/headers/{height}/consistency",
        name="prove_consistency",
        about="Proof that a newer block continues the history of this one; as CBOR: a consistency proof.",
        handler=proofs.consistency,
        parameters=(chain.HEIGHT, proofs.NEWER, chain.FORMAT),
        answers={200: Answer("The proof.", {JSON: proofs.HISTORY_SCHEMA, chain.CBOR_TYPE: _OCTETS})},
    ),
    Route(
        path="/v1/headers/{height}/view-changes",
        name="list_view_changes",
        about="View changes that this node's votes above view 0 rested on, for audits (docs/spec FP-17).",
        handler=faults.view_changes,
        parameters=(chain.HEIGHT,),
        answers=_json("Those of one height, by view.", faults.VIEW_CHANGES_SCHEMA),
    ),
    Route(
        path="/v1/epochs",
        name="list_epochs",
        about="Ends of epochs, ascending: how a light node gets from the genesis validators to those of now.",
        handler=proofs.epochs,
        parameters=(proofs.FROM_EPOCH, proofs.LIMIT),
        answers=_json("A page of them.", proofs.EPOCHS_SCHEMA),
    ),
    Route(
        path="/v1/state/{namespace}/{key}",
        pattern="/v1/state/{namespace}/{key:path}",
        name="get_state",
        about="What stands under a key of the newest state, or stood there after one of the 64 blocks before the "
        "newest, on demand with its proof (docs/spec SP-1, UN-1).",
        handler=proofs.state,
        parameters=(proofs.NAMESPACE, proofs.KEY, proofs.PROOF, proofs.AT, chain.FORMAT),
        answers={200: Answer("The entry, or its absence.", {JSON: proofs.STATE_SCHEMA, chain.CBOR_TYPE: _OCTETS})},
    ),
    *(route for table in TABLES.values() for route in _view_routes(table)),
    Route(
        path="/v1/blobs/{digest}",
        name="get_blob",
        about="The bytes of a blob that a block names; the node has hashed them just now. One of a sealed "
        "content is given to its readers alone, to a request that is signed by RFC 9421 (docs/spec HR-1), and each "
        "such read is logged.",
        handler=blobs.get,
        parameters=(blobs.DIGEST,),
        answers={200: Answer("The bytes.", {blobs.MEDIA_TYPE: _OCTETS})},
        problems=(400, 401, 403, 429),
    ),
    Route(
        path="/v1/blobs/{digest}",
        name="put_blob",
        method="PUT",
        about="Bring a blob that a submitted transaction names, or that the ledger names and this node lacks.",
        handler=blobs.put,
        parameters=(blobs.DIGEST,),
        body={blobs.MEDIA_TYPE: _OCTETS},
        answers={
            201: Answer("It is stored, and what waited for it goes on.", {JSON: blobs.SCHEMA}),
            200: Answer("It was here already.", {JSON: blobs.SCHEMA}),
        },
        problems=(400, 408, 413, 429, 507),
    ),
    Route(
        path=compliance.PATH,
        name="list_compliance",
        about="When each device was verified last, against the parameter baseline_days_max. By device.",
        handler=compliance.report,
        parameters=compliance.PARAMETERS,
        answers={200: Answer("A page of it.", {JSON: compliance.LIST_SCHEMA, compliance.CSV_TYPE: _PLAIN})},
    ),
    Route(
        path="/v1/faults/{id}/proof",
        name="get_fault_proof",
        about="Proof that a validator broke the protocol: what `gridwitness verify` takes (docs/spec FP-4).",
        handler=faults.proof,
        parameters=(faults.FAULT_ID,),
        answers={200: Answer("Canonical CBOR.", {chain.CBOR_TYPE: _OCTETS})},
    ),
    Route(
        path="/v1/events",
        name="follow_events",
        about="The ledger's events as server-sent events; the id is HEIGHT-INDEX, the event type the "
        "ledger's. Without a place, those from now on. A comment at least every 15 s.",
        handler=stream.events,
        parameters=(stream.LAST_EVENT_ID, stream.AFTER),
        answers={200: Answer("An endless stream.", {"text/event-stream": _PLAIN})},
        problems=(400, 429),
    ),
    Route(
        path="/metrics",
        name="get_metrics",
        about="Metrics in Prometheus' text format.",
        handler=service.metrics,
        answers={200: Answer("The metrics.", {"text/plain": _PLAIN})},
    ),
    Route(
        path="/healthz",
        name="get_health",
        about="200 while the node can serve, else 503 with the reason.",
        handler=service.health,
        answers=_json("It can.", service.HEALTH_SCHEMA),
    ),
    Route(
        path="/openapi.json",
        name="get_description",
        about="This description.",
        handler=service.document,
        answers=_json("OpenAPI 3.1.", {"type": "object"}),
    ),
)

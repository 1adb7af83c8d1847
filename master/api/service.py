"""What the node says of itself: status, health, metrics, and the description of the API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from master.api.call import Call, answer
from master.api.lists import FRESHNESS
from master.api.past import missing
from master.api.problems import Problem
from master.views.schema import Schema, hexadecimal, integer, record, sequence, text

STATUS_SCHEMA: Final[Schema] = record(
    {
        "node": text("Member that runs this node."),
        "chain": text("Name of the ledger."),
        "height": integer("Height of the newest block.", 0),
        "head": hexadecimal("Digest of the newest block.", 32),
        "head_time_ms": integer("Its block time, ms since 1970 UTC.", 0),
        **FRESHNESS,
        "view": integer("View of the consensus at the present height.", 0),
        "leader": text("Primary of that view."),
        "waits_for": text(
            "What the height waits for in that view.",
            choices=("nothing", "view-change", "proposal", "prepare", "commit"),
        ),
        "missing": sequence(text("Validator whose word of that kind is not here; not all are needed.")),
        "peers": sequence(
            record(
                {
                    "member": text(),
                    "connected": {"type": "boolean"},
                    "height": integer("Highest block it was heard to have.", 0),
                }
            )
        ),
        "mempool": record({"transactions": integer(low=0), "bytes": integer(low=0)}),
        "past": record(
            {
                "known_from": integer("Lowest block whose header, outcomes and events are here.", 1),
                "blocks_from": integer("Lowest block that may be here with its transactions.", 1),
                "snapshot": text("What becomes of a snapshot.", ("asking", "fetching", "idle", "installing")),
                "subtrees_missing": integer("Parts of the snapshot that are still missing.", 0),
            }
        ),
        "broker": text("Connection to the broker of the gateways.", choices=("connected", "not connected", "none")),
        "health": text("ok, or why /healthz answers 503."),
        "version": text("Version of the software."),
    }
)
HEALTH_SCHEMA: Final[Schema] = record({"status": text(choices=("ok",))})


async def status(call: Call) -> Response:
    """Answer how the node and its ledger stand."""
    return answer(call.context.node.status())


async def health(call: Call) -> Response:
    """Answer 200 while the node can serve, else 503 with the reason."""
    context = call.context
    reason = context.node.unready()
    if reason is None:
        head = context.node.head_height()
        applied = (await context.blocking(context.tables.position)).complete_height
        known_from = context.node.past()["known_from"]
        if applied + 1 < known_from:
            reason = missing(known_from)
        elif head - applied > context.limits.lag_blocks_max:
            reason = f"the query tables stand at block {applied}, the ledger at {head}"
    if reason is not None:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unready", reason)
    return answer({"status": "ok"})


async def metrics(call: Call) -> Response:
    """Answer with the node's metrics in Prometheus' text format."""
    return Response(generate_latest(call.context.registry), media_type=CONTENT_TYPE_LATEST)


async def document(call: Call) -> Response:
    """Answer with the OpenAPI description of this API."""
    return answer(call.context.document)

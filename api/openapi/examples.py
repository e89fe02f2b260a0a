"""OpenAPI examples: requests of each operation, and the parameters that several operations share.

Responses have none, because Swagger UI shows their schemas and the reference shows real responses.
The tests validate each example with its schema, and send each request to a service.
"""

from typing import Any

_WORKFLOW = "example-hello-world"

_GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": "start", "type": "trigger", "label": "Start", "config": {}},
        {
            "id": "greet",
            "type": "addField",
            "label": "Greet",
            "config": {"addFieldName": "greeting", "addFieldValue": "Hello, {{ name }}!"},
        },
    ],
    "connections": [{"id": "c1", "fromNodeId": "start", "toNodeId": "greet"}],
}
_SAVED: dict[str, Any] = {"name": "Greeting", "data": _GRAPH, "tags": ["greetings"]}

REQUESTS: dict[str, dict[str, Any]] = {
    "executeWorkflow": {
        "saved workflow": {"workflowId": _WORKFLOW, "inputs": {"name": "Ada"}},
        "unsaved document": {
            "graph": _GRAPH,
            "workflowName": "Greeting, unsaved",
            "inputs": {"name": "Ada"},
        },
    },
    "rerunExecution": {"from a node": {"fromNodeId": "greeting", "inputs": {"name": "Grace"}}},
    "startBulk": {
        "rerun after a fix": {
            "action": "rerun",
            "filter": {"failure": "0c1f5e8a7b6d4c3e9f2a1b0c8d7e6f5a"},
            "definition": "current",
        }
    },
    "resumeNode": {"approved": {"approved": True, "data": {"by": "Ada"}}},
    "createTaskLink": {"for a day": {"assignee": "Ada", "expiresInSeconds": 86_400}},
    "completeTask": {"approved": {"approved": True, "data": {"by": "Ada"}}},
    "sendEvent": {"a payment": {"name": "order.paid", "key": "A-17", "payload": {"amount": 30}}},
    "validateWorkflow": {
        "saved workflow": {"workflowId": _WORKFLOW},
        "unsaved document": {"graph": _GRAPH},
    },
    "createWorkflow": {"with a new id": _SAVED},
    "updateWorkflow": {"another name": {**_SAVED, "name": "A friendly greeting"}},
    "backfillSchedule": {
        "two days": {"from": "2025-01-01T00:00:00Z", "to": "2025-01-03T00:00:00Z"}
    },
    "executeNode": {
        "addField": {
            "workflowId": _WORKFLOW,
            "nodeId": "greet",
            "nodeType": "addField",
            "node": _GRAPH["nodes"][1],
            "inputData": {"name": "Ada"},
        }
    },
}
"""Request bodies by ``operationId`` and name."""

PARAMETERS: dict[str, tuple[str, str | None]] = {
    "execution_id": (
        "The `executionId` of an execution.",
        "54e8b2c5-dd44-47ac-8c66-0f6bd86886ec",
    ),
    "node_id": ("A waiting node of the execution.", "ask"),
    "bulk_id": (
        "The `bulkId` of a bulk operation.",
        "2b1f6c0e-7a54-4c55-8f0b-0a6f3c8f7a41",
    ),
    "workflow_id": ("The id of a saved workflow.", _WORKFLOW),
    "schedule_id": (
        "The `id` of a schedule.",
        "0d6c6f5c-5d2e-5d0e-9f7b-0a6f3c8f7a41",
    ),
    "task_id": ("The `id` of a task.", "6b0f8d6e-2d1c-5b7c-8a4e-1f0f3a2f9b57"),
    "event_id": ("The `id` of a kept event.", "3c0f9f0e-6c5d-4a53-9f6a-1e0f3a2f9b57"),
    "token": ("The `webhookToken` of a webhook node.", "s3cr3t-t0ken"),
    "afterSeq": ("The `nextSeq` or `seq` of the last data that the client received.", None),
    "idempotency-key": ("The same key and body start one execution, for 24 hours.", None),
    "prefer": ("`wait=N`: wait up to N seconds for the end.", None),
    "waitSeq": ("The `seq` of the last response.", None),
}
"""Description and example of parameters; only required ones have an example."""

"""OpenAPI examples: requests, responses and parameters of each operation.

The README has the same examples. The tests validate each example with its schema, and send each
request to a service.
"""

from typing import Any

EXECUTION = "54e8b2c5-dd44-47ac-8c66-0f6bd86886ec"
_RERUN = "96b21d22-262f-4769-b7c9-8fa0d1661156"
_WORKFLOW = "example-hello-world"
_NAME = "Hello, world"
_CREATED, _STARTED = "2026-11-23T07:29:29.477Z", "2026-11-23T07:29:29.485Z"
_COMPLETED = "2026-11-23T07:29:29.543Z"
_VERSION = "2026-11-23T10:12:00.123Z"

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
_REACT_FLOW = {
    "nodes": [
        {
            "id": "ask",
            "type": "llm",
            "position": {"x": 0, "y": 0},
            "data": {"label": "Ask", "prompt": "", "retries": 99},
        }
    ],
    "edges": [],
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
    "rerunExecution": {
        "from where it failed": {},
        "from a node": {"fromNodeId": "greeting", "inputs": {"name": "Grace"}},
    },
    "resumeNode": {
        "approved": {"approved": True, "data": {"by": "Ada"}},
        "declined": {"approved": False},
    },
    "validateWorkflow": {
        "saved workflow": {"workflowId": _WORKFLOW},
        "unsaved document": {"graph": _REACT_FLOW},
    },
    "createWorkflow": {
        "with a new id": _SAVED,
        "with an id of your own": {**_SAVED, "id": "greeting"},
    },
    "updateWorkflow": {"another name": {**_SAVED, "name": "A friendly greeting"}},
    "executeNode": {
        "addField": {
            "workflowId": _WORKFLOW,
            "nodeId": "n1",
            "nodeType": "addField",
            "node": {"config": {"addFieldName": "greeting", "addFieldValue": "Hello, {{ name }}!"}},
            "inputData": {"name": "Ada"},
        }
    },
}
"""Request bodies by ``operationId`` and name."""

_ACCEPTED = {
    "success": True,
    "executionId": EXECUTION,
    "status": "pending",
    "message": "Workflow execution started in background",
    "workflowId": _WORKFLOW,
    "workflowName": _NAME,
}
_LOG = {
    "nodeId": "start",
    "nodeType": "trigger",
    "nodeLabel": "Start",
    "status": "completed",
    "duration": 13,
    "timestamp": "2026-11-23T07:29:29.504Z",
    "startedAt": "2026-11-23T07:29:29.504Z",
    "endedAt": "2026-11-23T07:29:29.517Z",
    "waitedMs": None,
    "waitingSince": None,
    "inputData": {"name": "Ada"},
    "outputData": {"name": "Ada"},
    "error": None,
    "attempt": 1,
    "lastError": None,
    "waitUntil": None,
    "reusedFrom": None,
    "childExecutionId": None,
    "percentage": None,
    "message": None,
    "seq": 2,
}
_SUMMARY = {
    "id": EXECUTION,
    "workflowId": _WORKFLOW,
    "status": "completed",
    "createdAt": _CREATED,
    "startedAt": _STARTED,
    "completedAt": _COMPLETED,
    "error": None,
}
_LISTED = {
    **_SUMMARY,
    "workflowName": _NAME,
    "organizationId": None,
    "triggerType": "manual",
    "rerunOf": None,
    "parentExecutionId": None,
}
_WORKFLOW_SUMMARY = {
    "id": "greeting",
    "organizationId": None,
    "name": "Greeting",
    "tags": ["greetings"],
    "createdAt": _VERSION,
    "updatedAt": _VERSION,
}
_PROGRESS = {
    "totalNodes": 5,
    "completedNodes": 5,
    "failedNodes": 0,
    "skippedNodes": 0,
    "percentage": 100,
}
_EVENT = f"""retry: 2000

id: 7
event: execution_complete
data: {{"executionId":"{EXECUTION}","workflowId":"{_WORKFLOW}","status":"completed","seq":7}}

"""

RESPONSES: dict[str, dict[str, Any]] = {
    "getServiceStatus": {
        "200": {
            "service": "Workflow Orchestration Service",
            "status": "running",
            "version": "0.1.0",
            "timestamp": "2026-11-23T07:29:29.448Z",
            "docs": "/docs",
        }
    },
    "executeWorkflow": {"200": _ACCEPTED},
    "getExecution": {
        "200": {
            "executionId": EXECUTION,
            "workflowId": _WORKFLOW,
            "organizationId": None,
            "status": "completed",
            "createdAt": _CREATED,
            "startedAt": _STARTED,
            "completedAt": _COMPLETED,
            "currentNodeId": None,
            "currentNode": None,
            "seq": 11,
            "error": None,
            "queuePosition": None,
            "rerunOf": None,
            "parentExecutionId": None,
            "parentNodeId": None,
            "flowRunId": "f1a9428b-dde4-4ce1-8996-1eda88871557",
            "cancelRequested": False,
            "callback": None,
            "progress": _PROGRESS,
            "logs": [_LOG],
            "finalOutput": {"name": "Ada", "greeting": "Hello, Ada!"},
        }
    },
    "getExecutionLogs": {
        "200": {"executionId": EXECUTION, "nextSeq": 11, "hasMore": False, "logs": [_LOG]}
    },
    "cancelExecution": {
        "200": {
            "success": True,
            "executionId": EXECUTION,
            "message": "Cancellation requested",
            "previousStatus": "running",
        }
    },
    "rerunExecution": {"200": {**_ACCEPTED, "executionId": _RERUN, "rerunOf": EXECUTION}},
    "resumeNode": {
        "200": {
            "success": True,
            "executionId": EXECUTION,
            "nodeId": "ask",
            "message": "Node resumed",
        }
    },
    "createExecutionToken": {
        "200": {
            "token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI1NGU4YjJjNSJ9.c2lnbmF0dXJl",
            "executionId": EXECUTION,
            "expiresAt": "2026-11-23T07:45:00.000Z",
        }
    },
    "streamExecution": {"200": _EVENT},
    "streamEvents": {"200": _EVENT},
    "listExecutions": {"200": {"executions": [_LISTED], "nextCursor": None}},
    "listWorkflowExecutions": {
        "200": {
            "workflowId": _WORKFLOW,
            "workflowName": _NAME,
            "executions": [_SUMMARY],
            "total": 1,
            "nextCursor": None,
        }
    },
    "validateWorkflow": {
        "200": {
            "valid": False,
            "errors": [
                {
                    "code": "invalid_config",
                    "detail": "node 'ask' (llm): 'prompt' is required",
                    "pointer": "/nodes/0/data/prompt",
                    "nodeId": "ask",
                }
            ],
            "warnings": [],
        }
    },
    "listWorkflows": {"200": {"workflows": [_WORKFLOW_SUMMARY], "nextCursor": None}},
    "createWorkflow": {
        "201": {**_WORKFLOW_SUMMARY, "data": _GRAPH, "valid": True, "errors": []},
    },
    "getWorkflow": {"200": {**_WORKFLOW_SUMMARY, "data": _GRAPH}},
    "updateWorkflow": {
        "200": {
            **_WORKFLOW_SUMMARY,
            "name": "A friendly greeting",
            "data": _GRAPH,
            "valid": True,
            "errors": [],
        }
    },
    "executeNode": {
        "200": {
            "success": True,
            "nodeId": "n1",
            "nodeType": "addField",
            "output": {
                "success": True,
                "message": "Field 'greeting' added",
                "outputData": {"name": "Ada", "greeting": "Hello, Ada!"},
            },
            "message": "Field 'greeting' added",
            "error": None,
        }
    },
    "listNodeTypes": {
        "200": [
            {
                "type": "comment",
                "title": "Comment",
                "description": "Says something to people, and does nothing.",
                "category": "note",
                "inputs": ["input"],
                "outputs": ["output"],
                "ports": {
                    "inputs": [{"name": "input", "title": "Input", "aliases": []}],
                    "outputs": [
                        {"name": "output", "title": "Output", "aliases": []},
                        {"name": "error", "title": "Error", "aliases": []},
                    ],
                },
                "schema": {
                    "$schema": "http://json-schema.org/draft-07/schema#",
                    "type": "object",
                    "title": "Comment",
                    "properties": {"commentText": {"type": "string", "title": "Text"}},
                },
                "uiSchema": {"commentText": {"ui:widget": "textarea"}},
                "defaults": {"commentText": ""},
                "secretFields": [],
                "disabledReason": None,
            }
        ]
    },
    "receiveWebhook": {
        "200": {"success": True, "executionId": EXECUTION},
        "202": {"success": True, "executionId": EXECUTION, "status": "running"},
    },
}
"""Response bodies by ``operationId`` and status. All methods of a webhook share theirs."""

PARAMETERS: dict[str, tuple[str, Any]] = {
    "execution_id": ("The `executionId` of an execution.", EXECUTION),
    "node_id": ("A waiting node of the execution.", "ask"),
    "workflow_id": ("The id of a saved workflow.", _WORKFLOW),
    "token": ("The `webhookToken` of a webhook node.", "s3cr3t-t0ken"),
    "afterSeq": ("The `nextSeq` or `seq` of the last data that the client received.", 7),
    "Last-Event-ID": ("The `id` of the last event that the client received.", "7"),
    "lastEventId": ("As the header, for clients that cannot set it.", 7),
    "organizationId": ("Only resources of this organization.", "acme"),
    "workflowId": ("Only executions of this workflow.", _WORKFLOW),
    "parentExecutionId": ("Only executions that this execution called.", EXECUTION),
    "executionIds": ("Separated by commas.", EXECUTION),
    "status": (
        "May be repeated, or have values separated by commas.",
        ["running", "waiting"],
    ),
    "limit": ("Maximum size of a page.", 50),
    "nodeId": ("Only runs of this node.", "start"),
    "payloads": ("Whether the response contains payloads.", True),
    "include": ("Additional fields: `nodeResults`.", ["nodeResults"]),
    "cursor": (
        "The `nextCursor` of the page before.",
        "WyJleGVjdXRpb25zIiwiMjAyNi0xMS0yM1QwNzoyOToyOS40NzdaIiwxLCI1NGU4YjJjNSJd",
    ),
    "idempotency-key": (
        "The same key and body start one execution, for 24 hours.",
        "order-4711",
    ),
    "if-match": ("The `ETag` that the workflow must have, or `*`.", f'"{_VERSION}"'),
    "if-none-match": ("The `ETag` that the client already has, or `*`.", f'"{_VERSION}"'),
    "prefer": ("`wait=N`: wait up to N seconds for the end.", "wait=10"),
    "waitSeq": ("The `seq` of the last response.", 7),
    "force": ("Also cancel and delete executions that have not ended.", False),
}
"""Descriptions and examples by name; the description of an operation takes precedence."""

_DETAILS = {
    400: "Unknown node type 'sing'; known are: addField, approval, comment, condition",
    401: "An API key is required: 'Authorization: Bearer …' or 'X-API-Key: …'",
    403: "This request requires the role 'admin'; the key 'reports' has the role 'read'",
    404: f"Execution '{EXECUTION}' not found",
    405: "Method Not Allowed",
    408: "The body did not arrive within REQUEST_BODY_TIMEOUT_SECONDS=60",
    409: f"Execution '{EXECUTION}' is running; it can be rerun after it has finished",
    412: "Workflow 'greeting' does not have the version that 'If-Match' names; read it again",
    421: (
        "The host 'shop.example' is not accepted while no API keys are set: use localhost or an IP "
        "address, list the name in ALLOWED_HOSTS, or set API_KEYS"
    ),
    413: "The body is larger than MAX_REQUEST_BODY_BYTES=10485760",
    422: "the workflow cannot run: it has no entry node",
    429: "5000 executions are already waiting (MAX_PENDING_EXECUTIONS); try again later",
    503: "The database is busy",
    507: "The disk is full",
}
_ERRORS = {
    422: [
        {
            "code": "no_entry_node",
            "detail": "the workflow has no entry node",
            "pointer": "/graph/nodes",
        }
    ]
}


def problem_example(status: int, title: str) -> dict[str, Any]:
    """Return an example of a problem document with this status."""
    example = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": _DETAILS.get(status, title),
    }
    return {**example, "errors": _ERRORS[status]} if status in _ERRORS else example

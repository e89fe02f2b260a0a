"""The links of the OpenAPI document: what an answer says of the request that comes next."""

from typing import Any

_ID, _SAME = "$response.body#/executionId", "$request.path.execution_id"
_THIS = {"path.workflow_id": "$request.path.workflow_id"}
_NEXT = {"query.cursor": "$response.body#/nextCursor"}
_NEXT_PAGE = "The page after this one, where `nextCursor` is not null."


def _of_execution(execution_id: str, *operations: str) -> dict[str, Any]:
    return {
        operation: {
            "operationId": operation,
            "parameters": {"path.execution_id": execution_id},
            "description": _WHAT[operation],
        }
        for operation in operations
    }


def _of_workflow(workflow_id: str, *operations: str) -> dict[str, Any]:
    return {
        operation: {
            "operationId": operation,
            "parameters": {"path.workflow_id": workflow_id},
            "description": _WHAT[operation],
        }
        for operation in operations
    }


def _in_this_version(operation: str) -> dict[str, Any]:
    """The change of a workflow that fails where somebody else has changed it meanwhile."""
    return {
        f"{operation}InThisVersion": {
            "operationId": operation,
            "parameters": {**_THIS, "header.if-match": "$response.header.ETag"},
            "description": f"{_WHAT[operation]} Only in the version of this answer.",
        }
    }


def _with_body(operation: str, body: dict[str, str]) -> dict[str, Any]:
    return {
        operation: {
            "operationId": operation,
            "requestBody": body,
            "description": _WHAT[operation],
        }
    }


def _next_page(operation: str, **parameters: str) -> dict[str, Any]:
    link = {
        "operationId": operation,
        "parameters": {**parameters, **_NEXT},
        "description": _NEXT_PAGE,
    }
    return {"nextPage": link}


_WHAT = {
    "executeWorkflow": "Runs the workflow.",
    "validateWorkflow": "Says whether the workflow can run.",
    "getWorkflow": "Reads the workflow.",
    "updateWorkflow": "Changes the workflow.",
    "deleteWorkflow": "Deletes the workflow.",
    "listWorkflowExecutions": "Lists the executions of the workflow.",
    "getExecution": "Looks how the execution stands.",
    "getExecutionLogs": "Reads the logs of its nodes.",
    "cancelExecution": "Stops it.",
    "rerunExecution": "Runs it again; 409 while it has not ended.",
    "createExecutionToken": "Makes a token with which a browser follows it.",
    "streamExecution": "Follows it live.",
}
_EXECUTION = (
    "getExecution",
    "getExecutionLogs",
    "cancelExecution",
    "rerunExecution",
    "createExecutionToken",
    "streamExecution",
)
_SAVED = ("getWorkflow", "updateWorkflow", "deleteWorkflow", "listWorkflowExecutions")

LINKS: dict[tuple[str, str], dict[str, Any]] = {
    ("createWorkflow", "201"): {
        **_of_workflow("$response.body#/id", *_SAVED),
        **_with_body("executeWorkflow", {"workflowId": "$response.body#/id"}),
        **_with_body("validateWorkflow", {"workflowId": "$response.body#/id"}),
    },
    ("getWorkflow", "200"): {
        **_of_workflow("$response.body#/id", "listWorkflowExecutions"),
        **_in_this_version("updateWorkflow"),
        **_in_this_version("deleteWorkflow"),
    },
    ("updateWorkflow", "200"): {
        **_of_workflow("$response.body#/id", "getWorkflow"),
        **_in_this_version("updateWorkflow"),
        **_in_this_version("deleteWorkflow"),
    },
    ("listWorkflows", "200"): {
        **_of_workflow("$response.body#/workflows/0/id", "getWorkflow"),
        **_next_page("listWorkflows"),
    },
    ("listExecutions", "200"): {
        **_of_execution("$response.body#/executions/0/id", "getExecution"),
        **_next_page("listExecutions"),
    },
    ("listWorkflowExecutions", "200"): {
        **_of_execution("$response.body#/executions/0/id", "getExecution"),
        **_next_page("listWorkflowExecutions", **_THIS),
    },
    ("executeWorkflow", "200"): _of_execution(_ID, *_EXECUTION),
    ("rerunExecution", "200"): _of_execution(_ID, *_EXECUTION),
    ("getExecution", "200"): _of_execution(_SAME, "getExecutionLogs", "cancelExecution"),
    ("getExecutionLogs", "200"): {
        "whatComesAfter": {
            "operationId": "getExecutionLogs",
            "parameters": {
                "path.execution_id": _SAME,
                "query.afterSeq": "$response.body#/nextSeq",
            },
            "description": "What changes after this answer.",
        }
    },
    ("cancelExecution", "200"): _of_execution(_SAME, "getExecution", "rerunExecution"),
    ("createExecutionToken", "200"): _of_execution(_SAME, "getExecution"),
    ("resumeNode", "200"): _of_execution(_SAME, "getExecution", "getExecutionLogs"),
    ("receiveWebhook", "200"): _of_execution(_ID, "getExecution"),
    ("receiveWebhook", "202"): _of_execution(_ID, "getExecution", "streamExecution"),
}
"""By ``operationId`` and status."""

"""Swagger UI in a real browser: one click tries an operation, without changes to the form."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Browser, browser
from tests.support.generated import IS_THOROUGH
from tests.support.openapi import Operation, document_of, operations_of
from tests.support.service import RunningService, wait_until

OF_AN_ID = "{"
"""Part of the path of an operation whose resource need not exist."""

NEEDED = {
    "createWorkflow",
    "deleteWorkflow",
    "executeWorkflow",
    "getWorkflow",
    "listExecutions",
    "streamEvents",
    "updateWorkflow",
}
"""Operations that must succeed, because the resources of their examples exist."""

RECORD_CALLS = """
const send = window.fetch;
window.calls = [];
window.fetch = async (...request) => {
  const response = await send(...request);
  window.calls.push({status: response.status, url: response.url});
  return response;
};
"""
FIND = """
const block = [...document.querySelectorAll('.opblock')]
  .find(one => one.id.endsWith('-' + arguments[0]));
"""
PRESS = (
    FIND
    + """
const button = block && block.querySelector(arguments[1]);
if (!button) return false;
button.click();
return true;
"""
)


def press(page: Browser, operation: str, button: str) -> None:
    wait_until(lambda: page.run(PRESS, operation, button))


def one_of_each_form(operations: list[Operation]) -> list[Operation]:
    """Return one of several operations whose forms have the same kinds of fields.

    ``test_openapi_examples.py`` sends the examples of all operations. Only the forms need a
    browser, which takes a second for each; a thorough run tries all of them.
    """
    if IS_THOROUGH:
        return operations
    forms: dict[str, Operation] = {}
    for one in sorted(operations, key=lambda operation: operation.name not in NEEDED):
        parameters = one.definition.get("parameters", [])
        fields = {(field["in"], str(field["schema"].get("type"))) for field in parameters}
        forms.setdefault(f"{sorted(fields)} {'requestBody' in one.definition}", one)
    return list(forms.values())


@pytest.mark.timeout(300)
def test_one_click_on_each_operation_works(tmp_path: Path):
    operations = {one.name: one for one in one_of_each_form(operations_of(document_of()))}
    with RunningService(tmp_path) as service, browser(tmp_path / "browser") as page:
        page.open(f"{service.url}/docs")
        wait_until(lambda: page.run("return document.querySelectorAll('.opblock').length > 0"))
        page.run(RECORD_CALLS)
        calls: dict[str, dict[str, Any]] = {}
        # The workflow of all examples is deleted at the end.
        for name in sorted(operations, key=lambda one: (one.startswith("delete"), one)):
            press(page, name, ".opblock-summary-control")
            press(page, name, ".try-out__btn")
            press(page, name, ".execute")
            count = len(calls)
            wait_until(lambda count=count: page.run("return window.calls.length") > count)
            calls[name] = page.run("return window.calls.at(-1)")
            press(page, name, ".opblock-summary-control")  # many open blocks are slow
        for name, call in calls.items():
            status = call["status"]
            may_be_missing = OF_AN_ID in operations[name].path and status == 404
            assert 200 <= status < 300 or may_be_missing, (name, call)
        created = {name for name, call in calls.items() if 200 <= call["status"] < 300}
        assert created >= NEEDED

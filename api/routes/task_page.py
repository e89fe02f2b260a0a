"""Task page: a small page on which a person answers a task by a signed link, without a key.

The link contains a token, and only ``POST`` changes something. A link works once, because each
person answers a task once. The page has no script.
"""

from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from api.auth.tokens import TaskToken
from api.bodies.task_form import FIELD_PREFIX, data_of, fields_of
from api.dependencies import Services, ServicesDep
from api.routes.task_texts import TEXTS
from api.routes.ui import CONTENT_SECURITY_POLICY
from database.executions.human_tasks import Answer
from database.human_tasks.records import HumanTask
from engine.errors import ConflictError, NotFoundError
from engine.human_tasks import TaskStatus
from engine.json_values import load_json
from engine.request_errors import InvalidAnswerError

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = Path(__file__).with_name("task_page.html")
MAX_FIELDS = 1_000
"""Maximum number of fields of a request."""
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace(
        "form-action 'none'", "form-action 'self'"
    ),
    # With ``no-referrer`` browsers would send the form with ``Origin: null``, which is rejected.
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Language",
}
router = APIRouter(prefix="/task", include_in_schema=False)


@router.get("/{token}")
async def get_page(token: str, request: Request, services: ServicesDep) -> Response:
    """Return the page of a task; it changes nothing."""
    task, claims = await _linked(token, services)
    return _page(request, task, claims)


@router.post("/{token}")
async def post_answer(token: str, request: Request, services: ServicesDep) -> Response:
    """Record the answer that the page sends, and return the page with its result."""
    task, claims = await _linked(token, services)
    if task is None or claims is None or _has_answered(task, claims):
        return _page(request, task, claims)
    try:
        pairs = parse_qsl(
            (await request.body()).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS
        )
    except ValueError:
        pairs = []
    sent = dict(pairs)
    decision = sent.get("decision")
    texts = {
        name.removeprefix(FIELD_PREFIX): text
        for name, text in sent.items()
        if name.startswith(FIELD_PREFIX)
    }
    if decision not in ("approve", "reject"):
        return _page(request, task, claims, texts)
    data = data_of(fields_of(_form(task), texts), texts) if task.has_form else None
    approved = decision == "approve"
    if not approved and not any(texts.values()):
        data = None  # a person who rejects need not fill in the form
    try:
        task = await services.human_tasks.complete(task, Answer(approved, data, claims.assignee))
    except InvalidAnswerError as error:
        errors = [problem.detail for problem in error.problems]
        return _page(request, task, claims, texts, errors)
    except ConflictError:
        task, claims = await _linked(token, services)
        return _page(request, task, claims)
    return _page(request, task, claims, recorded=True)


async def _linked(token: str, services: Services) -> tuple[HumanTask | None, TaskToken | None]:
    """Return the task of a link, and its claims; ``None`` if the link is not valid."""
    claims = services.authenticator.tokens.read_task(token)
    if claims is None:
        return None, None
    try:
        return await services.human_tasks.read(claims.task_id), claims
    except NotFoundError:
        return None, claims


def _has_answered(task: HumanTask, claims: TaskToken) -> bool:
    answered = claims.assignee and claims.assignee in {each.assignee for each in task.answers}
    return bool(answered) or not task.is_open


def _form(task: HumanTask) -> dict[str, Any] | None:
    return None if task.form is None else load_json(task.form)


def _page(
    request: Request,
    task: HumanTask | None,
    claims: TaskToken | None,
    texts: dict[str, str] | None = None,
    errors: list[str] | None = None,
    *,
    recorded: bool = False,
) -> Response:
    language = _language(request.headers.get("accept-language", ""))
    status, notice = HTTPStatus.OK, None
    if task is None or claims is None:
        status, notice = HTTPStatus.NOT_FOUND, "invalid"
    elif recorded:
        notice = "recorded"
    elif _has_answered(task, claims):
        ended = task.status in (TaskStatus.EXPIRED, TaskStatus.CANCELLED)
        status, notice = HTTPStatus.CONFLICT, "ended" if ended else "answered"
    elif errors:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
    html = _template().render(
        language=language,
        t=TEXTS[language],
        notice=notice,
        task=task,
        assignee=claims.assignee if claims else "",
        fields=fields_of(_form(task), texts or {}) if task else [],
        errors=errors or [],
        prefix=FIELD_PREFIX,
    )
    return HTMLResponse(html, status, headers={**_HEADERS, "Content-Language": language})


@cache
def _template() -> "Template":
    from jinja2 import Environment  # noqa: PLC0415 - an idle service needs no template here

    return Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))


def _language(accepted: str) -> str:
    """Return the accepted language with the largest weight; English if there is none."""
    weights: dict[str, float] = {}
    for item in accepted.lower().split(","):
        tag, _, parameter = item.partition(";")
        language = tag.strip().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter.strip() else 1.0
        except ValueError:
            weight = 0.0
        if language in TEXTS and weight > weights.get(language, 0.0):
            weights[language] = weight
    return max(weights, key=lambda language: weights[language], default="en")

"""Secrets in templates and in the results of handlers."""

import base64
import json
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from engine.errors import NodeError, TemplateError
from flows.nodes.result import checked_result, redact_error
from tasks.context import HandlerSettings, NodeRun, enter_node_run
from tasks.masking import secret_masker
from tasks.secrets import Secrets
from tasks.templating.render import render, template_errors

ESCAPED = 'quoted"and\\back'


@pytest.fixture
def _with_a_secret() -> Iterator[None]:
    secrets = Secrets({"TOKEN": "t0k3n-of-the-test"})
    enter_node_run(NodeRun(HandlerSettings(secrets=secrets)))
    yield
    enter_node_run(NodeRun())


@pytest.mark.usefixtures("_with_a_secret")
def test_a_template_reads_a_secret_and_the_input_cannot_replace_it():
    sly = {"secrets": {"TOKEN": "mine"}, "secrets.TOKEN": "mine"}

    assert render("Bearer {{ secrets.TOKEN }}", sly) == "Bearer t0k3n-of-the-test"
    assert render("{{ secrets['TOKEN'] | upper }}", sly) == "T0K3N-OF-THE-TEST"
    assert render("{{ secrets.GONE | default('none') }}", sly) == "none"
    assert render("{{ input.secrets.TOKEN }}", sly) == "mine"


@pytest.mark.usefixtures("_with_a_secret")
def test_the_error_of_a_missing_secret_explains_how_to_set_it():
    with pytest.raises(TemplateError, match=r"no secret 'GONE': set SECRET_GONE in .*SECRETS_FILE"):
        render("{{ secrets.GONE }}", None)


@pytest.mark.parametrize(
    "expression", ["secrets", "secrets | json", "secrets.A.B", "secrets['a b']", "secrets.a-b"]
)
def test_templates_cannot_read_all_secrets_or_a_part_of_one(expression: str):
    ((_, reason),) = template_errors(f"{{{{ {expression} }}}}")

    assert "a secret is secrets.NAME" in reason


@pytest.mark.usefixtures("_with_a_secret")
def test_results_are_masked():
    result = checked_result(
        {"outputData": {"echo": "t0k3n-of-the-test!"}, "message": "t0k3n-of-the-test"}
    )

    assert result.result == {"outputData": {"echo": "***!"}, "message": "***"}
    assert "t0k3n" not in f"{result.output_data}{result.detail}"


@pytest.mark.parametrize(
    "encode",
    [
        json.dumps,
        lambda text: quote(json.dumps({"k": text})),
        lambda text: base64.b64encode(json.dumps({"k": text}).encode()).decode(),
    ],
)
@pytest.mark.usefixtures("_with_a_secret")
def test_a_secret_that_json_escapes_is_masked_in_results_too(encode: Callable[[str], str]):
    """A result is searched as JSON text, which escapes the secret once more."""
    secret_masker.add_secret(ESCAPED)

    for result in ({"outputData": {"t": encode(ESCAPED)}}, {"message": encode(ESCAPED)}):
        masked = checked_result(result).result
        shown = masked["outputData"] or masked
        assert "***" in json.dumps(shown)
        assert "quoted" not in json.dumps(shown)


@pytest.mark.usefixtures("_with_a_secret")
def test_errors_are_masked_and_keep_their_properties():
    redacted = redact_error(NodeError("no: t0k3n-of-the-test", retryable=False, retry_after=3))
    assert isinstance(redacted, NodeError)
    assert (str(redacted), redacted.retryable, redacted.retry_after) == ("no: ***", False, 3)
    assert str(redact_error(ValueError("t0k3n-of-the-test"))) == "ValueError: ***"
    harmless = ValueError("fine")
    assert redact_error(harmless) is harmless


async def test_secrets_that_are_not_in_the_settings_are_fetched():
    fetched: list[str] = []
    blocks: dict[str, str] = {"DEEP": "value-from-a-block"}

    async def fetch(name: str) -> str | None:
        fetched.append(name)
        return blocks.get(name)

    secrets = Secrets({"HERE": "value-of-settings"}, fetch)
    config = {
        "a": ["{{ secrets.HERE }} {{ secrets.DEEP }}", {"b": "{{ secrets['GONE'] | upper }}"}]
    }
    await secrets.prepare(config)

    assert sorted(fetched) == ["DEEP", "GONE"]
    assert secrets.get("DEEP") == "value-from-a-block"
    assert checked_result({"outputData": "value-from-a-block"}).output_data == '"***"'
    blocks["DEEP"] = "abc"
    with pytest.raises(NodeError, match="the secret 'DEEP' is shorter than 4") as raised:
        await secrets.prepare(config)
    assert not raised.value.retryable

"""Asks a model for a reply of a type, through any OpenAI-compatible server.

``tasks.llm.node`` alone imports this module, when the first node needs it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from engine.errors import NodeError
from engine.json_values import JsonValue, as_text
from tasks.compute import compute, to_json
from tasks.config.base import fill_text
from tasks.config.fields import ProcessingMode
from tasks.context import HandlerSettings
from tasks.http.client import describe_error, new_openai_transport, parse_retry_after, parse_url
from tasks.llm.config import LlmConfig
from tasks.llm.content import MAX_SHOWN_TEXT, TokenLimit, reported_error, text_of
from tasks.llm.reply_types import ReplyType, reply_type, without_thinking
from tasks.llm.streaming import CompletionStream, OnPiece
from tasks.progress import send_delta

OPENAI_HOST = "api.openai.com"
OPENAI_URL = f"https://{OPENAI_HOST}/v1"
MAX_CALLS_AT_ONCE = 5
_NO_KEY = "no-key"
_SHOWN_REPLY = 100


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that calls cost."""

    prompt: int = 0
    completion: int = 0
    total: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.total + other.total,
        )

    def as_json(self) -> dict[str, int]:
        """``{promptTokens, completionTokens, totalTokens}``."""
        return {
            "promptTokens": self.prompt,
            "completionTokens": self.completion,
            "totalTokens": self.total,
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said to one conversation, and what that cost."""

    text: str
    cut_off: bool
    usage: Usage


@dataclass(frozen=True, slots=True)
class LlmResult:
    """What a model said to an input, and what that cost."""

    model: str
    response: JsonValue
    usage: Usage


async def ask(config: LlmConfig, settings: HandlerSettings, input_data: JsonValue) -> LlmResult:
    """Asks the model once, or once for each record of a list.

    Raises:
        NodeError: not retryable without a key, for what the server refuses, and for a reply that
            is twice not of the asked type; retryable for 429, 5xx and failures of the network.
    """
    asker = _LlmConversation(
        config,
        reply_type(config.output_type, config.enum_options),
        fill_text("llmModel", config.llm_model or settings.llm_model, input_data),
        config.timeout_seconds or settings.llm_timeout_seconds,
        TokenLimit(config.llm_max_tokens),
    )
    async with _client(settings, asker.limit_seconds) as client:
        response, usage = await asker.answer(client, input_data)
    return LlmResult(asker.model, response, usage)


def _client(settings: HandlerSettings, limit_seconds: float) -> openai.AsyncOpenAI:
    key = (settings.openai_api_key or "").strip()
    if not key:
        if not settings.openai_base_url:
            raise NodeError(
                "OPENAI_API_KEY is not set; llm nodes need it, "
                "or an OPENAI_BASE_URL whose server asks for no key",
                retryable=False,
            )
        key = _NO_KEY
    if not key.isascii() or not key.isprintable():
        raise NodeError("OPENAI_API_KEY holds characters that no key has", retryable=False)
    base_url = settings.openai_base_url or OPENAI_URL
    try:
        parse_url(base_url)
    except ValueError as error:
        raise NodeError(f"OPENAI_BASE_URL {error}", retryable=False) from None
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,  # attempts are the node's, where they are counted and logged
        timeout=limit_seconds,
        http_client=new_openai_transport(settings, limit_seconds),
    )


@dataclass(frozen=True, slots=True)
class _LlmConversation:
    config: LlmConfig
    kind: ReplyType
    model: str
    limit_seconds: float
    token_limit: TokenLimit
    stream: CompletionStream = field(default_factory=CompletionStream)

    async def answer(self, client: openai.AsyncOpenAI, data: JsonValue) -> tuple[JsonValue, Usage]:
        """The response over the whole input, and what it cost."""
        if self.config.llm_processing_mode != ProcessingMode.PER_ROW or not isinstance(data, list):
            return await self._ask(client, data)
        records = enumerate(cast("list[JsonValue]", data))
        answers: dict[int, tuple[JsonValue, Usage]] = {}

        # A fixed number of workers, because a list may have a million records.
        async def work() -> None:
            for index, record in records:
                try:
                    answers[index] = await self._ask(client, record, index)
                except NodeError as error:
                    raise NodeError(
                        f"record {index}: {error}",
                        retryable=error.retryable,
                        retry_after=error.retry_after,
                    ) from error

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(MAX_CALLS_AT_ONCE):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        in_order = [answers[index] for index in range(len(answers))]
        return [value for value, _ in in_order], sum((usage for _, usage in in_order), Usage())

    async def _ask(
        self, client: openai.AsyncOpenAI, data: JsonValue, index: int | None = None
    ) -> tuple[JsonValue, Usage]:
        """The model's reply as a value of the asked type; asks once more when it is none."""
        messages = await compute(data, self._conversation, data)
        reply = await self._complete(client, messages, partial(send_delta, index=index))
        try:
            return self.kind.read(reply.text), reply.usage
        except ValueError:
            messages += self._correction(reply)
        on_piece = partial(send_delta, index=index, question=2)
        second = await self._complete(client, messages, on_piece)
        try:
            return self.kind.read(second.text), reply.usage + second.usage
        except ValueError:
            shown = f"'{second.text[:_SHOWN_REPLY]}'" if second.text.strip() else "nothing"
            cause = " (cut off at the longest reply allowed)" if second.cut_off else ""
            raise NodeError(
                f"{self.model} was to reply with {self.kind.wanted} "
                f"(outputType {self.config.output_type}), but replied {shown}{cause}",
                retryable=False,
            ) from None

    def _conversation(self, data: JsonValue) -> list[ChatCompletionMessageParam]:
        system = [self.kind.instruction] if self.kind.instruction else []
        if self.config.llm_system_prompt:
            system.insert(0, fill_text("llmSystemPrompt", self.config.llm_system_prompt, data))
        prompt = fill_text("llmPrompt", self.config.llm_prompt, data)
        if self.config.llm_include_input and data is not None:
            prompt = f"{prompt}\n\nInput:\n{to_json(data)}"
        messages: list[ChatCompletionMessageParam] = []
        if system:
            messages.append({"role": "system", "content": "\n\n".join(system)})
        messages.append({"role": "user", "content": prompt})
        return messages

    def _correction(self, reply: Reply) -> list[ChatCompletionMessageParam]:
        messages: list[ChatCompletionMessageParam] = []
        said = without_thinking(reply.text)
        if said.strip():  # some servers refuse an empty message
            messages.append({"role": "assistant", "content": said})
        again = f"That is not {self.kind.wanted}. {self.kind.instruction or 'Please reply.'}"
        messages.append({"role": "user", "content": again})
        return messages

    async def _complete(
        self,
        client: openai.AsyncOpenAI,
        messages: list[ChatCompletionMessageParam],
        on_piece: OnPiece,
    ) -> Reply:
        config = self.config
        if client.base_url.host.endswith(OPENAI_HOST):
            self.token_limit.prefer_new_name()
        request: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": (
                openai.omit if config.llm_temperature is None else config.llm_temperature
            ),
        }
        try:
            async with asyncio.timeout(self.limit_seconds):
                completion = await self._create(client, request, on_piece)
        except (TimeoutError, openai.APITimeoutError):
            message = f"{self.model} gave no complete reply within {self.limit_seconds:g} s"
            raise NodeError(message) from None
        except NodeError as error:  # the guard's and the limit's do not say who, the stream's do
            who = f"the model server at {client.base_url.host}"
            if str(error).startswith(who):
                raise
            raise NodeError(f"{who}: {error}", retryable=error.retryable) from None
        except openai.OpenAIError as error:
            raise _failure(error, client.base_url.host) from error
        except ValueError:
            raise _not_a_completion(client.base_url.host) from None
        # The client returns other JSON values as they are, against its own types.
        if not isinstance(completion, ChatCompletion):
            raise _not_a_completion(client.base_url.host)
        if failure := reported_error(completion, client.base_url.host):
            raise failure
        return _reply(completion)

    async def _create(
        self, client: openai.AsyncOpenAI, request: dict[str, Any], on_piece: OnPiece
    ) -> object:
        """Return the completion; the request is sent again if the server knows another name."""
        create = cast("Any", client.chat.completions.create)
        while True:
            limited = {**request, **self.token_limit.arguments()}
            try:
                if self.config.llm_stream:
                    return await self.stream.complete(client, limited, on_piece)
                return await create(**limited)
            except openai.APIStatusError as error:
                if not self.token_limit.has_other_name(limited, error):
                    raise


def _reply(completion: ChatCompletion) -> Reply:
    usage = _usage(completion.usage)
    if not cast("object", completion.choices):
        return Reply("", cut_off=False, usage=usage)
    choice = completion.choices[0]
    text = text_of(cast("object", choice.message))
    return Reply(text, choice.finish_reason == "length", usage)


def _usage(usage: CompletionUsage | None) -> Usage:
    if usage is None:
        return Usage()
    # Some servers leave counts out, which the client's types do not know.
    prompt, completion, total = (
        cast("int | None", getattr(usage, f"{kind}_tokens", None)) or 0
        for kind in ("prompt", "completion", "total")
    )
    return Usage(prompt, completion, total)


def _not_a_completion(host: str) -> NodeError:
    return NodeError(f"the model server at {host} answered with something that is no completion")


def _failure(error: openai.OpenAIError, host: str) -> NodeError:
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        # A used-up quota comes as a 429 too, and no attempt brings it back.
        limited = status == HTTPStatus.TOO_MANY_REQUESTS and error.code != "insufficient_quota"
        return NodeError(
            f"the model server at {host} answered {status}: {_server_message(error)}",
            retryable=limited or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
            retry_after=parse_retry_after(error.response.headers.get("Retry-After")),
        )
    if isinstance(error, openai.APIConnectionError):
        reason = describe_error(error.__cause__ or error)
        return NodeError(f"the model server at {host} cannot be reached: {reason}")
    return NodeError(f"the call of the model failed: {error}", retryable=False)


def _server_message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, Mapping):
        fields = cast("Mapping[str, JsonValue]", body)
        body = fields.get("message") or fields.get("detail") or fields
    text = as_text(body).strip() if body else ""
    return text[:MAX_SHOWN_TEXT] or "(no message)"

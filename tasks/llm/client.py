"""LLM client: requests a reply of a type from an OpenAI-compatible server.

Only ``tasks.llm.node`` imports this module, when the first node needs it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from engine.errors import NodeError, PermanentError
from engine.json_values import JsonValue, as_text, is_list, is_object
from tasks.compute import compute, to_json
from tasks.config.base import fill_text
from tasks.context import HandlerSettings, current_node_run
from tasks.http.client import describe_error, new_openai_transport, parse_retry_after, parse_url
from tasks.llm.content import MAX_SHOWN_TEXT, TokenLimit, model_reply, reported_error, text_of
from tasks.llm.node import LlmConfig
from tasks.llm.reply_types import ReplyType, reply_type, without_thinking
from tasks.llm.streaming import CompletionStream, OnPiece
from tasks.progress import send_delta
from tracing import ModelRequest

OPENAI_HOST = "api.openai.com"
OPENAI_URL = f"https://{OPENAI_HOST}/v1"
MAX_CONCURRENT_REQUESTS = 5
_NO_KEY = "no-key"
_MAX_SHOWN_REPLY = 100


_COUNTS = {
    "promptTokens": "prompt_tokens",
    "completionTokens": "completion_tokens",
    "totalTokens": "total_tokens",
}
Usage = Mapping[str, int]
"""Numbers of tokens: ``{promptTokens, completionTokens, totalTokens}``."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a model to one conversation, and its tokens."""

    text: str
    is_truncated: bool
    usage: Usage


async def request_reply(
    config: LlmConfig, settings: HandlerSettings, input_data: JsonValue
) -> tuple[str, JsonValue, Usage]:
    """Return the model, its response and the tokens, for one prompt or one for each record.

    Raises:
        NodeError: If the model returns no reply of the requested type. Retryable for 429, 5xx and
            network errors; not retryable without a key, for a request that the server rejects, and
            for two replies of another type.
    """
    conversation = _LlmConversation(
        config,
        reply_type(config.output_type, config.enum_options),
        fill_text("llmModel", config.llm_model or settings.llm_model, input_data),
        config.timeout_seconds or settings.llm_timeout_seconds,
        TokenLimit(config.llm_max_tokens),
    )
    async with _client(settings, conversation.timeout_seconds) as client:
        response, usage = await conversation.response(client, input_data)
    return conversation.model, response, usage


def _client(settings: HandlerSettings, timeout_seconds: float) -> openai.AsyncOpenAI:
    key = (settings.openai_api_key or "").strip()
    if not key:
        if not settings.openai_base_url:
            raise PermanentError(
                "OPENAI_API_KEY is not set; llm nodes require it, "
                "or an OPENAI_BASE_URL whose server requires no key"
            )
        key = _NO_KEY
    if not key.isascii() or not key.isprintable():
        raise PermanentError("OPENAI_API_KEY contains characters that are invalid in a key")
    base_url = settings.openai_base_url or OPENAI_URL
    try:
        parse_url(base_url)
    except ValueError as error:
        raise PermanentError(f"OPENAI_BASE_URL {error}") from None
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,  # the node retries, so that attempts are counted and logged
        timeout=timeout_seconds,
        http_client=new_openai_transport(settings, timeout_seconds),
    )


@dataclass(frozen=True, slots=True)
class _LlmConversation:
    config: LlmConfig
    reply_type: ReplyType
    model: str
    timeout_seconds: float
    token_limit: TokenLimit
    stream: CompletionStream = field(default_factory=CompletionStream)

    async def response(
        self, client: openai.AsyncOpenAI, data: JsonValue
    ) -> tuple[JsonValue, Usage]:
        """Return the response for the whole input, and its tokens."""
        if self.config.llm_processing_mode != "perRow" or not is_list(data):
            return await self._value(client, data)
        records = enumerate(data)
        values: dict[int, tuple[JsonValue, Usage]] = {}

        # A fixed number of workers, because a list may have a million records.
        async def work() -> None:
            for index, record in records:
                try:
                    values[index] = await self._value(client, record, index)
                except NodeError as error:
                    raise NodeError(
                        f"record {index}: {error}",
                        retryable=error.retryable,
                        retry_after=error.retry_after,
                    ) from error

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(MAX_CONCURRENT_REQUESTS):
                    group.create_task(work())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        in_order = [values[index] for index in range(len(values))]
        return [value for value, _ in in_order], _total(usage for _, usage in in_order)

    async def _value(
        self, client: openai.AsyncOpenAI, data: JsonValue, index: int | None = None
    ) -> tuple[JsonValue, Usage]:
        """Return the reply as a value of the requested type, after at most two requests."""
        messages = await compute(data, self._messages, data)
        reply = await self._complete(client, messages, partial(send_delta, index=index))
        try:
            return self.reply_type.read(reply.text), reply.usage
        except ValueError:
            messages += self._correction(reply)
        on_piece = partial(send_delta, index=index, question=2)
        second = await self._complete(client, messages, on_piece)
        try:
            return self.reply_type.read(second.text), _total((reply.usage, second.usage))
        except ValueError:
            shown = f"'{second.text[:_MAX_SHOWN_REPLY]}'" if second.text.strip() else "nothing"
            cause = " (truncated at the maximum length)" if second.is_truncated else ""
            raise PermanentError(
                f"{self.model} replied {shown}{cause} instead of {self.reply_type.description} "
                f"(outputType {self.config.output_type})"
            ) from None

    def _messages(self, data: JsonValue) -> list[ChatCompletionMessageParam]:
        instruction = self.reply_type.instruction
        system = [instruction] if instruction else []
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
        content = without_thinking(reply.text)
        if content.strip():  # some servers reject an empty message
            messages.append({"role": "assistant", "content": content})
        instruction = self.reply_type.instruction or "Please reply."
        correction = f"That is not {self.reply_type.description}. {instruction}"
        messages.append({"role": "user", "content": correction})
        return messages

    async def _complete(
        self,
        client: openai.AsyncOpenAI,
        messages: list[ChatCompletionMessageParam],
        on_piece: OnPiece,
    ) -> Reply:
        """Return the reply to one request, which has a span of its own."""
        config, url = self.config, client.base_url
        call = current_node_run().span.model_request(
            ModelRequest(
                self.model,
                url.host,
                url.port,
                config.llm_temperature,
                config.llm_max_tokens,
                "json" if config.output_type == "json" else "text",
            )
        )
        error: str | None = "cancelled"
        try:
            completion = await self._completion(client, messages, on_piece, call.headers)
            error = None
        except NodeError as failure:
            error = str(failure)
            raise
        else:
            call.replied(model_reply(completion))
            return _reply(completion)
        finally:
            call.end(error)

    async def _completion(
        self,
        client: openai.AsyncOpenAI,
        messages: list[ChatCompletionMessageParam],
        on_piece: OnPiece,
        headers: Mapping[str, str],
    ) -> ChatCompletion:
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
        if headers:
            request["extra_headers"] = headers
        try:
            async with asyncio.timeout(self.timeout_seconds):
                completion = await self._create(client, request, on_piece)
        except (TimeoutError, openai.APITimeoutError):
            message = f"{self.model} returned no complete reply within {self.timeout_seconds:g} s"
            raise NodeError(message) from None
        except NodeError as error:  # those of the address guard and the limit name no server
            server = f"the model server at {client.base_url.host}"
            if str(error).startswith(server):
                raise
            raise NodeError(f"{server}: {error}", retryable=error.retryable) from None
        except openai.OpenAIError as error:
            raise _node_error(error, client.base_url.host) from error
        except ValueError:
            raise _not_a_completion(client.base_url.host) from None
        # The client returns other JSON values unchanged, although its types exclude them.
        if not isinstance(completion, ChatCompletion):
            raise _not_a_completion(client.base_url.host)
        if failure := reported_error(completion, client.base_url.host):
            raise failure
        return completion

    async def _create(
        self, client: openai.AsyncOpenAI, request: dict[str, Any], on_piece: OnPiece
    ) -> object:
        """Return the completion; repeat the request if the server uses another parameter name."""
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
    if not completion.choices:
        return Reply("", is_truncated=False, usage=usage)
    choice = completion.choices[0]
    return Reply(text_of(choice.message), choice.finish_reason == "length", usage)


def _usage(usage: CompletionUsage | None) -> Usage:
    # Some servers omit counts, although the client's types require them.
    return {name: getattr(usage, field, None) or 0 for name, field in _COUNTS.items()}


def _total(usages: Iterable[Usage]) -> Usage:
    usages = list(usages)
    return {name: sum(usage[name] for usage in usages) for name in _COUNTS}


def _not_a_completion(host: str) -> NodeError:
    return NodeError(f"the model server at {host} returned a body that is not a completion")


def _node_error(error: openai.OpenAIError, host: str) -> NodeError:
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        # An exhausted quota is a 429 too, but a retry cannot succeed.
        limited = status == HTTPStatus.TOO_MANY_REQUESTS and error.code != "insufficient_quota"
        return NodeError(
            f"the model server at {host} returned {status}: {_server_message(error)}",
            retryable=limited or status >= HTTPStatus.INTERNAL_SERVER_ERROR,
            retry_after=parse_retry_after(error.response.headers.get("Retry-After")),
        )
    if isinstance(error, openai.APIConnectionError):
        reason = describe_error(error.__cause__ or error)
        return NodeError(f"the model server at {host} cannot be reached: {reason}")
    return PermanentError(f"the request to the model failed: {error}")


def _server_message(error: openai.APIStatusError) -> str:
    body = error.body
    if is_object(body):
        body = body.get("message") or body.get("detail") or body
    text = as_text(body).strip() if body else ""
    return text[:MAX_SHOWN_TEXT] or "(no message)"

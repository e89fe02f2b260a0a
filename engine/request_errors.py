"""Errors of requests and webhook deliveries whose sender or body cannot be accepted."""

from engine.errors import InvalidRequestError, Problem, WorkflowServiceError


class SignatureError(WorkflowServiceError):
    """A delivery is not signed, or not with the webhook's secret, or not just now."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The signature is refused: {reason}")


class WebhookSecretUnavailableError(WorkflowServiceError):
    """The secret of a webhook cannot be read now. The log names it, because callers may not."""

    def __init__(self) -> None:
        detail = "The signature cannot be checked now; send the delivery again later"
        super().__init__(detail)
        self.problems = [Problem("secret_unavailable", detail, "")]


class BodyTooLargeError(WorkflowServiceError):
    """The body, unpacked, is larger than a setting allows."""

    def __init__(self, max_bytes: int, setting: str) -> None:
        super().__init__(f"The body is longer than {max_bytes} bytes ({setting})")


class ContentEncodingError(WorkflowServiceError):
    """The body has a ``Content-Encoding`` that the service does not read."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The Content-Encoding '{encoding}' is not supported; supported are gzip and identity"
        )


class InvalidBodyError(InvalidRequestError):
    """The body of a delivery is not what its content type says."""

    summary = "The body cannot be read"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__([Problem(code, detail, "")])

"""Errors that end a request before it is executed.

RequestError               answered with its status, code and headers
├── InvalidRequest         not a well-formed GraphQL request
├── OperationRejected      invalid document or variables (graph.execution.errors)
├── OperationEndedError    interrupted or timed out (graph.execution.errors)
└── ServerError            internal error (graph.api.errors)
"""

from collections.abc import Mapping
from typing import Any


class RequestError(Exception):
    """The request is answered with an error and is not executed."""

    def __init__(
        self, code: str, message: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})

    @property
    def is_about_graphql(self) -> bool:
        """Whether the request is well-formed, but its document or variables are invalid."""
        return False

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [{"message": self.message, "extensions": {"code": self.code}}]


class InvalidRequest(RequestError):
    """Not a well-formed GraphQL request. The message describes the error."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(code, message)

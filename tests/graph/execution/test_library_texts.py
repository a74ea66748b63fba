"""No response quotes Python or a library's exception."""

import re
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLError, parse
from graphql.execution.values import get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.exceptions import StrawberryInputCoercionError

from graph.api.errors import MAX_ERRORS, client_message
from graph.documents.variable_errors import variable_errors
from graph.settings import Settings
from tests.support.client import serving
from tests.support.examples import examples
from tests.support.library_texts import (
    LONG,
    TYPES,
    VALUES,
    document_with_variable,
    errors_of,
)
from tests.support.schema import CORE


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            f"{{ users(first: {LONG}) {{ totalCount }} }}",
            "This number has 4301 digits; an Int is from -2147483648 to 2147483647.",
        ),
        (
            f"query ($n: Int = -{LONG}) {{ users(first: $n) {{ totalCount }} }}",
            "This number has 4301 digits; an Int is from -2147483648 to 2147483647.",
        ),
        (
            "{ user(id: null) { id } }",
            "Expected value of non-null type 'ID!' not to be null.",
        ),
    ],
)
async def test_invalid_literal_has_our_own_message(
    tmp_path: Path, document: str, message: str
) -> None:
    async with serving(Settings(database_url=f"sqlite:///{tmp_path}/roster.db")) as client:
        answer = await client.send(document)
    [error] = answer["errors"]
    assert error["message"] == message
    assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    assert set(error) == {"message", "locations", "extensions"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GraphQLError("Int cannot represent x"), "Int cannot represent x"),
        (GraphQLError("x not to be None."), "x not to be null."),
        (
            GraphQLError("x", original_error=GraphQLError("y", original_error=ValueError("z"))),
            "The document cannot be read: a value is too long, or nested too deep.",
        ),
        (
            StrawberryInputCoercionError("Use 'Maybe[str | None]' if you need to allow null."),
            "Null is not accepted here.",
        ),
    ],
)
def test_client_message_contains_no_exception_text(error: GraphQLError, message: str) -> None:
    assert client_message(error) == message


WORDS = {
    "Int": (True, "expected an integer from -2147483648 to 2147483647, found true."),
    "Int!": (None, "expected a value of type 'Int!', found null."),
    "ID!": (1.5, "expected a string or an integer, found 1.5."),
    "String": ({"a": None}, "expected a string, found an object."),
    "Boolean!": ("x" * 61, f'expected true or false, found "{"x" * 60}"….'),
    "UserFilter": ([None], "expected an object of type 'UserFilter', found a list."),
    "[UserStatus!]": (
        ["ACTIV", "ACTIVE"],
        "expected a value of the enum 'UserStatus', found \"ACTIV\". Did you mean 'ACTIVE'?",
    ),
}


@pytest.mark.parametrize("type_", WORDS)
@pytest.mark.parametrize("suggests", [True, False])
async def test_invalid_variable_has_our_own_message(
    tmp_path: Path, type_: str, *, suggests: bool
) -> None:
    url = f"sqlite:///{tmp_path}/roster.db"
    value, message = WORDS[type_]
    if not suggests:
        message = re.sub(r" Did you mean .*", "", message)
    where = "$v[0]" if type_.startswith("[") else "$v"
    async with serving(Settings(database_url=url, introspection=suggests)) as client:
        answer = await client.send(document_with_variable(type_), v=value)
    assert answer == {
        "errors": [
            {
                "message": f"Variable '{where}': {message}",
                "locations": [{"line": 1, "column": 8}],
                "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
            }
        ]
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "username",
                    "email",
                    "field",
                    "direction",
                    "operations",
                    "create",
                    "by",
                    "and",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(TYPES)), st.dictionaries(st.just("v"), JSON | st.sampled_from(VALUES))
)
@settings(max_examples=examples(500))
def test_generated_invalid_variables_are_described_like_in_graphql_core(
    type_: str, variables: dict[str, Any]
) -> None:
    """Our descriptions must find errors exactly if graphql-core does."""
    document: Any = parse(document_with_variable(type_))
    [operation] = document.definitions
    core = CORE
    found = get_variable_values(core, operation.variable_definitions, variables, MAX_ERRORS)
    described = variable_errors(
        core, operation, variables, max_errors=MAX_ERRORS, hide_suggestions=False
    )
    assert 1 <= len(described) <= MAX_ERRORS
    unexplained = "The variables do not fit the types of the operation."
    assert (described[0].message == unexplained) is not isinstance(found, list)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000, b"{" + b'"a":{' * 60, b"NaN"),
        *(LONG.encode(), b"1e999999", b'{"query":%b}' % LONG.encode(), b'{"query":"\\ud8"}'),
        b'{"query":"{__typename}","variables":{"a":%b}}' % LONG.encode(),
        b'{"query":"{__typename}","variables":' + b'{"a":' * 60 + b"1" + b"}" * 61,
        b'{"query":"{__typename}","operationName":1,"extensions":[]}',
    ],
)
async def test_response_to_a_malformed_body_has_no_library_text(
    tmp_path: Path, body: bytes
) -> None:
    async with serving(Settings(database_url=f"sqlite:///{tmp_path}/roster.db")) as client:
        for accept in ("application/json", "text/event-stream"):
            headers = {"content-type": "application/json", "accept": accept}
            answer = await client.http.post("/graphql", content=body, headers=headers)
            assert answer.status_code == 400
            assert errors_of(answer.text)
        for name in ("variables", "extensions"):
            params = {"query": "{__typename}", name: body[:9_000].decode("latin-1")}
            answer = await client.http.get("/graphql", params=params)
            assert answer.status_code in {200, 400}
            errors_of(answer.text)


async def test_response_to_an_unknown_path_has_no_library_text(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/roster.db"
    origins = ["https://app.example"]
    async with serving(Settings(database_url=url, cors_origins=origins)) as client:
        for method, path, status, code in (
            ("GET", "/nothing", 404, "NOT_FOUND"),
            ("GET", "/graphiql/nothing.js", 404, "NOT_FOUND"),
            ("POST", "/graphiql/app.js", 405, "METHOD_NOT_ALLOWED"),
            ("POST", "/health/live", 405, "METHOD_NOT_ALLOWED"),
            ("PUT", "/graphql", 405, "METHOD_NOT_ALLOWED"),
        ):
            answer = await client.http.request(method, path)
            assert (path, answer.status_code) == (path, status)
            assert [error["extensions"] for error in errors_of(answer.text)] == [{"code": code}]
            assert ("allow" in answer.headers) is (status == 405)
        preflight_headers = {
            "origin": "https://evil.example",
            "access-control-request-method": "POST",
        }
        preflight = await client.http.options("/graphql", headers=preflight_headers)
        assert preflight.status_code == 400
        [error] = errors_of(preflight.text)
        assert error["extensions"] == {"code": "CROSS_ORIGIN"}
        assert "access-control-allow-origin" not in preflight.headers

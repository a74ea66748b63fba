"""The search for canaries finds them in every encoding, and requests contain them."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest

from graph.execution.schema import Schema
from graph.strawberry_adapter import core_schema
from tests.support.canaries import EMAIL, WORD, found_in, operations


@pytest.mark.parametrize(
    "text",
    [
        EMAIL,
        WORD.upper(),
        quote(f"<{EMAIL}>"),
        "".join(f"%{byte:02X}" for byte in WORD.encode()),
        "".join(f"\\u{ord(letter):04x}" for letter in WORD),
        json.dumps({"é": WORD}),
        WORD.encode().hex(),
        *(b64encode(b"User:1234"[:n] + WORD.encode() + b"xyz").decode() for n in range(9)),
        *(urlsafe_b64encode(b"\xff\xfe\xfd"[:n] + WORD.encode()).decode() for n in range(4)),
    ],
)
def test_canary_is_found_in_every_encoding(text: str) -> None:
    assert found_in(f"event='{text}' level=info") != []


def test_ordinary_text_contains_no_canary() -> None:
    assert (
        found_in('{"event": "refused a token", "reason": "canary", "id": "0123456789abcdef"}') == []
    )


def test_requests_have_canaries_in_every_root_field() -> None:
    schema = core_schema(Schema())
    requests = list(operations(schema))
    texts = [request["query"] for request in requests]
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    fields = {name for root in roots if root for name in root.fields}
    assert {name for name in fields if not any(f" {name}" in text for text in texts)} == set()
    assert all(WORD in json.dumps(request) for request in requests)
    assert len(requests) > 60

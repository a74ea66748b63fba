"""Requests with canaries that are rejected: malformed, invalid, not authenticated, or unknown."""

from typing import Any

from tests.support.canaries import EMAIL, WORD
from tests.support.signing import EC, OTHER_RSA, token
from tests.support.spans import SAMPLED

HEADERS = {
    "user-agent": WORD,
    "cookie": f"session={WORD}",
    "referer": f"https://{WORD}.example/{WORD}",
    "traceparent": SAMPLED["traceparent"],
    "tracestate": f"{WORD}={WORD}",
    "baggage": f"user={WORD}",
    "x-forwarded-for": WORD,
    "idempotency-key": WORD,
}
CREATE = """mutation ($input: CreateUserInput!) { createUser(input: $input) {
  user { id username email displayName externalId } errors { code message } } }"""
CANARY = {
    "username": WORD,
    "email": EMAIL,
    "displayName": f"{WORD} {WORD}",
    "externalId": WORD,
    "idempotencyKey": WORD,
}
COUNT = {"query": "{ users { totalCount } }"}
SSE = {"accept": "text/event-stream"}
ANY = {"accept": "*/*"}
BODIES = [
    b'{"query": "qzcanary',
    b"qzcanary",
    b"\xffqzcanary",
    b'["qzcanary"]',
    b'{"query": "qzcanary {"}',
    b'{"query": "{ qzcanary }"}',
    b'{"query": "{ users(filter: {qzcanary: 1}) { totalCount } }"}',
    b'{"query": "{ users(first: \\"qzcanary\\") { totalCount } }"}',
    b'{"query": "{ users(first: 1000) { qzcanary: totalCount } }"}',
    b'{"query": "{ users @qzcanary { totalCount } }"}',
    b'{"query": "query ($a: Int!) { users(last: $a) { x } }", "variables": {"a": "qzcanary"}}',
    b'{"query": "query A { __typename }", "operationName": "qzcanary"}',
    b'{"query": "{ users { totalCount } }", "qzcanary": 1, "extensions": {"qzcanary": 1}}',
    b'{"query": "' + b"{ qzcanary " * 50 + b"}" * 50 + b'"}',
    b'{"query": "{ ' + b"qzcanary " * 3000 + b'}"}',
    b'{"query": "\\u0071zcanary \\ud800"}',
    b'{"query": "{ user(id: \\"qzcanary\\\\ud800\\") { id } }"}',
    b'{"query": "{ users(after: \\"qzcanary\\", search: \\"qzcanary\\") { totalCount } }"}',
]
PATHS = [
    f"/{WORD}",
    f"/{WORD}?{WORD}={WORD}",
    f"/graphql/{WORD}?query={WORD}",
    f"/health/{WORD}",
    f"/health/live?{WORD}",
    f"/users.ndjson?search={WORD}",
    f"/users.ndjson?filter={WORD}",
    f"/users.ndjson?{WORD}=1",
    f"/graphql?query=%7B{WORD}%7D&variables={WORD}",
    f"/graphql?documentId={WORD}",
]
REJECTED = [
    {"authorization": f"Bearer {WORD}"},
    {"authorization": f"Bearer roster_{WORD}"},
    {"authorization": f"{WORD} {WORD}"},
    {"authorization": f"Bearer {token(OTHER_RSA, sub=WORD, iss=WORD)}"},
    {"authorization": f"Bearer {token(EC, 'ES256', sub=WORD, exp=1)}"},
    {"authorization": f"Bearer {token(EC, 'ES256', sub=WORD, aud=WORD)}"},
    {"authorization": f"Bearer {token(EC, 'ES256', {'kid': WORD, 'typ': WORD}, sub=WORD)}"},
    {"authorization": f"Bearer {token(EC, 'ES256', sub=WORD, scope={WORD: 1})}"},
    {"origin": f"https://{WORD}.example"},
    {"host": f"{WORD}.example"},
    {"accept": f"{WORD}/{WORD}"},
    {"content-type": f"{WORD}/{WORD}"},
    {"content-encoding": WORD},
    {"traceparent": WORD},
    {"x-request-id": f"<{WORD}>"},
    {"roster-position": WORD},
    {"last-event-id": WORD, **SSE},
]
MESSAGES: list[Any] = [
    WORD,
    {"type": WORD},
    {"type": "ping", "payload": {WORD: WORD}},
    {"type": "subscribe", "id": WORD, "payload": WORD},
    {"type": "subscribe", "id": WORD, "payload": {"query": WORD}},
    {"type": "subscribe", "id": WORD, "payload": {"query": f"{{ {WORD} }}"}},
    {
        "type": "subscribe",
        "id": WORD,
        "payload": {"query": CREATE, "variables": {"input": CANARY | {"username": "x"}}},
    },
    {
        "type": "subscribe",
        "id": WORD,
        "payload": {"query": f'subscription {{ userEvents(after: "{WORD}") {{ cursor }} }}'},
    },
]

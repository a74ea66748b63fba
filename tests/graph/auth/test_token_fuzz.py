"""Generated tokens and key sets are rejected and never crash the verifier."""

import base64
import json
import re
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.auth.jwks import Key, parse
from graph.auth.tokens import InvalidToken, TokenVerifier
from tests.support.examples import examples
from tests.support.signing import EC, REASONS, RSA, claims, issuer, jwk, key_server

# All JSON values, and what Python's parser also accepts: NaN, Infinity, lone surrogates.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**4_000)
    | st.floats()
    | ANY_TEXT
    | st.sampled_from(["", "sig", "verify", "RS256", "users:read"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
HEADERS = ["alg", "kid", "typ", "cty", "crit", "b64", "jku", "jwk", "x5c", "x5u", "zip", "enc"]
CLAIMS = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope", "scp", "permissions", "name"]
MEMBERS = ["kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y", "d", "x5c", "x5t", "k"]
# The name of an exception's type, or one of our own messages.
REASON = re.compile(r"\w+|(there is|it is|the|a|longer) [\w `]+")
ACCEPTED = ("RS256", "ES256")


def signed(header: object, payload: object) -> str:
    """Signs any header and payload, also those that a library rejects."""
    parts = [json.dumps(part).encode() for part in (header, payload)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = jwt.get_algorithm_by_name("RS256").sign(text, RSA)
    return f"{text.decode()}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def verify(tokens: TokenVerifier, text: str) -> None:
    reason = "none"
    try:
        await tokens.verify(text)
    except InvalidToken as invalid:
        reason = str(invalid)
    assert reason in REASONS or REASON.fullmatch(reason)


@given(
    st.dictionaries(st.sampled_from(HEADERS), ANYTHING, max_size=2) | ANYTHING,
    st.dictionaries(st.sampled_from(CLAIMS), ANYTHING, max_size=3) | ANYTHING,
)
@settings(max_examples=examples(300))
async def test_signed_token_with_any_content_is_accepted_or_rejected(
    header: Any, payload: Any
) -> None:
    if isinstance(header, dict):
        header = {"alg": "RS256", "kid": "known"} | header
    if isinstance(payload, dict):
        payload = claims() | payload
    await verify(TokenVerifier([issuer()]), signed(header, payload))


@given(st.dictionaries(st.sampled_from(HEADERS), ANYTHING, max_size=2))
@settings(max_examples=examples(20))
async def test_token_with_any_header_does_not_break_the_key_lookup(header: dict[str, Any]) -> None:
    async with key_server(jwk(RSA, "known")) as server:
        tokens = TokenVerifier([issuer(jwks_url=server.url)])
        await verify(tokens, signed({"alg": "RS256", "kid": "known"} | header, claims()))
        assert (await tokens.verify(signed({"alg": "RS256", "kid": "known"}, claims()))).subject


@given(ANY_TEXT | st.text(".eyJh-_=", max_size=40))
async def test_arbitrary_text_is_an_invalid_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        await TokenVerifier([issuer()]).verify(text)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=3).map(
            lambda changed: jwk(RSA, "changed") | changed
        )
        | st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=3).map(
            lambda changed: jwk(EC, "changed", "ES256") | changed
        )
        | ANYTHING,
        max_size=5,
    ),
    st.integers(0, 5),
    st.dictionaries(ANY_TEXT, ANYTHING, max_size=3),
)
@settings(max_examples=examples(300))
def test_arbitrary_keys_do_not_affect_the_valid_key(
    others: list[Any], place: int, members: Any
) -> None:
    keys = [*others[:place], jwk(RSA, "known"), *others[place:]]
    found = parse(json.dumps(members | {"keys": keys}).encode(), ACCEPTED)
    assert found.candidates("known", "RS256") == (RSA.public_key(),)
    assert all(isinstance(key, Key) for key in found.keys)

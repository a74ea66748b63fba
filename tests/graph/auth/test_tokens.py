import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from graph.auth.tokens import Claims, InvalidToken, TokenVerifier
from tests.support.signing import (
    EARLY,
    EC,
    EXPIRED,
    FORGED,
    INCOMPLETE,
    ISS,
    OTHER_AUDIENCE,
    OTHER_RSA,
    PRIVATE,
    RSA,
    SECRET,
    claims,
    issuer,
    pem,
    token,
)
from users.policy import Scope


async def rejection_reason(given: str, *issuers: Any) -> str:
    with pytest.raises(InvalidToken) as caught:
        await TokenVerifier(issuers or [issuer()]).verify(given)
    return str(caught.value)


async def verify(given: str, *issuers: Any) -> Claims:
    return await TokenVerifier(issuers or [issuer()]).verify(given)


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_valid_token_yields_subject_issuer_scopes_expiry_and_label(algorithm: str) -> None:
    key = PRIVATE[algorithm]
    exp = int(time.time()) + 60
    given = token(key, algorithm, exp=exp, scope="users:read openid users:fly", name="Ada")
    assert await verify(given, issuer(public_key=pem(key))) == Claims(
        subject="hr-1",
        issuer=ISS,
        scopes=frozenset({Scope.READ}),
        expires_at=datetime.fromtimestamp(exp + 30, UTC),
        label="Ada",
    )


async def test_token_signed_with_the_shared_secret_is_accepted() -> None:
    assert (await verify(token(SECRET, "HS256"), issuer(secret=SECRET))).subject == "hr-1"
    wrong = await rejection_reason(token(SECRET + "x", "HS256"), issuer(secret=SECRET))
    assert wrong == FORGED


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": None}, INCOMPLETE),
        ({"aud": None}, INCOMPLETE),
        ({"sub": None}, INCOMPLETE),
        ({"aud": "other"}, OTHER_AUDIENCE),
        ({"aud": ["other", "another"]}, OTHER_AUDIENCE),
        ({"aud": {"roster": 1}}, OTHER_AUDIENCE),
        ({"exp": time.time() - 60}, EXPIRED),
        ({"nbf": time.time() + 86_400}, EARLY),
        ({"iat": time.time() + 86_400}, EARLY),
        ({"iss": "https://else.example"}, "the issuer is unknown"),
        ({"sub": "x" * 256}, "the subject is no readable text of 1 to 255 characters"),
        ({"sub": ""}, "the subject is no readable text of 1 to 255 characters"),
        ({"sub": "a\0b"}, "the subject is no readable text of 1 to 255 characters"),
        ({"sub": "\ud800"}, "the subject is no readable text of 1 to 255 characters"),
        ({"sub": 1}, "InvalidSubjectError"),
        *(
            ({claim: value}, "a time is not a time")
            for claim in ("exp", "nbf", "iat")
            for value in ("9999999999", True, [1], -1, float("nan"), float("inf"), 10**400)
        ),
    ],
)
async def test_invalid_claim_is_rejected_with_its_reason(
    changed: dict[str, Any], reason: str
) -> None:
    assert await rejection_reason(token(**changed)) == reason


@pytest.mark.parametrize("iss", [None, ["https://id.example"]])
async def test_issuer_claim_that_is_not_a_string_is_rejected(iss: Any) -> None:
    given = {"aud": "roster", "sub": "x", "exp": 2**31} | ({"iss": iss} if iss else {})
    signing_input = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "RS256"}, given)
    )
    assert await rejection_reason(f"{signing_input}.AAAA") == "there is no issuer"


async def test_times_within_the_leeway_are_accepted() -> None:
    late: dict[str, Any] = {"exp": time.time() - 20}
    early: dict[str, Any] = {"nbf": time.time() + 20}
    for changed in (late, early):
        assert (await verify(token(**changed))).expires_at > datetime.now(UTC)
        if "exp" in changed:
            assert await rejection_reason(token(**changed), issuer(leeway=0)) == EXPIRED


async def test_public_key_used_as_an_hmac_secret_is_rejected() -> None:
    text = pem(RSA).encode()
    head, body, _ = token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(f"{head}.{body}".encode(), text)
    forged = f"{head}.{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert await rejection_reason(forged) == "the algorithm is not allowed"


async def test_algorithm_must_be_allowed_and_fit_the_key() -> None:
    unsigned = token("", "none")
    assert await rejection_reason(unsigned) == "the algorithm is not allowed"
    assert await rejection_reason(unsigned, issuer(secret=SECRET)) == "the algorithm is not allowed"
    assert await rejection_reason(token(RSA, "RS512")) == "the algorithm is not allowed"
    assert await rejection_reason(token(RSA, "PS256"), issuer(algorithms="RS256")) == (
        "the algorithm is not allowed"
    )
    assert await rejection_reason(token(EC, "ES256")) == "there is no such key for the algorithm"


async def test_key_in_the_token_header_is_ignored() -> None:
    own = jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True)
    headers = {"jwk": own, "jku": "https://evil.example/keys", "x5u": "https://evil.example/x"}
    assert await rejection_reason(token(OTHER_RSA, headers=headers)) == FORGED
    assert (await verify(token(headers=headers))).subject == "hr-1"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"crit": ["exp"], "exp": 1}, "InvalidTokenError"),
        ({"typ": "logout+jwt"}, "it is of another type"),
        ({"typ": ["JWT"]}, "it is of another type"),
    ],
)
async def test_critical_extension_or_other_type_in_the_header_is_rejected(
    headers: dict[str, Any], reason: str
) -> None:
    assert await rejection_reason(token(headers=headers)) == reason
    assert (await verify(token(headers={"typ": "at+JWT"}))).subject == "hr-1"


async def test_b64_extension_known_to_the_library_is_rejected() -> None:
    _, body, signature = token().split(".")
    header = b'{"alg":"RS256","b64":true,"crit":["b64"]}'
    head = base64.urlsafe_b64encode(header).decode().rstrip("=")
    assert await rejection_reason(f"{head}.{body}.{signature}") == "the header has an extension"


async def test_malformed_or_too_long_token_is_rejected() -> None:
    good = token()
    head, body, signature = good.split(".")
    assert await rejection_reason("a" * 8193) == "longer than 8 KiB"
    assert await rejection_reason(token(padding="x" * 8192)) == "longer than 8 KiB"
    for wrong in (
        "",
        "x",
        "..",
        f"{head}.{body}",
        f"{head}.{body}.",
        f"{head}.{body}.!!!!",
        f"{head}.{body}é.{signature}",
        f"{good}.{signature}",
        f"{head}.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.x",
        "\ud800",
    ):
        reason = await rejection_reason(wrong)
        # Otherwise the name of an error: nothing of the token.
        assert reason == FORGED or reason.isidentifier()


async def test_token_must_be_signed_with_a_key_of_its_own_issuer() -> None:
    other = issuer(issuer="https://other.example", public_key=pem(OTHER_RSA))
    both = (issuer(), other)
    assert (await verify(token(), *both)).issuer == ISS
    theirs = token(OTHER_RSA, iss="https://other.example")
    assert (await verify(theirs, *both)).issuer == "https://other.example"
    assert await rejection_reason(token(OTHER_RSA), *both) == FORGED


SCOPE_CLAIMS = ["scope", "scp", "permissions"]


@pytest.mark.parametrize("claim", SCOPE_CLAIMS)
@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        (None, set()),
        ("", set()),
        ([], set()),
        ("users:read users:write", {Scope.READ, Scope.WRITE}),
        ("openid  users:read", {Scope.READ}),
        ("USERS:READ users:read,users:write", set()),
        (["users:read"], {Scope.READ}),
        (["openid", "users:erase", "users:erase"], {Scope.ERASE}),
        (["", " ", "Read reports", "read users:reads"], set()),
    ],
)
async def test_scope_claim_can_be_a_string_or_a_list(
    claim: str, value: Any, scopes: set[Scope]
) -> None:
    given = claims() | {claim: value}  # `claims` would leave out null
    assert (await verify(jwt.encode(given, RSA, "RS256"))).scopes == scopes


async def test_scopes_of_all_scope_claims_are_combined() -> None:
    given = token(scope="users:read", scp=["users:write"], permissions=["users:history"])
    assert (await verify(given)).scopes == {Scope.READ, Scope.WRITE, Scope.HISTORY}


@pytest.mark.parametrize("claim", SCOPE_CLAIMS)
@pytest.mark.parametrize(
    "value",
    [
        *(True, False, 0, 1, 1.5, float("nan"), {}, {"users:read": True}),
        *([None], [1], ["users:read", 1], [["users:read"]], [{"name": "users:read"}]),
        *(["users:read users:write"], ["not users:write"], [" users:read"], ["users:read\n"]),
    ],
)
async def test_scope_claim_of_another_type_is_rejected_by_name(claim: str, value: Any) -> None:
    """If it were ignored, the caller would lose scopes without an error."""
    good = {name: "users:history" for name in SCOPE_CLAIMS if name != claim}
    reason = await rejection_reason(token(**good | {claim: value}))
    assert reason == f"the claim `{claim}` is neither a string nor a list of scope names"


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({}, None),
        ({"name": " Ada\u202e\0\nL\ud800 ", "preferred_username": "ada"}, "AdaL"),
        ({"name": "\n", "preferred_username": "ada"}, "ada"),
        ({"name": ["Ada"]}, None),
        ({"name": "x" * 201}, "x" * 200),
    ],
)
async def test_label_is_reduced_to_one_printable_line(
    given: dict[str, Any], label: str | None
) -> None:
    assert (await verify(token(**given))).label == label


async def test_weak_or_unsuitable_key_in_the_settings_is_rejected() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - must be rejected
    with pytest.raises(ValueError, match="RSA from 2048 bits on"):
        issuer(public_key=pem(weak))
    with pytest.raises(ValueError, match="does not fit the algorithms"):
        issuer(algorithms=["ES256"])

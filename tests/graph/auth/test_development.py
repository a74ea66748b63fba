"""Tokens of development servers: who accepts them, and for whom they are."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import text as sql
from sqlalchemy import update

from db import identity_key
from db.engine import Database
from db.models import ActorKind, User, UserStatus
from db.statements.external_ids import users_named
from graph.auth import development
from graph.auth.authenticator import Authenticator, InvalidCredentials
from graph.settings import Mode, Settings
from tests.db.test_models import add, user
from tests.support.client import Client, serving
from tests.support.signing import EXPIRED, FORGED, OTHER_AUDIENCE, issuer
from users.clock import now
from users.policy import Caller, Scope
from users.recorder import Actor

MINUTE = timedelta(minutes=1)
VIEWER = "{ viewer { username viewerCan } }"


@pytest.fixture
async def authenticator(database: Database) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(database, [issuer()], development_tokens=True)
    yield authenticator
    await authenticator.close()


async def token_for(
    database: Database, *scopes: Scope, user_id: int = 1, valid: timedelta = MINUTE
) -> str:
    async with database.session() as session:
        [found] = (await session.execute(users_named([user_id], None, None))).all()
        at = now()
        return await development.sign(session, found, scopes, now=at, until=at + valid)


async def key_of(database: Database) -> str:
    async with database.session() as session:
        return (await identity_key.load(session)).digest("\0development")


async def rejection(authenticator: Authenticator, token: str) -> str:
    with pytest.raises(InvalidCredentials) as caught:
        await authenticator.authenticate(f"Bearer {token}")
    return str(caught.value)


def claims(**changed: Any) -> dict[str, Any]:
    named = {"iss": development.ISSUER, "aud": development.ISSUER, "sub": "1"}
    return {**named, "exp": int(now().timestamp()) + 60, **changed}


async def test_token_authenticates_a_user_without_an_external_id(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user())
    token = await token_for(database, Scope.READ)
    exp = jwt.decode(token, options={"verify_signature": False})["exp"]
    caller = await authenticator.authenticate(f"Bearer {token}")
    assert caller == Caller(
        Actor(ActorKind.USER, "1", "Ada"),
        frozenset({Scope.READ}),
        user_id=1,
        expires_at=datetime.fromtimestamp(exp, now().tzinfo),
    )
    assert authenticator.may_be_valid(f"Bearer {token}")


async def test_external_id_of_the_user_is_the_subject_of_the_caller(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user(external_id="hr-1"))
    caller = await authenticator.authenticate(f"Bearer {await token_for(database)}")
    assert caller is not None
    assert (caller.subject, caller.scopes) == ("hr-1", frozenset())


async def test_expired_token_is_rejected(database: Database, authenticator: Authenticator) -> None:
    await add(database, user())
    token = await token_for(database, Scope.READ, valid=-MINUTE)
    assert await rejection(authenticator, token) == EXPIRED


@pytest.mark.parametrize("sub", ["2", "0", "-1", "ada", "1.0", "٢", "9" * 300, "9" * 19, "1 "])
async def test_token_for_no_user_is_rejected(
    database: Database, authenticator: Authenticator, sub: str
) -> None:
    await add(database, user())
    token = jwt.encode(claims(sub=sub), await key_of(database), "HS256")
    assert await rejection(authenticator, token) in {
        "there is no such user",
        "the subject is no id of a user",
        "the subject is no readable text of 1 to 255 characters",
    }


async def test_token_without_a_valid_signature_is_rejected(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user())
    token = await token_for(database, *Scope)
    head, body, signature = token.split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=")
    forged = {
        jwt.encode(claims(), "0" * 64, "HS256"): FORGED,
        jwt.encode(claims(), "0" * 64, "HS512"): "the algorithm is not allowed",
        f"{head}.{body}.": FORGED,
        f"{head}.{body[:-4]}AAAA.{signature}": None,
        f"{none.decode()}.{body}.": "the algorithm is not allowed",
        jwt.encode(claims(aud="roster"), await key_of(database), "HS256"): OTHER_AUDIENCE,
    }
    for text, reason in forged.items():
        assert reason in (await rejection(authenticator, text), None)


async def test_token_of_another_database_is_rejected(
    database: Database, authenticator: Authenticator
) -> None:
    await add(database, user())
    token = await token_for(database, *Scope)
    assert await authenticator.authenticate(f"Bearer {token}")
    async with database.engine.begin() as connection:
        await connection.execute(sql("UPDATE identity_keys SET key = :key"), {"key": "ab" * 32})
    fresh = Authenticator(database, development_tokens=True)
    assert await rejection(fresh, token) == FORGED
    await fresh.close()


async def test_second_server_process_accepts_the_token(database: Database) -> None:
    await add(database, user())
    token = await token_for(database, Scope.READ)
    for _ in range(2):
        other = Authenticator(database, development_tokens=True)
        assert await other.authenticate(f"Bearer {token}")
        await other.close()


@pytest.mark.parametrize("status", [UserStatus.DEACTIVATED, UserStatus.DELETED])
async def test_token_of_a_user_who_is_not_active_is_rejected(
    database: Database, authenticator: Authenticator, status: UserStatus
) -> None:
    await add(database, user())
    token = await token_for(database, *Scope)
    deleted_at = now() if status is UserStatus.DELETED else None
    async with database.engine.begin() as connection:
        columns = {"status": status, "is_active": False, "deleted_at": deleted_at}
        await connection.execute(update(User).values(columns))
    assert await rejection(authenticator, token) == "the user is not active"


@pytest.mark.parametrize("configured", [False, True])
async def test_production_rejects_development_tokens(
    database: Database, database_url: str, *, configured: bool
) -> None:
    await add(database, user())
    token = await token_for(database, *Scope)
    named = {"issuer": development.ISSUER, "audience": development.ISSUER, "secret": "x" * 64}
    settings = Settings(
        database_url=database_url,
        mode=Mode.PRODUCTION,
        auth_api_keys=True,
        auth_issuers=[named] if configured else [],
    )
    async with serving(settings) as client:
        client.http.headers["authorization"] = f"Bearer {token}"
        answer = await client.send(VIEWER)
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "data" not in answer


async def test_development_server_applies_the_rights_of_a_token(client: Client) -> None:
    ada, bob = await client.create("ada"), await client.create("bob")
    assert await client.ask(VIEWER) is None
    client.http.headers["authorization"] = f"Bearer {await token_for(client.database)}"
    assert await client.ask(VIEWER) == {"username": "ada", "viewerCan": ["UPDATE"]}
    assert await client.ask("{ users { nodes { username } } }") == {"nodes": [{"username": "ada"}]}
    own = await client.mutate("updateUser", ada["id"], displayName="Ada")
    assert (own["changed"], own["errors"]) == (True, [])
    other = await client.mutate("updateUser", bob["id"], displayName="Bob")
    assert [error["code"] for error in other["errors"]] == ["FORBIDDEN"]
    history = await client.send("{ viewer { history { nodes { type } } } }")
    assert history["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    del client.http.headers["authorization"]
    [_, changed] = await client.events(ada["id"])
    assert changed["actor"] == {"kind": "user", "id": "1", "label": "ada"}

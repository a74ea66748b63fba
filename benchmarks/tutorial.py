"""A typical tutorial's service: Strawberry's router on FastAPI, an ORM session for each request.

The engine has its defaults, the session comes from `Depends`, and users are loaded with a
DataLoader, as Strawberry's documentation advises. Aliases need that, because they share one
session. With BENCH_CACHES=1 it is tuned by settings only: Strawberry's caches of parsed and
validated documents, and a pool of ten connections without overflow.
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import orjson
import strawberry
from fastapi import Depends, FastAPI
from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import BaseContext, GraphQLRouter

from db import models
from db.models import ActorKind, UserEventType, UserStatus

_CACHES = os.environ.get("BENCH_CACHES") == "1"
_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 0} if _CACHES else {}

_URL = make_url(os.environ["BENCH_DATABASE_URL"]).set(drivername="postgresql+asyncpg")

engine = create_async_engine(_URL, **_POOL)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Context(BaseContext):
    def __init__(self, session: AsyncSession) -> None:
        super().__init__()
        self.session = session
        self.users = DataLoader(self._load)

    async def _load(self, keys: list[int]) -> "list[models.User | None]":
        users = await self.session.scalars(select(models.User).where(models.User.id.in_(keys)))
        found = {user.id: user for user in users}
        return [found.get(key) for key in keys]


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


async def get_context(session: Annotated[AsyncSession, Depends(get_session)]) -> Context:
    return Context(session)


Info = strawberry.Info[Context, None]
Status = strawberry.enum(UserStatus)


@strawberry.type
class User:
    id: strawberry.ID
    username: str
    email: str
    display_name: str | None
    status: Status  # type: ignore[valid-type]  # an enum of the schema
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, user: models.User) -> "User":
        return cls(
            id=strawberry.ID(str(user.id)),
            username=user.username,
            email=user.email,
            display_name=user.display_name,
            status=user.status,
            version=user.version,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )


@strawberry.type
class UserEdge:
    cursor: str
    node: User


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class UserConnection:
    edges: list[UserEdge]
    page_info: PageInfo


@strawberry.input
class CreateUserInput:
    username: str
    email: str
    display_name: str


@strawberry.type
class CreateUserPayload:
    user: User


@strawberry.type
class Query:
    @strawberry.field
    async def user(self, info: Info, id: strawberry.ID) -> User | None:
        found = await info.context.users.load(int(id))
        return User.of(found) if found else None

    @strawberry.field
    async def users(self, info: Info, first: int = 20) -> UserConnection:
        newest = select(models.User).where(models.User.status != UserStatus.DELETED)
        newest = newest.order_by(models.User.created_at.desc(), models.User.id.desc())
        rows = (await info.context.session.scalars(newest.limit(first + 1))).all()
        edges = [UserEdge(cursor=cursor(row), node=User.of(row)) for row in rows[:first]]
        page_info = PageInfo(
            has_next_page=len(rows) > first,
            has_previous_page=False,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        )
        return UserConnection(edges=edges, page_info=page_info)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def create_user(self, info: Info, input: CreateUserInput) -> CreateUserPayload:
        session, now = info.context.session, datetime.now(UTC)
        user = models.User(
            username=input.username,
            username_key=input.username.lower(),
            email=input.email,
            email_key=input.email.lower(),
            display_name=input.display_name,
            display_name_key=input.display_name.lower(),
            is_active=True,
            status=UserStatus.ACTIVE,
            status_changed_at=now,
            version=1,
            created_at=now,
            updated_at=now,
        )
        session.add(user)
        await session.flush()
        session.add(
            models.UserEvent(
                user_id=user.id,
                type=UserEventType.CREATED,
                at=now,
                actor_kind=ActorKind.SYSTEM,
                actor_label="tutorial",
                request_id=uuid4().hex,
                changes=changes(input),
                version_after=1,
            )
        )
        await session.commit()
        return CreateUserPayload(user=User.of(user))


def cursor(user: models.User) -> str:
    return urlsafe_b64encode(orjson.dumps([user.created_at, user.id])).decode()


def changes(input: CreateUserInput) -> list[models.Change]:
    after = {
        "username": input.username,
        "email": input.email,
        "displayName": input.display_name,
        "status": UserStatus.ACTIVE.value,
    }
    return [models.Change(field=f, before=None, after=v) for f, v in after.items()]


schema = strawberry.Schema(
    Query, Mutation, extensions=[ParserCache, ValidationCache] if _CACHES else []
)
app = FastAPI()
app.include_router(GraphQLRouter(schema, context_getter=get_context), prefix="/graphql")

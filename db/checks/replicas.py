"""The check of the servers that ROSTER_READ_DATABASE_URL names."""

import asyncio
from collections.abc import Collection
from typing import Final, NamedTuple

from sqlalchemy import URL

from db.checks.check import Caution
from db.checks.inspected import Server, ask
from db.errors import is_of_database, message_of
from db.notifications import close
from db.pooling import plain
from db.replication.opening import server_name
from db.timing import DEFAULT

_CLUSTER: Final = "SELECT system_identifier FROM pg_control_system()"
_STATE: Final = f"""
  SELECT pg_is_in_recovery(), ({_CLUSTER}), pg_has_role('pg_read_all_stats', 'USAGE'),
    quote_ident(current_user)"""
_FIX: Final = "until it is repaired, the other servers and the primary answer the queries"


class _Found(NamedTuple):
    """`problem` is None if queries can be read there."""

    is_standby: bool
    problem: str | None = None
    fix: str = _FIX


async def replicas(urls: Collection[URL], server: Server) -> str:
    """Whether each is a standby of the same cluster, whose progress the role may see.

    The primary may be among them: after a failover the setting needs no change.
    """
    [[cluster]] = await server.query(_CLUSTER)
    found = await asyncio.gather(*(_inspect(url, cluster) for url in urls))
    problems = [
        f"{server_name(url)}: {each.problem}"
        for url, each in zip(urls, found, strict=True)
        if each.problem
    ]
    if problems:
        raise Caution("; ".join(problems), next(each.fix for each in found if each.problem))
    standbys = sum(each.is_standby for each in found)
    if not standbys:
        raise Caution("none of them is a standby: the primary answers everything", _FIX)
    return f"queries can be read on {standbys} of {len(found)}"


async def _inspect(url: URL, cluster: int) -> _Found:
    try:
        driver = await plain(url)()
        try:
            [[is_standby, its_cluster, sees_progress, role]] = await ask(driver, _STATE)
        finally:
            await close(driver, DEFAULT)
    except Exception as error:
        if not is_of_database(error):
            raise
        return _Found(is_standby=False, problem=message_of(error))
    if its_cluster != cluster:
        return _Found(is_standby, "it belongs to another cluster than the primary")
    if not sees_progress:
        return _Found(
            is_standby,
            "its role lacks the privileges of pg_read_all_stats",
            f"on the primary: GRANT pg_read_all_stats TO {role}",
        )
    return _Found(is_standby)

"""A failing non-null root field cancels its siblings, and leaves no tasks or connections."""

import asyncio
import gc
import warnings
from typing import Any

import pytest

from tests.graph.compiler.differential import task_name
from tests.support.client import Client

QUERY = """query ($id: ID!, $ids: [ID!] = []) {
  a: user(id: $id) { username history { nodes { type } } }
  users { totalCount nodes { username } }
  nodes(ids: $ids) { id }
  b: user(id: $id) { username }
  userBy(by: { username: "ada" }) { id }
}"""


@pytest.mark.parametrize(
    ("ids", "code"),
    # The first fails before its resolver is called, the second while its siblings read.
    [(None, "GRAPHQL_VALIDATION_FAILED"), (["x"] * 101, "INVALID_ARGUMENT")],
    ids=["immediately", "in a moment"],
)
async def test_failing_non_null_root_field_leaves_no_tasks_of_its_siblings(
    client: Client, ids: Any, code: str
) -> None:
    ada = await client.create("ada")
    whole = await client.ask(QUERY, id=ada["id"], ids=[ada["id"]])
    assert whole["nodes"] == [{"id": ada["id"]}]
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer = await client.send(QUERY, id=ada["id"], ids=ids)
        left = asyncio.all_tasks() - before
        await asyncio.gather(*left, return_exceptions=True)
        gc.collect()
    assert answer["data"] is None
    assert [(e["extensions"]["code"], e["path"]) for e in answer["errors"]] == [(code, ["nodes"])]
    # Lookups are shared by operations; a cancelled one may still be releasing its connection.
    shared = ("_Batch.", "AsyncAdapt_", "Connection._cancel")
    assert not {task_name(task) for task in left if not task_name(task).startswith(shared)}
    assert not [str(each.message) for each in warned]
    assert await client.ask(QUERY, id=ada["id"], ids=[ada["id"]]) == whole

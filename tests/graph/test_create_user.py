from tests.client import CREATE, Client


async def test_a_user_is_created_with_its_event(client: Client) -> None:
    payload = await client.ask(
        CREATE,
        input={
            "username": "Ada",
            "email": "Ada@Example.com",
            "displayName": "Ada Lovelace",
            "externalId": "hr-1",
        },
    )
    user = payload["user"]
    assert payload["errors"] == []
    assert user == {
        "id": "VXNlcjox",
        "username": "Ada",
        "email": "Ada@example.com",
        "displayName": "Ada Lovelace",
        "isActive": True,
        "status": "ACTIVE",
        "statusReason": None,
        "externalId": "hr-1",
        "version": 1,
        "deletedAt": None,
    }
    assert await client.events(user["id"]) == [
        {
            "type": "CREATED",
            "reason": None,
            "versionAfter": 1,
            "changes": [
                {"field": "username", "before": None, "after": "Ada"},
                {"field": "email", "before": None, "after": "Ada@example.com"},
                {"field": "displayName", "before": None, "after": "Ada Lovelace"},
                {"field": "externalId", "before": None, "after": "hr-1"},
                {"field": "status", "before": None, "after": "ACTIVE"},
            ],
            "actor": {"kind": "system", "id": None, "label": "development"},
        }
    ]

"""The audits of the GraphQL-over-HTTP reference implementation, against a real server."""

import json
from pathlib import Path

from tests.support.node import install_packages, run_program
from tests.support.process import serving_process

AUDIT = Path(__file__).parents[1] / "audit"


async def test_server_passes_every_audit_of_graphql_over_http(tmp_path: Path) -> None:
    install_packages(AUDIT)
    async with serving_process(cwd=tmp_path) as (_, url):
        output = await run_program("node", "audit.mjs", f"{url}/graphql", cwd=AUDIT)
    results = json.loads(output)
    assert len(results) == 61
    failed = [
        "{status}: {id} {name}: {reason}; answered {answer}".format_map(result)
        for result in results
        if result["status"] != "ok"
    ]
    assert not failed, "\n".join(["", *failed])

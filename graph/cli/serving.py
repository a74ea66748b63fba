"""What `roster serve` runs. Only this command imports the server's libraries, which are slow."""

from contextlib import ExitStack
from functools import cache, partial

from graph.cli import erasures
from graph.cli.database import run, wait_and_prepare
from graph.cli.server import listen, publishing, run_server, uvicorn_config
from graph.cli.waiting import answering, waiting_app
from graph.metrics.exposition import ServerState
from graph.settings import Settings
from graph.tracing.traces import check as check_traces


def serve_until_stopped(settings: Settings, folder: str | None) -> None:
    """Serve. `folder` is for the values of metrics of several workers."""
    check_traces(**settings.tracing())
    state = ServerState()
    with ExitStack() as stack:
        stack.enter_context(publishing(settings, state, folder))
        # An unusable database is reported before a port that is in use.
        listening = cache(lambda: stack.enter_context(listen(settings)))
        config = uvicorn_config(settings, waiting_app)
        run(settings, partial(wait_and_prepare, settings, partial(answering, config, listening)))
        run(settings, erasures.check_at_start)
        state.is_waiting = False
        run_server(settings, listening(), state)

from tests.support.process import run


async def test_invalid_settings_stop_every_command() -> None:
    wrong = "Input should be a valid integer, unable to parse string as an integer"
    lines = f"roster: ROSTER_PORT: {wrong}\nROSTER_WORKERS: {wrong}\n"
    for command in ("serve", "migrate", "demo"):
        assert await run(command, ROSTER_PORT="x", ROSTER_WORKERS="x") == (1, lines)

class Clock:
    """A clock that only the test moves, in seconds."""

    def __init__(self, time: float = 1000.0) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time

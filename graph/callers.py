"""Stub."""


class Unauthenticated(Exception):
    pass


class Callers:
    def __init__(self, *args, **kw): ...

    async def identify(self, token):
        return None

"""Stub."""


class KeysUnavailable(Exception):
    pass

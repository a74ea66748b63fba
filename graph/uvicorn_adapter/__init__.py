"""Extends uvicorn's protocols; the only package that uses its internals."""

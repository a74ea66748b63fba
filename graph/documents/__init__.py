"""Parsing, validation, limits and caching of documents."""

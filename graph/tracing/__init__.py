"""Traces: FastAPI's span of each request, with spans of GraphQL operations and of statements."""

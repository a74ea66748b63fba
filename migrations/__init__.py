"""Alembic revisions, both dialects, up and down."""

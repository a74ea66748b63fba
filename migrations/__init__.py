"""Alembic revisions for both databases, with upgrade and downgrade."""

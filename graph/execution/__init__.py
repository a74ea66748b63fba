"""Executes operations of the schema."""

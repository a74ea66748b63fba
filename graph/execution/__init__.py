"""Execution of operations."""

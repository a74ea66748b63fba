"""The `roster` command."""

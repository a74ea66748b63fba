"""Persistence: tables, statements, sessions and engines. Imports no other package of Roster."""

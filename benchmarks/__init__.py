"""Benchmarks of Roster. They print tables; no test depends on the results."""

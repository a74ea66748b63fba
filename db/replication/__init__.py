"""Reads on replicas: positions in the primary's log, and which replica has reached which."""

"""Limits per caller, per network and per process."""

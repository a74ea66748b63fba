"""Limits per caller."""

"""Delivery of results over time."""

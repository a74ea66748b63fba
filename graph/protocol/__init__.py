"""Requests, errors and JSON, shared by all transports."""

"""Metrics for Prometheus, and the port that publishes them."""

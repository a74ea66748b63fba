"""Results that are delivered over time."""

"""The requests: what clients send, before it is checked."""

"""The views: what the schema's objects are made of."""

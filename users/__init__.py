"""Users: their lifecycle, identity and history. Independent of HTTP and GraphQL."""

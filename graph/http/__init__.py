"""GraphQL over HTTP, health checks and GraphiQL."""

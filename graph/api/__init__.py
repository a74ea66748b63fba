"""The GraphQL schema."""

"""What clients see: HTTP, GraphQL, the command line."""

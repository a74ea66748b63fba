"""The input types of the schema."""

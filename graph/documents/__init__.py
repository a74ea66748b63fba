"""Documents: parsed, validated, limited and cached."""

"""A record of erasures outside of the database, which a restore does not take back."""

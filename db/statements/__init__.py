"""Statement builders, one module for each subject."""

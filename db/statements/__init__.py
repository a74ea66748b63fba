"""Pure statement builders, by what they are about."""

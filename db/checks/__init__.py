"""The checks of `roster check`: whether a database offers what Roster needs."""

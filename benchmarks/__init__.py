"""Measurements of Roster, printed as tables. None of them decides a test."""

"""How it is kept: tables, statements, engines. Imports nothing of ours."""

"""`python -m graph` runs the `roster` command."""

from graph.cli.main import main

main()

"""`python -m graph`, which is `roster`."""

from graph.cli.main import main

main()

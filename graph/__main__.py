"""`python -m graph`, which is `roster`."""

from graph.cli import main

main()

"""How many examples the property tests draw."""

from hypothesis import settings

_FULL = 100  # examples of a test without a number of its own, in the default profile


def examples(number: int) -> int:
    """Returns the number, or a share of it in Hypothesis profiles with fewer examples."""
    return max(1, number * settings().max_examples // _FULL)

"""Settings that tests expect to be rejected."""

import pytest

from graph.environment import InvalidSettings
from graph.settings import load


def settings_error() -> str:
    """Loads invalid settings and returns the error, which must be one line."""
    with pytest.raises(InvalidSettings) as caught:
        load()
    [settings_error] = str(caught.value).splitlines()
    assert "s3cret" not in settings_error
    return settings_error

from graph.settings.server import Mode
from graph.settings.settings import DEVELOPMENT_DEFAULTS, Settings, load

__all__ = ["DEVELOPMENT_DEFAULTS", "Mode", "Settings", "load"]

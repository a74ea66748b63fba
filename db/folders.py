"""Folders whose entries must survive a power loss."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write the folder's list of names to the disk: a new or renamed file is not on it before."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

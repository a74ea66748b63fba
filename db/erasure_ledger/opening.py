"""Opens the ledger that ROSTER_ERASURE_LEDGER names: a file, or a database of PostgreSQL."""

from pathlib import Path
from typing import Final

from db.engine import Database
from db.erasure_ledger.entries import ErasureLedger
from db.erasure_ledger.file import FileLedger
from db.erasure_ledger.table import TableLedger
from db.url import check_url, host_of, parse_url

_SECONDS: Final = 5.0  # a transaction holds its locks while it waits for the ledger


def check_ledger(given: str) -> None:
    """Raise ValueError if the text is neither a file in an existing folder nor a database URL."""
    if "://" in given:
        url = parse_url(given)
        if url.get_backend_name() != "postgresql":
            raise ValueError("the URL of a ledger must be one of PostgreSQL; or name a file")
        check_url(url)
    else:
        _check_file(Path(given))


def _check_file(path: Path) -> None:
    try:
        has_folder, is_folder = path.parent.is_dir(), path.is_dir()
    except OSError:  # for example, a name that is too long
        raise ValueError("this file cannot be accessed") from None
    if not has_folder:
        raise ValueError("the folder of the ledger does not exist")
    if is_folder:
        raise ValueError("the ledger must be a file, and this is a folder")


def open_ledger(given: str) -> ErasureLedger:
    if "://" not in given:
        return FileLedger(Path(given).absolute(), _SECONDS)
    url = parse_url(given)
    database = Database(given, pool_size=2, pool_timeout=_SECONDS, statement_timeout=_SECONDS)
    name = f"the ledger in PostgreSQL {url.database} on {host_of(url)}"
    return TableLedger(database, name, _SECONDS)

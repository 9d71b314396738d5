"""What the checks share: the server's address, and a fresh table a check."""

import itertools
import os

BASE = os.environ["ACTIX_SQLITE_URL"].rstrip("/")
_tables = itertools.count(1)


def address(scheme):
    """The server's address for a transport: `http` or `ws`."""
    return scheme + BASE.removeprefix("http")


def fresh_table():
    """A table name that nobody else uses, in this run or another."""
    return f"py_{os.getpid()}_{next(_tables)}"

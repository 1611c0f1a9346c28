"""Files on Google Drive: pages come before the bytes, and say where these are or why there are none."""

from __future__ import annotations

import textwrap
from functools import partial

from ndec_bench.data.registry import DRIVE_HOST
from ndec_bench.download.answer import Gone
from ndec_bench.download.exchange import Location
from ndec_bench.errors import NetworkError
from ndec_bench.printable import one_line

BY_HAND = f"open {DRIVE_HOST}uc?id={{}} in a browser, and put the file at {{}}"
_QUOTA = ("quota", "too many users")
_NO_LINK = "Cannot retrieve the public link"


def location(name: str, drive_id: str, sha256: str | None = None) -> Location:
    """Return where a browser would begin: the front door, behind which pages lead to the bytes."""
    return Location(f"{DRIVE_HOST}uc?id={drive_id}", sha256=sha256, page=partial(address_in, name))


def address_in(name: str, page: str) -> str:
    """Return the address that a page of Drive leads to: of the form that warns of a file nobody scanned.

    Raises
    ------
    NetworkError
        If the page says that the quota of the file ``name`` is used up.
    Gone
        If it leads nowhere.
    """
    # Google changes these pages now and then, and gdown follows.
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    try:
        return get_url_from_gdrive_confirmation(page)
    except FileURLRetrievalError as error:
        found = textwrap.shorten(one_line(str(error)), 200, placeholder="…")
    except (AssertionError, KeyError, ValueError):  # a form without what belongs into one
        found = "a page that cannot be read"
    if any(word in found.lower() for word in _QUOTA):
        raise NetworkError(
            f"{name}: Google Drive's quota for this file is used up ({found})", hint="wait a day and run again"
        )
    if _NO_LINK in found:
        found = "no public link: it is not shared with everybody, is gone, or was asked for too often"
    raise Gone(f"Google Drive does not give it ({found})", "run again later")

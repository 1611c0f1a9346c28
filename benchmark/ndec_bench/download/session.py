"""HTTP sessions that say who asks."""

from __future__ import annotations

import requests

from ndec_bench import __version__


def new_session() -> requests.Session:
    """Return a session with the environment's proxies and certificates, to be closed by the caller."""
    session = requests.Session()
    session.headers["User-Agent"] = f"ndec-bench/{__version__}"
    return session

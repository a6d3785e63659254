"""Addresses that users give: no keys in them.

Belongs here: refusing credentials within a URL, which would otherwise end in recipes, logs and messages.
Does not belong: where credentials come from (the environment alone, read by the libraries that need them).
"""

from __future__ import annotations

import re

from dd_assets.errors import InputError

CREDENTIALS = re.compile(
    r"^[a-z][a-z0-9+.-]*://([^/?#]*|[^@]*:[^@]*)@|[?&](key|secret|token|password|signature|x-amz-[a-z-]+)=",
    re.IGNORECASE,
)
"""User information before the host, also where a key with '/' was not escaped, or a signature in the query."""


def without_credentials(address: str, what: str) -> str:
    """The address if it holds no user name, password or signature; raises InputError, which does not repeat it."""
    if CREDENTIALS.search(address):
        raise InputError(
            f"{what} holds credentials in its URL",
            "leave them out of it and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
        )
    return address

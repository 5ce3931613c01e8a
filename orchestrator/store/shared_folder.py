"""A store's folder that several users share: what is written into it can be written by the folder's group."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from reskd.errors import BadInput


def write_for_group(folder: Path) -> None:
    """Give the group rights to what this process writes from now on, if the group may write into the folder.

    The folder's rights are the owner's decision; a umask of 022, the usual one, would shut the group out of every new
    file. git has the same rule, as `core.sharedRepository`.
    """
    if folder.is_dir() and folder.stat().st_mode & stat.S_IWGRP:
        before = os.umask(0o077)
        os.umask(before & ~stat.S_IRWXG)


def refuse_closed(paths: Iterable[Path], *, store: Path) -> None:
    """Raise BadInput for the first of the paths that is there and that this user may not change."""
    for path in paths:
        if path.exists() and not os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)):
            raise BadInput(closed(path, store=store))


def closed(path: Path, *, store: Path) -> str:
    """One line about something in the store that this user may not change: whose it is, and how it is opened."""
    owner, user, folder = _user(path.stat().st_uid), _user(os.geteuid()), shlex.quote(str(store))
    return (
        f"--store {store}: {path} belongs to {owner}, and {user} may not write it; for a group, let {owner} run "
        f"`chgrp -R GROUP {folder}; chmod -R g+rwX {folder}; find {folder} -type d -exec chmod g+s {{}} +`, "
        f"or name another store"
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # a number without a name, as in containers
        return f"user {number}"

"""Settles what a command takes from its environment, before anything heavy is loaded: streams, proxies, rights of
files, the folder for temporary files, the home folder."""

from __future__ import annotations

import atexit
import getpass
import io
import locale
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from reskd.errors import BadInput

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_TEMPORARY = 37
"""Most bytes of a folder in which Ray's sockets fit. A socket's path may have 107 bytes; Ray takes 68 more for
/ray/session_2026-11-30_20-13-44_123456_1234567/sockets/plasma_store, and 2 to number them."""
NO_HOME = Path("/nonexistent")
"""Debian's home folder of users that have none."""
SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def settle() -> list[str]:
    """Settle everything. Returns a line for each thing that is not as the environment asks.

    Raises BadInput for what nothing can be done about.
    """
    _streams()
    os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
    _reach_loopback_directly()
    _check_umask()
    said = _temporary_folder()
    _do_without_home()
    return said


def _streams() -> None:
    """Write UTF-8 into files and pipes. A terminal has its own encoding; a letter that it lacks is shown as `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=_of_terminal() if stream.isatty() else "utf-8", errors="replace")


def _of_terminal() -> str:
    """The locale's encoding, also in UTF-8 mode. The locale C says ASCII, which says nothing about the terminal."""
    encoding = locale.getencoding()
    return "utf-8" if encoding in ("ascii", "us-ascii", "ANSI_X3.4-1968") else encoding


def _reach_loopback_directly() -> None:
    """Except this machine from proxies, for every library and every process that is started."""
    known = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    names = dict.fromkeys(name.strip() for name in ",".join(known).split(",") if name.strip())
    # `*`, no proxy for anybody, is understood only where it stands alone.
    excepted = "*" if "*" in names else ",".join(dict.fromkeys([*names, *LOOPBACK]))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = excepted


def _check_umask() -> None:
    umask = os.umask(0o077)
    os.umask(umask)
    if umask & stat.S_IRWXU:
        raise BadInput(f"umask {umask:04o} takes your own rights to the files that are written; set `umask 022`")


def _temporary_folder() -> list[str]:
    """Let TMPDIR, and RAY_TMPDIR if it is set, name a folder that can be written and has a path short enough."""
    said = []
    for name in ("TMPDIR", "RAY_TMPDIR"):
        asked = os.environ.get(name)
        if asked and not _is_writable(Path(asked)):
            del os.environ[name]
            said.append(f"{name}={asked} cannot be written; {_usable_folder()} is used")
    os.environ["TMPDIR"] = _usable_folder()  # Ray looks at no other variable, and Python at more than this one
    for name in ("TMPDIR", "RAY_TMPDIR"):
        asked = os.environ.get(name, "")
        if len(os.fsencode(asked)) > MAX_TEMPORARY:
            os.environ[name] = str(_short_link(Path(asked), name=name))
            said.append(f"{name}={asked} is too long for the paths of sockets; it is reached as {os.environ[name]}")
    tempfile.tempdir = None  # what was found is looked up again, by its new name
    return said


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _usable_folder() -> str:
    tempfile.tempdir = None
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise BadInput("no folder for temporary files can be written; set TMPDIR to one") from error


def _short_link(folder: Path, *, name: str) -> Path:
    """A link to the folder with a short path of its own, which is deleted when this process ends."""
    for place in SHORT_PLACES:
        try:
            link = _own_folder(place) / "t"
        except OSError:
            continue
        link.symlink_to(folder.absolute())
        return link
    raise BadInput(
        f"{name}={folder} is longer than {MAX_TEMPORARY} bytes, too long for Ray's sockets; set it to a short folder"
    )


def _own_folder(place: str) -> Path:
    """A new folder of this process's own, which is deleted when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="reskd-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _do_without_home() -> None:
    """Let other people's packages load where the user has no home folder, no name, or may not write there.

    What really needs a folder, downloaded weights and the cache of a store in a bucket, says so when it is needed.
    """
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and the user is in no list; Ray looks for the folder while it is loaded
        home = NO_HOME
        os.environ["HOME"] = str(home)
    if not os.access(home, os.W_OK | os.X_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(_own_folder(tempfile.gettempdir())))
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.geteuid())

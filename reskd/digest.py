"""A digest at the end of each file that is read back, so that a flipped bit, a lost part or an edit is seen.

A file and its digest are one write, so they agree after every crash. The file stays what it is for other programs::

    a JSON object or line           its last member:  "digest": "sha256:..."
    a zip file (.pt, .npz)          the zip file's comment:  sha256:...

The digest is the sha256 of all bytes before it. Files of earlier versions have none.
"""

from __future__ import annotations

import hashlib
import re

from reskd.errors import Damaged

MEMBER = "digest"
"""The last member of a JSON object of ours."""
ZIP = b"PK"
"""How a zip file begins, also one without content."""
TAIL_BYTES = 160
"""The end of a file in which its digest lies, also after an editor has added a newline."""
PUT_BACK = "put a good copy back"
_LENGTH = bytes([len("sha256:") + 64, 0])  # of a zip file's comment, the last two bytes before it
_IN_ZIP = re.compile(re.escape(_LENGTH) + rb"sha256:([0-9a-f]{64})\Z")
_IN_JSON = re.compile(rb',\s*"digest": "sha256:([0-9a-f]{64})"\s*\}\s*\Z')


def with_digest(content: bytes) -> bytes:
    """The content of a zip file without a comment, or of a JSON object with members, with its digest at the end."""
    if content.startswith(ZIP):
        assert content.endswith(b"\0\0"), "a zip file with a comment"
        archive = memoryview(content)[:-2]
        return b"".join((archive, _LENGTH, _digest(archive)))
    body, separator = content[:-1].rstrip(), b",\n " if b"\n" in content else b", "
    closing = b"\n}" if b"\n" in content else b"}"
    assert content.endswith(b"}"), "no JSON object"
    assert body != b"{", "a JSON object without members"
    return b"".join((body, separator, b'"digest": "', _digest(body), b'"', closing))


def has_digest(content: bytes, *, where: str, way_out: str = PUT_BACK) -> bool:
    """Whether the content has a digest, which is then right. Raises Damaged for a wrong one."""
    tail, is_zip = content[-TAIL_BYTES:], content.startswith(ZIP)
    found = (_IN_ZIP if is_zip else _IN_JSON).search(tail)
    if found is None:
        if is_zip and b"sha256:" in tail:
            raise Damaged(where, "its digest is incomplete", way_out)
        return False
    end = len(content) - len(tail) + found.start()
    if _digest(memoryview(content)[:end]) != b"sha256:" + found[1]:
        raise Damaged(where, "its content is not that of its digest", way_out)
    return True


def _digest(body: memoryview | bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(body).hexdigest().encode()

"""Addresses of servers and databases with a password in them, of every form that people write."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import strategies as st

MARK = "pw0Zq"
"""It is in each password, so that a text can be searched for it, whole or cut."""
SCHEMES = ("http", "https", "postgresql", "postgresql+psycopg", "mysql+pymysql", "s3", "ray", "json", "mailto")


def passwords() -> st.SearchStrategy[str]:
    """Passwords as they are typed, not encoded: also with / ? # @ : and quotes, but without spaces."""
    letters = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=6)
    return st.builds("{}{}{}".format, letters, st.just(MARK), letters)


@st.composite
def uris(draw: st.DrawFn) -> str:
    """A URI with a password or a token in it, raw or encoded."""
    password, scheme = draw(passwords()), draw(st.sampled_from(SCHEMES))
    encoded = quote(password, safe="")
    return draw(
        st.sampled_from(
            [
                f"{scheme}://me:{password}@host:5000/x",
                f"{scheme}://me:{encoded}@host/db?x=1",
                f"{scheme}://:{encoded}@host",
                f"{scheme}://{encoded}@host/x",
                f"{scheme}://host/db?user=me&password={encoded}&x=1",
                f"{scheme}://host/c?sv=1&sig={encoded}",
                f"{scheme}://host/db?sslpassword={encoded}",
            ]
        )
    )

"""Links to the SQL page with a statement in the address, its `$name` parameters filled in as SQL literals.

A claim's SQL has `$profile` and `$model`, which the database fills in while it is built. A reader who wants the rows
gets the same statement with the values written out, so that what is shown is what runs.
"""

from urllib.parse import quote_plus

from catalog.base.errors import CatalogError
from catalog.database.sql_text import Value, fill, parameters

MAX_LINK = 4_000  # characters of a statement in an address; browsers and proxies take at least 8,000 bytes


def link(sql: str, **values: Value) -> str:
    """Return the address of the SQL page, relative to the app, with a statement filled in.

    Args:
        sql: one statement, which may have `$name` parameters.
        values: of all its parameters; values of others are not used.

    Raises:
        CatalogError: a parameter has no value, or the statement is too long for an address.
    """
    return f"sql?sql={quote_plus(query_params(sql, **values)['sql'])}"


def query_params(sql: str, **values: Value) -> dict[str, str]:
    """Like `link`, as what `st.page_link("app_pages/sql.py", query_params=...)` takes."""
    filled = fill(sql.strip(), values)
    missing = parameters(filled)
    if missing:
        raise CatalogError(f"The statement needs a value for ${missing[0]}: give it as {missing[0]}=...")
    if len(filled) > MAX_LINK:
        long = f"A statement of {len(filled):,} characters is too long for an address"
        raise CatalogError(f"{long}, which takes {MAX_LINK:,}: copy it into the page instead.")
    return {"sql": filled}

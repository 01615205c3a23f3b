"""Links to the SQL page with a statement in the address: `sql?sql=SELECT …`."""

MAX_LINK = 4_000  # characters of a statement in an address; browsers and proxies take at least 8,000 bytes


def query_params(sql: str) -> dict[str, str] | None:
    """Return what `st.page_link("app_pages/sql.py", query_params=...)` takes, or None if `sql` is empty or too long."""
    sql = sql.strip()
    return {"sql": sql} if 0 < len(sql) <= MAX_LINK else None

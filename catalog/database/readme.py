"""Keep the generated parts of the documentation true.

`python -m catalog.database.readme` rewrites them, `python -m catalog.database.readme --check` fails if one is stale. They are made from a
database that is built for the purpose, in README.md and docs/*.md:

- between `<!-- systems -->` and `<!-- /systems -->`, the table of systems;
- between `<!-- schema -->` and `<!-- /schema -->`, every table with its columns and their comments;
- each block fenced as `text` right after one fenced as `sql`: the output of the query, at most `MAX_ROWS` rows of it.
"""

import contextlib
import re
import sys
import tempfile
from pathlib import Path

import duckdb

from catalog.base import io, params
from catalog.base.errors import CatalogError, run
from catalog.database import cards, db, summary

MAX_ROWS = 20
_SQL = re.compile(r"(^```sql\n(?P<sql>.*?)^```\n+```text\n)(?P<output>.*?)(^```$)", re.MULTILINE | re.DOTALL)


def render(text: str, con: duckdb.DuckDBPyConnection, where: str) -> str:
    """Return a document with its generated parts made new.

    Args:
        text: the document.
        con: the database.
        where: the document's name, for messages.

    Raises:
        CatalogError: an SQL example does not run, or an opening marker has no closing one.
    """
    for name, make in (("systems", systems_table), ("schema", schema)):
        if f"<!-- {name} -->" not in text:
            continue
        if f"<!-- /{name} -->" not in text:
            raise CatalogError(f"{where}: <!-- {name} --> has no <!-- /{name} -->; add it below the generated part.")
        made = f"<!-- {name} -->\n\n{make(con)}\n\n<!-- /{name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, made=made: made, text, flags=re.DOTALL)

    def answer(match: re.Match) -> str:
        return f"{match[1]}{_output(con, match['sql'], where)}\n{match[4]}"

    return _SQL.sub(answer, text)


def systems_table(con: duckdb.DuckDBPyConnection) -> str:
    """Return the Markdown table of systems: paper, main claim, three numbers at each scale it was measured at."""
    header = ("System", "Paper", "Main claim", "Scale", "Reported", "Ours", "Compared with", "Verdict")
    places = {}
    texts = {(system, claim): text for system, claim, text in con.execute("SELECT system, claim, text FROM claims").fetchall()}
    for system, card in con.execute("SELECT system, card FROM systems").fetchall():
        front, _ = cards.parse_card(card, f"stages/{system}/README.md")
        paper = front["paper"]
        title = _markdown(paper["title"])
        if paper["arxiv"] is not None:
            title = f"[{title}](https://arxiv.org/abs/{paper['arxiv']})"
        claim = texts.get((system, front["main_claim"]), front["summary"])  # tested only where there are results
        venue = f", {_markdown(paper['venue'])}" if paper["venue"] else ""
        places[system] = [f"[{system}](stages/{system}/README.md)", title + venue, _markdown(claim)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    last = None
    for system, profile, _, *numbers in summary.rows(con):
        first = places[system] if system != last else ["", "", ""]
        lines.append("| " + " | ".join([*first, profile, *numbers]) + " |")
        last = system
    return "\n".join(lines)


def schema(con: duckdb.DuckDBPyConnection) -> str:
    """Return Markdown for every general table and view: its comment, then its columns with types and comments."""
    described = "SELECT table_name, comment FROM duckdb_tables() UNION ALL SELECT view_name, comment FROM duckdb_views()"
    comments = dict(con.execute(described).fetchall())
    declared = re.findall(r"^CREATE (TABLE|VIEW) (\w+)", db.SCHEMA.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parts = []
    for kind, name in declared:
        columns = con.execute(
            """
            SELECT column_name, data_type, comment FROM duckdb_columns()
            WHERE schema_name = 'main' AND table_name = ? ORDER BY column_index
            """,
            [name],
        ).fetchall()
        lines = [f"### `{name}`" + (" (view)" if kind == "VIEW" else ""), "", _markdown(comments[name]), ""]
        lines += ["| column | type | what |", "|---|---|---|"]
        lines += [f"| `{column}` | {_markdown(data_type)} | {_markdown(what)} |" for column, data_type, what in columns]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def documents(root: Path) -> list[Path]:
    """README.md and docs/*.md, as far as there are any."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]


def stale(root: Path | None = None) -> dict[Path, str]:
    """Return the documents whose generated parts differ from what they should be, with the text they should have."""
    root = root or params.ROOT
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(db.connect(db.build(root, Path(folder, db.FILE)))) as con:
            for path in documents(root):
                text = path.read_text(encoding="utf-8")
                made = render(text, con, path.relative_to(root).as_posix())
                if made != text:
                    found[path] = made
    return found


def main() -> None:
    """Rewrite the documents that are stale."""
    for path, text in stale().items():
        io.write_text(text, path)
        print(f"Rewrote {path.name}.")


def check() -> None:
    """Raise `CatalogError` if a document is stale."""
    found = stale()
    if found:
        raise CatalogError(f"Stale: {', '.join(path.name for path in found)}; run `python -m catalog.database.readme`.")
    print("The generated parts of the documents are up to date.")


def _output(con: duckdb.DuckDBPyConnection, sql: str, where: str) -> str:
    """What a query prints: a plain table, at most `MAX_ROWS` rows."""
    try:
        result = con.execute(sql)
        names = [column[0] for column in result.description]
        rows = result.fetchall()
    except duckdb.Error as error:
        raise CatalogError(f"{where}: an SQL example does not run, correct it: {str(error).splitlines()[0]}") from None
    lines = [summary.text_table(names, rows[:MAX_ROWS])]
    if len(rows) > MAX_ROWS:
        lines.append(f"… {len(rows) - MAX_ROWS} more rows")
    return "\n".join(lines).replace("```", "'''")


def _markdown(text: str) -> str:
    """A text that can neither end a table's cell nor be taken for markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    run(check, []) if sys.argv[1:] == ["--check"] else run(main)

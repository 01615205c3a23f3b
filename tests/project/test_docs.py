"""The generated parts of the documentation: how they are made, and that this project's are up to date."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest
from declarations import BELOW

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import db, readme

README = """# Demo

<!-- systems -->
old
<!-- /systems -->

```sql
SELECT system, profile, value
FROM results
WHERE metric = 'accuracy';
```

```text
old
```

```sql
SELECT 1
```

Kept:

```text
kept
```
"""


def test_the_generated_parts_are_made_new_and_the_rest_stays(con):
    made = readme.render(README, con, "README.md")
    assert made == readme.render(made, con, "README.md")
    paper = "[A demo of heads](https://arxiv.org/abs/2401.00001), DemoConf 2024"
    claim = "Removing few heads costs most of the accuracy."
    assert made == (
        "# Demo\n\n<!-- systems -->\n\n"
        "| System | Paper | Main claim | Scale | Reported | Ours | Compared with | Verdict |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| [demo_heads](stages/demo_heads/README.md) | {paper} | {claim} | small | 0.5 | 0.45 [0.4, 0.5] | 0.02 (random heads) | holds |\n"
        "|  |  |  | full | 0.5 | 0.1 [0.05, 0.15] | 0.02 (random heads) | fails |\n"
        "| [demo_text](stages/demo_text/README.md) | A demo of texts | Tuning lowers the loss. | small "
        "| – | 2.25 [2, 2.5] | 3 (the model before) | holds |\n\n"
        "<!-- /systems -->\n\n"
        "```sql\nSELECT system, profile, value\nFROM results\nWHERE metric = 'accuracy';\n```\n\n"
        "```text\n"
        "system      profile  value\n"
        "----------  -------  -----\n"
        "demo_heads  full       0.8\n"
        "demo_heads  small      0.9\n"
        "```\n\n"
        "```sql\nSELECT 1\n```\n\nKept:\n\n```text\nkept\n```\n"
    )


def test_a_long_output_is_cut_and_cannot_end_its_fence(con):
    text = "```sql\nSELECT '```' AS a FROM range(23)\n```\n```text\n```\n"
    lines = readme.render(text, con, "x.md").splitlines()
    assert lines[3:] == ["```text", "a", "---", *["'''"] * 20, "… 3 more rows", "```"]


def test_a_system_without_results_has_dashes(demo_root):
    shutil.rmtree(demo_root / "reports/demo_text")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        last = readme.systems_table(con).splitlines()[-1]
    assert last.endswith("| Trains a demo model to write letters. | – | – | – | – | not measured |")


def test_a_wrong_document_is_named(con):
    with pytest.raises(CatalogError, match="x.md: an SQL example does not run, correct it: Catalog Error"):
        readme.render("```sql\nFROM nothing\n```\n```text\n```\n", con, "x.md")
    with pytest.raises(CatalogError, match="x.md: <!-- systems --> has no <!-- /systems -->"):
        readme.render("<!-- systems -->\n", con, "x.md")


def test_the_schema_names_every_table_column_and_comment(con):
    text = readme.schema(con)
    sections = re.findall(r"^### `(\w+)`", text, flags=re.MULTILINE)
    assert sections[:3] == ["systems", "datasets", "models"]
    assert sections[-3:] == ["comparison", "leaderboard", "lineage"]
    columns = con.execute("SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal").fetchone()
    assert len(re.findall(r"^\| `", text, flags=re.MULTILINE)) == columns[0]
    assert "| `value` | DOUBLE | The number, in the unit of its metric. |" in text
    assert "data/&lt;dataset>/README.md" in text


def test_stale_documents_are_found_rewritten_and_then_fresh(demo_root, monkeypatch, capsys):
    monkeypatch.setattr(params, "ROOT", demo_root)
    io.write_text(README, demo_root / "README.md")
    io.write_text("# No generated part\n", demo_root / "docs/other.md")
    with pytest.raises(CatalogError, match="Stale: README.md; run `python -m catalog.database.readme`"):
        readme.check()
    readme.main()
    readme.check()
    assert capsys.readouterr().out.splitlines()[0] == "Rewrote README.md."
    assert not (demo_root / db.FILE).exists()


def test_the_documents_of_this_project_are_up_to_date():
    assert [path.name for path in readme.stale()] == [], "run `python -m catalog.database.readme`"


def test_links_between_documents_lead_somewhere():
    broken = []
    for path in readme.documents(params.ROOT):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.name}: {target}")
    assert broken == []


def test_the_documents_tell_the_schema_by_its_own_names():
    text = (params.ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "<!-- schema -->" in text and len(re.findall(r"^```sql$", text, flags=re.MULTILINE)) >= 3


# Names in the documents and on the cards

PLACES = "catalog|stages|tests|tests_browser|app_lib|app_pages|accelerate|benchmarks"
NAMED = re.compile(rf"(?<![\w./>])(?:(?:{PLACES})/[\w./]+|(?:catalog|stages)(?:\.\w+)+)(?![<*])")


def exists(name: str, root: Path) -> bool:
    """Whether a path exists, or a module that has the name behind it."""
    if "/" in name or name in ("catalog.duckdb", "catalog.json"):
        return "/" not in name or (root / name).exists()
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        place = root.joinpath(*parts[:length])
        module = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()), None)
        if module is not None:
            return length == len(parts) or re.search(rf"\b{parts[length]}\b", module.read_text("utf-8")) is not None
    return False


def named(text: str) -> list[str]:
    """Paths and modules of this project that a document names in backquotes, and those of `made_by` on a card."""
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^made_by: (.*)$", text, flags=re.MULTILINE)
    return [match[0].rstrip("./") for span in spans for match in NAMED.finditer(span) if "my_system" not in match[0]]


def test_a_name_is_a_path_or_a_module_or_what_stands_in_one():
    text = "`catalog/base/io.py` `catalog/<room>/x.py` `catalog.base.io.md5` `catalog.base.io.md6`\nmade_by: stages/gone.py"
    assert named(text) == ["catalog/base/io.py", "catalog.base.io.md5", "catalog.base.io.md6", "stages/gone.py"]
    assert [exists(name, params.ROOT) for name in named(text)] == [True, True, False, False]


def test_documents_and_cards_name_what_exists():
    root = params.ROOT
    paths = [root / "CONTRIBUTING.md", *readme.documents(root)]
    paths += [path for folder in ("stages", "data", "models") for path in sorted(root.glob(f"{folder}/*/README.md"))]
    names = {(path.relative_to(root).as_posix(), name) for path in paths for name in named(path.read_text("utf-8"))}
    assert len(names) > 50 and [pair for pair in sorted(names) if not exists(pair[1], root)] == []


def test_the_layout_names_every_module_of_catalog_and_of_the_app():
    text = (params.ROOT / "docs" / "layout.md").read_text("utf-8")
    sections = re.findall(r"^### `catalog\.(\w+)`\n(.*?)(?=^##)", text, flags=re.MULTILINE | re.DOTALL)
    said = {f"catalog/{room}": body for room, body in sections}
    assert set(said) == {f"catalog/{room}" for room in BELOW}
    said["app_lib"] = text.partition("\n## The app\n")[2].replace("`app.py`", "")
    for folder, body in said.items():
        there = {path.name for path in (params.ROOT / folder).iterdir() if path.suffix in (".py", ".sql") and path.name != "__init__.py"}
        assert set(re.findall(r"`(\w+\.(?:py|sql))`", body)) == there, folder

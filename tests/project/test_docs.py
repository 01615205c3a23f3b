"""The generated parts of the documentation: how they are made, and that this project's are up to date."""

import contextlib
import re
import shutil

import pytest

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

"""Building, opening and checking the database, and the pipeline it reads."""

import contextlib
import hashlib
import io as std_io
import os
import shutil
import subprocess
import sys

import demo_project
import duckdb
import polars as pl
import pytest

from catalog.base import io, params
from catalog.base.errors import CatalogError, run
from catalog.database import cards, check, db, gather, pipeline, queries, summary
from catalog.report import results

HEADS = "stages/demo_heads/README.md"


def column(con, sql, values=None):
    return [row[0] for row in con.execute(sql, values).fetchall()]


# Building and opening


def test_the_same_inputs_give_the_same_bytes(demo_root, demo_catalog, tmp_path):
    again = shutil.copytree(demo_root, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(db.FILE))
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (demo_catalog, db.build(again), db.build(again))}
    assert len(digests) == 1


def test_large_own_tables_give_the_same_bytes_too(demo_root):
    n = 30_000
    text = pl.Series([f"text {i * 7919 % n}" for i in range(n)])
    flags = pl.Series([None if i % 3 == 0 else i % 2 == 0 for i in range(n)])
    df = pl.DataFrame({"i": range(n), "text": text, "flag": flags, "value": [i / 7 for i in range(n)]})
    columns = "i: {int: Number.}, text: {string: Text.}, flag: {bool: Flag.}, value: {float: Value.}"
    io.write_text(f"big: {{description: Big., key: [i], columns: {{{columns}}}}}\n", demo_root / "stages/demo_text/tables.yaml")
    results.write_tables({"big": df}, "demo_text", "small", root=demo_root)
    assert db.build(demo_root).read_bytes() == db.build(demo_root).read_bytes()
    with contextlib.closing(db.connect(demo_root / db.FILE)) as con:
        assert con.execute("SELECT count(*), count(flag), sum(i) FROM demo_text.big").fetchone() == (
            n,
            20_000,
            n * (n - 1) // 2,
        )


def test_the_file_is_in_the_storage_format_of_older_programs(demo_catalog):
    with contextlib.closing(duckdb.connect(str(demo_catalog), read_only=True)) as con:
        (tags,) = column(con, "SELECT tags FROM duckdb_databases() WHERE NOT internal")
    assert tags["storage_version"].startswith("v1.2.0")


def test_readers_can_reach_nothing_else(con, tmp_path):
    io.write_text("secret", tmp_path / "secret.csv")
    for sql in (
        f"FROM read_csv('{tmp_path / 'secret.csv'}')",
        f"COPY results TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'other.duckdb'}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "DROP TABLE results",
        "DELETE FROM results",
    ):
        with pytest.raises(duckdb.Error):
            con.execute(sql)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "secret.csv"]


def test_an_absent_or_broken_file_is_one_sentence(tmp_path, demo_catalog, monkeypatch):
    with pytest.raises(CatalogError, match="build it from the committed reports with `dvc repro -f -s catalog`"):
        db.connect(tmp_path / "no.duckdb")
    io.write_text("not a database", tmp_path / "broken.duckdb")
    with pytest.raises(CatalogError, match="cannot be opened"):
        db.connect(tmp_path / "broken.duckdb")
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    with contextlib.closing(db.connect()) as con:
        assert column(con, "SELECT count(*) FROM systems") == [2]


def test_a_file_that_the_variable_names_is_not_mended_by_a_build(tmp_path, monkeypatch):
    absent, folder, broken = tmp_path / "no.duckdb", tmp_path / "folder", tmp_path / "broken.duckdb"
    folder.mkdir()
    io.write_text("not a database", broken)
    for path, said in ((absent, "does not exist"), (folder, "is a folder and no database"), (broken, "cannot be opened")):
        monkeypatch.setenv("CATALOG_DB", str(path))
        with pytest.raises(CatalogError, match=said) as error:
            db.connect()
        assert str(path) in str(error.value) and "unset CATALOG_DB" in str(error.value) and "dvc repro" not in str(error.value)
    monkeypatch.delenv("CATALOG_DB")
    with pytest.raises(CatalogError, match="^folder is a folder and no database; give the name of a file"):
        db.connect(folder)
    with pytest.raises(CatalogError, match="is a folder, so the database cannot be written there"):
        db.build(tmp_path, folder)


@pytest.mark.parametrize("module", [check, summary])
def test_a_database_of_another_version_is_one_sentence(demo_catalog, monkeypatch, module):
    with contextlib.closing(duckdb.connect(str(demo_catalog))) as con:
        con.execute("DROP VIEW comparison; ALTER TABLE systems RENAME COLUMN system TO name")
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    with pytest.raises(CatalogError, match="was built by another version of this project .*; unset CATALOG_DB") as error:
        module.main()
    assert "\n" not in str(error.value)


def test_what_a_killed_build_left_is_removed_and_nothing_else(demo_root):
    left = demo_root / f".{db.FILE}.0123abcd.tmp"
    kept = [demo_root / ".other.duckdb.0123abcd.tmp", demo_root / f".{db.FILE}.mine.tmp"]
    for folder in (left, *kept):
        for end in ("", ".wal"):
            io.write_text("left", folder / f"{db.FILE}{end}")
    db.build(demo_root)
    assert not left.exists() and all(path.exists() for path in kept)


def test_a_rebuild_replaces_the_file_under_a_reader(con, demo_root):
    shutil.rmtree(demo_root / "reports/demo_text")
    db.build(demo_root)
    assert column(con, "SELECT count(*) FROM results") == [9]
    con.close()
    with contextlib.closing(db.connect(demo_root / db.FILE)) as again:
        assert column(again, "SELECT count(*) FROM results") == [6]


def test_an_empty_project_builds_and_every_query_runs(tmp_path):
    io.write_text("profile: small\n", tmp_path / "params.yaml")
    with contextlib.closing(db.connect(db.build(tmp_path))) as con:
        assert check.problems(con, tmp_path) == []
        assert len(column(con, "SELECT name FROM queries")) >= 8
        assert summary.rows(con) == []
        for view in ("comparison", "leaderboard", "lineage"):
            assert con.execute(f"FROM {view}").fetchall() == []


def test_the_leaf_is_light(demo_root):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from stages import build_catalog\n"
        "from catalog.database import check, db, readme\n"
        "db.build(Path(sys.argv[1]))\n"
        "heavy = {'torch', 'transformers', 'sdmetrics', 'streamlit', 'pandas', 'dvc'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(demo_root)], cwd=params.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        (
            "reports/demo_heads/small/results.parquet",
            "no Parquet",
            "reports/demo_heads/small/results.parquet cannot be read",
        ),
        (
            "reports/demo_heads/small/tables/heads.parquet",
            "no Parquet",
            "reports/demo_heads/small/tables/heads.parquet does not fit stages/demo_heads/tables.yaml",
        ),
        ("reports/demo_heads/small/run.json", "{", "run.json is not valid JSON"),
        ("reports/demo_heads/small/run.json", '{"started": "noon"}', "Table runs cannot be filled"),
        ("reports/demo_heads/small/plots/head_drops.json", "[", "head_drops.json is not valid JSON"),
        ("reports/gone/small/results.parquet", "", "no card stages/gone/README.md"),
        ("stages/demo_heads/queries.sql", "-- name: a\nSELECT 1", "needs the lines name, title, description"),
        (
            "stages/demo_heads/queries.sql",
            "-- name: scales\n-- title: t\n-- description: d\nSELECT 1",
            "two queries of the name scales",
        ),
        ("stages/demo_heads/queries.sql", "SELECT 1", "'SELECT 1' stands before the first line"),
        ("stages/demo_heads/queries.sql", "--name: a\n-- title: t\n-- description: d\nSELECT 1", "'--name: a' must begin with `-- name:`"),
        ("stages/demo_heads/queries.sql", "-- name: a b\n-- title: t\n-- description: d\nSELECT 1", "needs the lines name, title"),
        ("stages/demo_heads/queries.sql", "-- caf\xe9".encode("latin-1"), "queries.sql is not UTF-8"),
        ("stages/demo_heads/queries.sql", None, "queries.sql cannot be read"),
        ("stages/demo_heads/README.md", None, "README.md is a folder; write the card"),
        ("reports/demo_heads/small/results.parquet", None, "results.parquet cannot be read"),
        *(
            (f"reports/demo_heads/small/{name}.json", content, f"^reports/demo_heads/small/{name}.json must be .*`dvc repro -f demo_heads`")
            for names, contents in (
                (("run",), ("[]", "null", '"x"', "5")),
                (("datasets", "models"), ("null", "5", '["a"]', "[{}]", '{"a": 1}')),
                (("plots/head_drops",), ("[]", "null")),
            )
            for name in names
            for content in contents
        ),
        *(
            (f"reports/demo_heads/small/{name}.json", None, f"^reports/demo_heads/small/{name}.json is a folder; delete it")
            for name in ("run", "datasets", "plots/head_drops")
        ),
        ("reports/demo_heads/small/plots/head_drops.json", '{"title": [1, 2]}', "the title must be a text or a list of texts"),
        ("reports/demo_heads/small/run.json", '{"seconds": [1]}', "Table runs cannot be filled"),
        ("dvc.yaml", "[1]", "dvc.yaml must be a mapping with the key stages"),
        ("dvc.yaml", "a text", "dvc.yaml must be a mapping with the key stages"),
        ("dvc.yaml", "stages: [a]", "dvc.yaml must be a mapping with the key stages"),
        ("dvc.yaml", "# caf\xe9".encode("latin-1"), "dvc.yaml cannot be read"),
        ("dvc.yaml", "stages: {a: {cmd: x, deps: y}}", "stage a: deps must be a list"),
        ("dvc.yaml", "stages: {a: {foreach: 5, do: {cmd: x}}}", "stage a has a foreach of 5"),
        *(
            ("dvc.lock", content, "dvc.lock cannot be read; restore it")
            for content in ("[1]", "a text", "stages: [a]", "stages: {a: b}", "stages: {a: {deps: [b]}}", "# caf\xe9".encode("latin-1"))
        ),
        ("dvc.yaml", "stages: [", "dvc.yaml cannot be read"),
        ("dvc.yaml", "stages: {a: {cmd: 'x ${no.thing}'}}", "stage a uses .{no.thing}"),
        ("dvc.yaml", "stages: {a: {cmd: 'x ${demo_text.small.steps}'}}", "which is not in params.yaml"),
        ("dvc.yaml", "stages: {a: {deps: [x]}}", "stage a has no cmd"),
        ("dvc.lock", "stages: [", "dvc.lock cannot be read"),
        ("params.yaml", "a: [", "^params.yaml cannot be read"),
        ("stages/demo_text/params.yaml", "small: [", "^stages/demo_text/params.yaml cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(demo_root, path, content, said):
    if content is None:  # a folder of the file's name
        (demo_root / path).unlink(missing_ok=True)
        (demo_root / path).mkdir()
    elif isinstance(content, bytes):
        io.write_bytes(content, demo_root / path)
    else:
        io.write_text(content, demo_root / path)
    with pytest.raises(CatalogError, match=said) as error:
        db.build(demo_root)
    assert "\n" not in str(error.value)
    assert not (demo_root / db.FILE).exists()


def test_results_of_another_system_are_refused(demo_root):
    shutil.copy(demo_root / "reports/demo_text/small/results.parquet", demo_root / "reports/demo_heads/small/results.parquet")
    with pytest.raises(CatalogError, match="has rows of another system or profile"):
        db.build(demo_root)


def test_the_demo_project_repeats_itself(tmp_path):
    roots = [demo_project.make(tmp_path / name) for name in "ab"]
    files = [sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()) for root in roots]
    assert files[0] == files[1]
    timeless = [file for file in files[0] if file.name != "run.json"]
    assert all((roots[0] / file).read_bytes() == (roots[1] / file).read_bytes() for file in timeless)


def test_gathering_reads_nothing_of_the_data(demo_root, monkeypatch):
    opened = []
    real = std_io.open

    def watch(file, *args, **more):
        opened.append(str(file))
        return real(file, *args, **more)

    io.write_text("unreadable", demo_root / "data/demo_sums/small/sums.parquet")
    monkeypatch.setattr("io.open", watch)
    gather.rows(demo_root, cards.load_all(demo_root))
    assert opened
    assert [path for path in opened if "/small/sums" in path] == []


def test_queries_with_a_byte_order_mark_are_found(demo_root):
    path = demo_root / "stages/demo_heads/queries.sql"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert queries.read(demo_root, ["demo_heads"])[-1]["name"] == "demo_worst_heads"


# Pipeline


def test_stages_of_this_project_are_those_that_dvc_sees():
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--all", "--name-only"],
        cwd=params.ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
    )
    names = [stage["stage"] for stage in pipeline.stages()]
    assert listed.returncode == 0, listed.stderr
    assert sorted(names) == sorted(listed.stdout.split())


def test_the_leaf_follows_every_card_and_report():
    (leaf,) = [stage for stage in pipeline.stages() if stage["stage"] == "catalog"]
    found = cards.load_all()
    needed = {card["path"] for card in found["datasets"] + found["models"]}
    needed |= {f"reports/{card['name']}" for card in found["systems"]}
    needed |= {"catalog", "stages", "params.yaml"}
    assert set(leaf["deps"]) == needed, "add what is missing to the deps of the stage catalog in dvc.yaml"


def test_the_owner_of_a_stage_is_the_longest_name():
    names = ["sim", "sim_doc"]
    owners = [pipeline.owner(stage, names) for stage in ("sim", "sim_doc", "sim_doc_data", "sim_train", "similar", "fetch@sim")]
    assert owners == ["sim", "sim_doc", "sim_doc", "sim", None, None]


# Named queries, check, summary


def test_every_named_query_runs_and_says_something(con):
    queries = con.execute("SELECT name, title, description, sql FROM queries").fetchall()
    assert "demo_worst_heads" in {name for name, *_ in queries}
    rows = {name: con.execute(sql).fetchall() for name, _, _, sql in queries}
    assert [name for name, found in rows.items() if not found] == []
    assert rows["failed_claims"][0][:3] == ("demo_heads", "full", "few-heads")
    assert rows["claims_by_system"] == [
        ("demo_heads", "full", "paper", 0, 1, 1, 0),
        ("demo_heads", "small", "paper", 1, 0, 1, 0),
        ("demo_text", "small", "paper", 1, 0, 0, 0),
        ("demo_heads", "full", "project", 0, 0, 0, 1),
        ("demo_heads", "small", "project", 0, 0, 0, 1),
    ]
    assert [row[:4] for row in rows["undecided_claims"]] == [
        ("demo_heads", profile, "solves-task", "at least 85 % of the answers are right") for profile in ("full", "small")
    ]
    assert [row[-1] for row in rows["beats_comparator"]] == [True, True, True, True, True]
    assert rows["scales"][0] == (
        "demo_heads",
        "head_ablation",
        "demo_sums",
        "none",
        "accuracy",
        "demo_base",
        0.9,
        "demo_base",
        0.8,
    )


def test_check_finds_what_is_missing(demo_root):
    io.write_text("small: {a: 1}\n", demo_root / "stages/demo_more/params.yaml")
    shutil.rmtree(demo_root / "reports/demo_text")
    demo_project.change(demo_root, "stages/demo_heads/queries.sql", "demo_heads.heads", "demo_heads.tails")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        found = check.problems(con, demo_root)
    assert [sentence.split(":")[0] for sentence in found] == [
        "demo_more has parameters but no card",
        "demo_text has no results",
        "The query demo_worst_heads does not run, correct it",
    ]


def test_check_and_summary_on_the_command_line(demo_catalog, demo_root, monkeypatch, capsys):
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    monkeypatch.setattr(params, "ROOT", demo_root)
    run(check.main, [])
    run(summary.main, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The catalog holds 2 systems")
    assert lines[1].split() == ["system", "profile", "main", "claim", "reported", "ours", "against", "verdict"]
    assert lines[3].split() == [
        "demo_heads",
        "small",
        *"Removing few heads costs most of the accuracy.".split(),
        "0.5",
        *"0.45 [0.4, 0.5]".split(),
        *"0.02 (random heads)".split(),
        "holds",
    ]
    assert lines[-1] == (
        "Of 5 claims of the papers 2 hold, 1 fail, 2 are undecided; of 2 checks of ours 0 hold, 0 fail, 0 are undecided. "
        "To look at everything: make app"
    )
    io.write_text("small: {a: 1}\n", demo_root / "stages/demo_more/params.yaml")
    with pytest.raises(SystemExit) as error:
        run(check.main, [])
    assert error.value.code == 1
    assert "Error: demo_more has parameters but no card" in capsys.readouterr().err


def test_text_tables_line_up_and_cannot_steer_a_terminal():
    text = summary.text_table(["name", "n"], [["数据", 1.23456], ["a\x1b[31mb", None]])
    assert text.splitlines() == ["name         n", "-------  -----", "数据     1.235", "a [31mb   NULL"]


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (0.0, "0"), (0.12345, "0.123"), (1234.5, "1234"), (-2.0, "-2")])
def test_numbers_are_short(value, shown):
    assert summary.number(value) == shown

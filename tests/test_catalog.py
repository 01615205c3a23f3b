"""The database of the demo project: tables, views, claims, exports, and what is refused."""

import contextlib
import hashlib
import io as std_io
import os
import shutil
import subprocess
import sys

import demo_project
import duckdb
import mlcroissant
import polars as pl
import pytest

from catalog import cards, check, claims, db, export, gather, io, params, pipeline, results, summary
from catalog.errors import CatalogError, run

MODEL = "models/demo_base/README.md"
DATA = "data/demo_sums/README.md"
HEADS = "stages/demo_heads/README.md"


@pytest.fixture
def con(demo_catalog):
    with contextlib.closing(db.connect(demo_catalog)) as con:
        yield con


def change(root, path, old, new):
    text = (root / path).read_text(encoding="utf-8")
    assert old in text
    io.write_text(text.replace(old, new), root / path)


def column(con, sql, values=None):
    return [row[0] for row in con.execute(sql, values).fetchall()]


# Tables


def test_results_are_those_of_both_profiles_in_key_order(con):
    rows = con.execute("SELECT system, profile, method, metric, seed, value, ci_low, n FROM results").fetchall()
    assert rows == [
        ("demo_heads", "full", "none", "accuracy", 0, 0.8, pytest.approx(0.583983, abs=1e-6), 20),
        ("demo_heads", "full", "random heads", "accuracy_drop_rel", 0, 0.02, None, 20),
        ("demo_heads", "full", "top heads", "accuracy_drop_rel", 0, 0.1, 0.05, 20),
        ("demo_heads", "small", "none", "accuracy", 0, 0.9, pytest.approx(0.698966, abs=1e-6), 20),
        ("demo_heads", "small", "random heads", "accuracy_drop_rel", 0, 0.02, None, 20),
        ("demo_heads", "small", "top heads", "accuracy_drop_rel", 0, 0.45, 0.4, 20),
        ("demo_text", "small", "none", "loss", 0, 3.0, None, None),
        ("demo_text", "small", "tuned", "loss", 0, 2.0, None, None),
        ("demo_text", "small", "tuned", "loss", 1, 2.5, None, None),
    ]


def test_cards_become_rows_and_keep_their_text(con, demo_root):
    assert con.execute("SELECT system, arxiv, venue, sort_order FROM systems").fetchall() == [
        ("demo_heads", "2401.00001", "DemoConf 2024", 1),
        ("demo_text", None, None, 2),
    ]
    (text,) = column(con, "SELECT card FROM systems WHERE system = 'demo_text'")
    front, body = cards.parse_card(text, "card")
    assert (front["sensitive"], body) == (True, "# Texts of a demo model\n\nIts outputs may offend.\n")
    assert con.execute("SELECT dataset, language, source FROM datasets").fetchall() == [
        ("demo_letters", "en", "asset: demo_file"),
        ("demo_sums", "en", "generated"),
    ]
    assert con.execute("SELECT model, kind, base_model, parameters FROM models").fetchall() == [
        ("demo_base", "base", None, 24),
        ("demo_tuned", "lora", "demo_base", 6),
    ]
    assert con.execute("SELECT id, value, where_printed, note FROM reported").fetchall() == [
        ("top_drop", 0.5, "Table 1", None),
        ("base_acc", 0.9, "Table 2", "read off the printed table"),
    ]


def test_own_tables_have_the_profile_first_and_both_profiles(con):
    assert column(con, "SELECT column_name FROM (DESCRIBE demo_heads.heads)") == ["profile", "layer", "head", "drop"]
    assert con.execute(
        'SELECT profile, count(*), max("drop") FROM demo_heads.heads GROUP BY ALL ORDER BY ALL'
    ).fetchall() == [
        ("full", 12, 0.1),
        ("small", 12, 0.45),
    ]
    # Untrusted text arrives as it was written.
    assert column(con, "SELECT generation FROM demo_text.outputs ORDER BY prompt") == [
        "<script>alert(1)</script>",
        "'; DROP TABLE results; --",
    ]


def test_files_are_shown_though_they_are_absent(con, demo_root):
    assert not list((demo_root / "data").rglob("*.parquet"))
    files = con.execute("SELECT profile, path, rows, columns, head FROM dataset_files").fetchall()
    assert [file[:3] for file in files] == [
        ("full", "data/demo_sums/full/sums.parquet", 9),
        ("small", "data/demo_sums/small/sums.parquet", 9),
    ]
    assert files[0][3] == [{"name": "prompt", "type": "String"}, {"name": "answer", "type": "Int64"}]
    assert files[0][4].startswith('[{"answer": 1, "prompt": "0+1="}')
    # demo_tuned is described by no evaluation; what dvc.lock knows of it is shown.
    assert con.execute(
        "SELECT model, profile, path, parameters, bytes, md5 IS NOT NULL FROM model_files"
    ).fetchall() == [
        ("demo_base", "base", "models/demo_base/base", 24, 207, True),
        ("demo_tuned", "small", "models/demo_tuned/small", None, 50, True),
    ]


def test_stages_are_filled_in_and_matched_with_the_lock(con):
    assert con.execute("SELECT stage, system, in_lock FROM stages").fetchall() == [
        ("fetch@demo_file", None, True),
        ("model@demo_base", None, True),
        ("demo_heads_data", "demo_heads", True),
        ("demo_heads", "demo_heads", False),
        ("demo_text_train", "demo_text", True),
        ("demo_text", "demo_text", False),
        ("catalog", None, True),
    ]
    assert con.execute("SELECT cmd, \"desc\", outs FROM stages WHERE stage = 'fetch@demo_file'").fetchone() == (
        "python -m stages.fetch demo_file",
        "Fetch asset demo_file: demo.txt",
        ["data/assets/demo_file"],
    )
    assert con.execute("SELECT deps, params, len(outs) FROM stages WHERE stage = 'demo_heads'").fetchone() == (
        ["data/demo_sums/small", "models/demo_base/base"],
        ["demo_heads.small", "seed"],
        4,
    )
    assert con.execute("SELECT kind, path, md5, bytes FROM stage_files WHERE stage = 'model@demo_base'").fetchall() == [
        ("dep", "data/assets/demo_file", "2" * 32 + ".dir", 20),
        ("out", "models/demo_base/base", "3" * 32 + ".dir", 30),
    ]


def test_a_stage_of_another_command_is_not_in_the_lock(demo_root):
    change(demo_root, "params.yaml", "profile: small", "profile: full")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        assert column(con, "SELECT stage FROM stages WHERE NOT in_lock") == [
            "demo_heads_data",
            "demo_heads",
            "demo_text_train",
            "demo_text",
        ]


def test_uses_runs_params_and_plots(con):
    assert con.execute("SELECT * FROM uses WHERE system = 'demo_text'").fetchall() == [
        ("demo_text", "dataset", "demo_letters", None),
        ("demo_text", "model", "demo_base", "demo_text_train"),
        ("demo_text", "model", "demo_base", "demo_text"),
        ("demo_text", "model", "demo_tuned", "demo_text_train"),
        ("demo_text", "model", "demo_tuned", "demo_text"),
    ]
    assert con.execute("SELECT profile, started::VARCHAR, seconds, device FROM runs ORDER BY ALL").fetchall() == [
        ("full", "2026-01-02 03:04:05", 12.5, "cpu"),
        ("small", "2026-01-02 03:04:05", 12.5, "cpu"),
        ("small", None, None, None),
    ]
    assert con.execute(
        "SELECT key, value FROM params WHERE system = 'demo_heads' AND profile = 'small'"
    ).fetchall() == [
        ("items", "20"),
        ("ratios", "[0.1, 0.5]"),
        ("lora.rank", "2"),
        ("lora.targets", '["q", "v"]'),
    ]
    assert con.execute("SELECT name, kind, title, path FROM plots WHERE profile = 'small'").fetchall() == [
        ("head_drops", "vega", "Accuracy lost without a head", "reports/demo_heads/small/plots/head_drops.json"),
        ("square", "png", "Square", "reports/demo_heads/small/plots/square.png"),
    ]


def test_every_table_view_and_column_has_a_comment(con):
    assert column(con, "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL") == []
    assert column(con, "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL") == []
    bare = con.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL")
    assert bare.fetchall() == []
    assert column(con, "SELECT comment FROM duckdb_columns() WHERE table_name = 'heads' ORDER BY column_index")[:2] == [
        "small or full.",
        "Layer, from 0.",
    ]


# Views and claims


def test_claims_hold_fail_or_are_not_measured(con):
    rows = con.execute("SELECT claim, profile, reported, ours, baseline, holds, trust FROM claims").fetchall()
    assert rows == [
        ("few-heads", "full", 0.5, 0.1, 0.02, False, "paper"),
        ("few-heads", "small", 0.5, 0.45, 0.02, True, "paper"),
        ("solves-task", "full", 0.9, 0.8, 0.1, False, "paper"),
        ("solves-task", "small", 0.9, 0.9, 0.1, True, "paper"),
        ("late-layers", "full", None, None, None, None, None),
        ("late-layers", "small", None, None, None, None, None),
        ("lower-loss", "small", None, 2.25, 3.0, True, None),
    ]


def test_comparison_has_the_main_claim_first(con):
    rows = con.execute("SELECT claim, profile, is_main, unit, reported_model FROM comparison").fetchall()
    assert rows[:3] == [
        ("few-heads", "small", True, "share", "Demo-7B"),
        ("few-heads", "full", True, "share", "Demo-7B"),
        ("solves-task", "small", False, "share", "Demo-7B"),
    ]
    assert rows[-1] == ("lower-loss", "small", True, "nats", None)


def test_leaderboard_honours_the_direction_and_averages_seeds(con):
    rows = con.execute(
        "SELECT rank, metric, model, method, value, seeds FROM leaderboard WHERE profile = 'small'"
    ).fetchall()
    assert rows == [
        (1, "accuracy", "demo_base", "none", 0.9, 1),
        (1, "accuracy_drop_rel", "demo_base", "top heads", 0.45, 1),
        (2, "accuracy_drop_rel", "demo_base", "random heads", 0.02, 1),
        (1, "loss", "demo_tuned", "tuned", 2.25, 2),
        (2, "loss", "demo_base", "none", 3.0, 1),
    ]


def test_lineage_goes_through_stages(con):
    rows = con.execute(
        "SELECT stage, distance, results FROM lineage WHERE kind = 'asset' AND name = 'demo_file'"
    ).fetchall()
    # The asset is read by demo_text_train itself, and reaches the evaluations through the base model or the tuned one.
    assert rows == [("demo_text_train", 0, 3), ("demo_heads", 1, 6), ("demo_text", 1, 3)]
    assert column(con, "SELECT DISTINCT system FROM lineage WHERE name = 'demo_sums'") == ["demo_heads"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SELECT 0.1", "SELECT value FROM result", "baseline of claim solves-task .full. is wrong SQL: Catalog Error"),
        ("SELECT 0.1", "SELECT value FROM results", "must give one value; it gives several rows"),
        ("SELECT 0.1", "SELECT 0.1, 0.2", "must give one value; it gives 2 columns"),
        ("SELECT 0.1", "SELECT 'many'", "must give a finite number; it gives 'many'"),
        ("SELECT 0.1", "SELECT 1e0 / 0", "must give a finite number; it gives inf"),
        ("SELECT 0.1", "SELECT true", "must give a finite number; it gives True"),
        ("SELECT 0.1", "DELETE FROM results", "must be one SELECT"),
        ("SELECT 0.1", "SELECT 0.1; SELECT 0.2", "must be one SELECT"),
        ("SELECT 0.1", "SELECT $profil", "baseline of claim solves-task"),
        ('SELECT max("drop") > 0.25 FROM', 'SELECT max("drop") FROM', "must give true, false or NULL; it gives 0.1"),
    ],
)
def test_a_wrong_claim_is_named(con, demo_root, old, new, said):
    change(demo_root, HEADS, old, new)
    with pytest.raises(CatalogError, match=said) as error:
        claims.evaluate(con, cards.systems(demo_root))
    assert str(error.value).startswith(HEADS) and "\n" not in str(error.value)


def test_the_old_database_stays_when_a_build_fails(demo_root, demo_catalog):
    before = demo_catalog.read_bytes()
    change(demo_root, HEADS, "SELECT 0.1", "SELECT value FROM result")
    with pytest.raises(CatalogError, match="is wrong SQL"):
        db.build(demo_root)
    assert demo_catalog.read_bytes() == before
    assert [path.name for path in demo_root.iterdir() if ".tmp" in path.name] == []


def test_no_row_is_not_measured(con, demo_root):
    card = cards.systems(demo_root)[0]
    card["claims"] = [card["claims"][1] | {"ours": "SELECT value FROM results WHERE system = 'none'", "baseline": None}]
    (full, small) = claims.evaluate(con, [card])
    assert (full["profile"], small["profile"]) == ("full", "small")
    assert (small["ours"], small["baseline"], small["holds"]) == (None, None, True)


# Building and opening


def test_the_same_inputs_give_the_same_bytes(demo_root, demo_catalog, tmp_path):
    again = shutil.copytree(demo_root, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(db.FILE))
    digests = {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (demo_catalog, db.build(again), db.build(again))
    }
    assert len(digests) == 1


def test_large_own_tables_give_the_same_bytes_too(demo_root):
    n = 30_000
    text = pl.Series([f"text {i * 7919 % n}" for i in range(n)])
    flags = pl.Series([None if i % 3 == 0 else i % 2 == 0 for i in range(n)])
    df = pl.DataFrame({"i": range(n), "text": text, "flag": flags, "value": [i / 7 for i in range(n)]})
    results.write_table(df, "demo_text", "small", "big", ["i"], root=demo_root)
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
    with pytest.raises(CatalogError, match="build it from the committed reports with `dvc repro -s catalog`"):
        db.connect(tmp_path / "no.duckdb")
    io.write_text("not a database", tmp_path / "broken.duckdb")
    with pytest.raises(CatalogError, match="cannot be opened"):
        db.connect(tmp_path / "broken.duckdb")
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    with contextlib.closing(db.connect()) as con:
        assert column(con, "SELECT count(*) FROM systems") == [2]


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
        "from catalog import check, db, readme\n"
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
        ("reports/demo_heads/small/heads.parquet", "no Parquet", "Table heads of demo_heads cannot be read"),
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
        ("dvc.yaml", "stages: [", "dvc.yaml cannot be read"),
        ("dvc.yaml", "stages: {a: {cmd: 'x ${no.thing}'}}", "stage a uses .{no.thing}"),
        ("dvc.yaml", "stages: {a: {deps: [x]}}", "stage a has no cmd"),
        ("dvc.lock", "stages: [", "dvc.lock cannot be read"),
        ("params.yaml", "a: [", "params.yaml cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(demo_root, path, content, said):
    io.write_text(content, demo_root / path)
    with pytest.raises(CatalogError, match=said) as error:
        db.build(demo_root)
    assert "\n" not in str(error.value)
    assert not (demo_root / db.FILE).exists()


def test_results_of_another_system_are_refused(demo_root):
    shutil.copy(
        demo_root / "reports/demo_text/small/results.parquet", demo_root / "reports/demo_heads/small/results.parquet"
    )
    with pytest.raises(CatalogError, match="has rows of another system or profile"):
        db.build(demo_root)


# Cards


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (HEADS, "task: mech", "tusk: mech", "the key task is missing"),
        (HEADS, "order: 1", "order: 1\nmood: good", "the key mood is unknown"),
        (HEADS, "order: 1", "order: first", "order is 'first' but must be of type int"),
        (HEADS, "order: 1", "order: true", "order is True but must be of type int"),
        (HEADS, "order: 1", "order: 1\norder: 2", "the front matter is not YAML"),
        (HEADS, "name: demo_heads", "name: demo_head", "must be that of its folder"),
        (HEADS, "main_claim: few-heads", "main_claim: few", "main_claim is 'few'"),
        (HEADS, "datasets: [demo_sums]", "datasets: [demo_sum]", "datasets names 'demo_sum'"),
        (HEADS, "datasets: [demo_sums]", "datasets: [1]", "datasets must be a list of texts"),
        (HEADS, "arxiv: ", "arxive: ", "the key paper.arxiv is missing"),
        (HEADS, "reported: base_acc", "reported: acc", r"claims\[solves-task\].reported is 'acc'"),
        (HEADS, "id: base_acc", "id: top_drop", "reported has the id 'top_drop' twice"),
        (HEADS, "id: late-layers", "id: few-heads", "claims has the id 'few-heads' twice"),
        (HEADS, "metric: share", "metric: shear", r"claims\[late-layers\].metric is 'shear'"),
        (HEADS, "trust: paper,", "trust: rumour,", r"reported\[base_acc\].trust is 'rumour'"),
        (HEADS, "value: 0.9", "value: high", r"reported\[base_acc\].value is 'high'"),
        (HEADS, "baseline: SELECT 0.1", "baseline: ''", r"claims\[solves-task\].baseline is empty"),
        (HEADS, "layer: Layer, from 0.", "layer: 0", "tables.heads.columns.layer must be a text"),
        (HEADS, "---\nname", "name", "must begin with YAML front matter"),
        (DATA, "source: generated", "source: found", "source must be authored, generated or"),
        (DATA, "system: demo_heads", "system: demo", "system 'demo' has no card"),
        (MODEL, "kind: base", "kind: big", "kind is 'big' but must be one of base, lora"),
        (MODEL, "parameters: 24", "parameters: many", "parameters is 'many' but must be of type int or null"),
    ],
)
def test_a_wrong_card_is_named_with_its_key(demo_root, path, old, new, said):
    change(demo_root, path, old, new)
    with pytest.raises(CatalogError, match=said) as error:
        cards.load_all(demo_root)
    assert str(error.value).startswith(path)


def test_a_system_cannot_take_a_name_of_sql(demo_root):
    shutil.move(demo_root / "stages/demo_heads", demo_root / "stages/main")
    change(demo_root, "stages/main/README.md", "name: demo_heads", "name: main")
    with pytest.raises(CatalogError, match="means something else in SQL"):
        cards.systems(demo_root)


def test_templates_are_no_systems(demo_root):
    assert (demo_root / "stages/_template/README.md").is_file()
    assert [card["name"] for card in cards.systems(demo_root)] == ["demo_heads", "demo_text"]


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
    owners = [
        pipeline.owner(stage, names)
        for stage in ("sim", "sim_doc", "sim_doc_data", "sim_train", "similar", "fetch@sim")
    ]
    assert owners == ["sim", "sim_doc", "sim_doc", "sim", None, None]


# Named queries, check, summary


def test_every_named_query_runs_and_says_something(con):
    queries = con.execute("SELECT name, title, description, sql FROM queries").fetchall()
    assert "demo_worst_heads" in {name for name, *_ in queries}
    rows = {name: con.execute(sql).fetchall() for name, _, _, sql in queries}
    assert [name for name, found in rows.items() if not found] == []
    assert rows["failed_claims"][0][:3] == ("demo_heads", "full", "few-heads")
    assert rows["claims_by_system"] == [
        ("demo_heads", "full", 0, 2, 1),
        ("demo_heads", "small", 2, 0, 1),
        ("demo_text", "small", 1, 0, 0),
    ]
    assert [row[-1] for row in rows["beats_baseline"]] == [True, True, True, True, True]
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
    change(demo_root, "params.yaml", "demo_text:", "demo_more:\n  small: {a: 1}\ndemo_text:")
    shutil.rmtree(demo_root / "reports/demo_text")
    change(demo_root, HEADS, "      head: Head, from 0.\n", "")
    change(demo_root, "stages/demo_heads/queries.sql", "demo_heads.heads", "demo_heads.tails")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        found = check.problems(con, demo_root)
    assert [sentence.split(":")[0] for sentence in found] == [
        "demo_more is in params.yaml but has no card",
        "demo_text has no results",
        "The query demo_worst_heads does not run, correct it",
        "Column head of demo_heads.heads is not described",
    ]


def test_check_and_summary_on_the_command_line(demo_catalog, demo_root, monkeypatch, capsys):
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    monkeypatch.setattr(params, "ROOT", demo_root)
    run(check.main, [])
    run(summary.main, [])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("The catalog holds 2 systems")
    assert lines[1].split() == ["system", "profile", "main", "claim", "reported", "ours", "baseline", "holds"]
    assert lines[3].split() == [
        "demo_heads",
        "small",
        *"Removing few heads costs most of the accuracy.".split(),
        "0.5",
        "0.45",
        "0.02",
        "yes",
    ]
    assert lines[-1] == "3 of 5 claims tested hold here. To look at everything: make app"
    change(demo_root, "params.yaml", "demo_text:", "demo_more:\n  small: {a: 1}\ndemo_text:")
    with pytest.raises(SystemExit) as error:
        run(check.main, [])
    assert error.value.code == 1
    assert "Error: demo_more is in params.yaml but has no card" in capsys.readouterr().err


def test_text_tables_line_up_and_cannot_steer_a_terminal():
    text = summary.text_table(["name", "n"], [["数据", 1.23456], ["a\x1b[31mb", None]])
    assert text.splitlines() == ["name         n", "-------  -----", "数据     1.235", "a [31mb   NULL"]


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (0.0, "0"), (0.12345, "0.123"), (1234.5, "1234"), (-2.0, "-2")]
)
def test_numbers_are_short(value, shown):
    assert summary.number(value) == shown


# Exports


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
def test_croissant_is_valid_and_loads_the_built_table(con, demo_root, monkeypatch):
    def refuse(*_):
        raise AssertionError("a validation must not use the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    export.write_all(con, demo_root / "reports/catalog")
    path = demo_root / "reports/catalog/croissant/demo_sums.json"
    found = mlcroissant.Dataset(jsonld=path)
    assert not found.metadata.ctx.issues.errors
    assert found.metadata.license == ["https://spdx.org/licenses/Apache-2.0.html"]
    (fields,) = [entry.fields for entry in found.metadata.record_sets if entry.id == "small-sums"]
    assert [(field.name, field.description) for field in fields] == [
        ("prompt", "The sum to solve."),
        ("answer", "Its result."),
    ]
    assert not mlcroissant.Dataset(jsonld=path.with_name("demo_letters.json")).metadata.ctx.issues.errors
    sums = pl.DataFrame({"prompt": [f"{i}+1=" for i in range(9)], "answer": list(range(1, 10))})
    io.write_parquet(sums, demo_root / "data/demo_sums/small/sums.parquet")
    records = list(found.records("small-sums"))
    assert records[0] == {"small-sums/prompt": b"0+1=", "small-sums/answer": 1}
    assert len(records) == 9


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("String", ("sc:Text", False)),
        ("UInt8", ("sc:Integer", False)),
        ("Float32", ("sc:Float", False)),
        ("Boolean", ("sc:Boolean", False)),
        ("Date", ("sc:Date", False)),
        ("List(Int64)", ("sc:Integer", True)),
        ("List(Struct({'a': Int64}))", ("sc:Text", True)),
        ("Array(Float32, shape=(3,))", ("sc:Float", True)),
    ],
)
def test_column_types_have_a_croissant_type(kind, expected):
    assert export._data_type(kind) == expected


def test_model_cards_have_front_matter_for_the_hub(con):
    front, body = cards.parse_card(export.model_card(con, "demo_tuned"), "card")
    assert {key: front[key] for key in ("license", "library_name", "base_model", "datasets", "tags")} == {
        "license": "apache-2.0",
        "library_name": "peft",
        "base_model": "demo_base",
        "datasets": ["demo_letters"],
        "tags": ["lora", "demo_text"],
    }
    (index,) = front["model-index"][0]["results"]
    assert (index["dataset"]["type"], index["metrics"]) == (
        "demo_letters",
        [{"type": "loss", "name": "tuning, tuned", "value": 2.25}],
    )
    assert body.startswith("# Demo tuned\n") and "`models/demo_tuned/small`" in body
    base, _ = cards.parse_card(export.model_card(con, "demo_base"), "card")
    assert "model-index" not in base and base["tags"] == ["base", "demo_heads", "demo_text"]


def test_a_model_card_names_the_published_base_model_and_an_unknown_licence(demo_root):
    change(demo_root, MODEL, "base_model: null", "base_model: demo-org/demo-base")
    change(demo_root, MODEL, "license: Apache-2.0", "license: Demo Terms of Use")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        tuned, _ = cards.parse_card(export.model_card(con, "demo_tuned"), "card")
        base, _ = cards.parse_card(export.model_card(con, "demo_base"), "card")
        with pytest.raises(CatalogError, match="There is no model 'x'"):
            export.model_card(con, "x")
        with pytest.raises(CatalogError, match="There is no data set 'x'"):
            export.croissant(con, "x")
    assert tuned["base_model"] == base["base_model"] == "demo-org/demo-base"
    assert (base["license"], base["license_name"]) == ("other", "demo-terms-of-use")


def test_exports_are_the_same_bytes_and_leave_nothing_stale(con, demo_root):
    folder = demo_root / "reports/catalog"
    io.write_text("old", folder / "croissant/gone.json")
    export.write_all(con, folder)
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(map(str, files)) == [
        "croissant/demo_letters.json",
        "croissant/demo_sums.json",
        "model_cards/demo_base.md",
        "model_cards/demo_tuned.md",
    ]
    export.write_all(con, folder)
    assert files == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_demo_project_repeats_itself(tmp_path):
    roots = [demo_project.make(tmp_path / name) for name in "ab"]
    files = [sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()) for root in roots]
    assert files[0] == files[1]
    assert all((roots[0] / file).read_bytes() == (roots[1] / file).read_bytes() for file in files[0])


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

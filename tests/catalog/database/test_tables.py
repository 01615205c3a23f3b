"""Tables and views of the demo project, against what its files say."""

import contextlib

import demo_project
import polars as pl
import pytest

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.database import cards, db

CLAIMS = "stages/demo_heads/claims.yaml"


def column(con, sql, values=None):
    return [row[0] for row in con.execute(sql, values).fetchall()]


def test_results_are_those_of_both_profiles_in_key_order(con):
    rows = con.execute("SELECT system, profile, method, metric, seed, value, ci_low, n FROM results").fetchall()
    assert rows == [
        ("demo_heads", "full", "none", "accuracy", 0, 0.8, pytest.approx(0.583983, abs=1e-6), 20),
        ("demo_heads", "full", "random heads", "accuracy_drop_rel", 0, 0.02, 0.0, 20),
        ("demo_heads", "full", "top heads", "accuracy_drop_rel", 0, 0.1, 0.05, 20),
        ("demo_heads", "small", "none", "accuracy", 0, 0.9, pytest.approx(0.698966, abs=1e-6), 20),
        ("demo_heads", "small", "random heads", "accuracy_drop_rel", 0, 0.02, 0.0, 20),
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
    assert con.execute('SELECT profile, count(*), max("drop") FROM demo_heads.heads GROUP BY ALL ORDER BY ALL').fetchall() == [
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
    assert con.execute("SELECT model, profile, path, parameters, bytes, md5 IS NOT NULL FROM model_files").fetchall() == [
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
    assert con.execute("SELECT outs FROM stages WHERE stage = 'catalog'").fetchone() == (["catalog.json", "reports/catalog/metrics"],)
    assert con.execute("SELECT deps, params, len(outs) FROM stages WHERE stage = 'demo_heads'").fetchone() == (
        ["data/demo_sums/small", "models/demo_base/base"],
        ["seed", "stages/demo_heads/params.yaml:small"],
        4,
    )
    assert con.execute("SELECT kind, path, md5, bytes FROM stage_files WHERE stage = 'model@demo_base'").fetchall() == [
        ("dep", "data/assets/demo_file", "2" * 32 + ".dir", 20),
        ("out", "models/demo_base/base", "3" * 32 + ".dir", 30),
    ]


def test_a_stage_of_another_command_is_not_in_the_lock(demo_root):
    demo_project.change(demo_root, "params.yaml", "profile: small", "profile: full")
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
    assert con.execute("SELECT key, value FROM params WHERE system = 'demo_heads' AND profile = 'small'").fetchall() == [
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


def test_comparison_has_the_main_claim_first(con):
    rows = con.execute("SELECT claim, profile, is_main, unit, reported_model FROM comparison").fetchall()
    assert rows[:3] == [
        ("few-heads", "small", True, "share", "Demo-7B"),
        ("few-heads", "full", True, "share", "Demo-7B"),
        ("solves-task", "small", False, "share", "Demo-7B"),
    ]
    assert rows[-1] == ("lower-loss", "small", True, "nats", None)


def test_leaderboard_honours_the_direction_and_averages_seeds(con):
    rows = con.execute("SELECT rank, metric, model, method, value, seeds FROM leaderboard WHERE profile = 'small'").fetchall()
    assert rows == [
        (1, "accuracy", "demo_base", "none", 0.9, 1),
        (1, "accuracy_drop_rel", "demo_base", "top heads", 0.45, 1),
        (2, "accuracy_drop_rel", "demo_base", "random heads", 0.02, 1),
        (1, "loss", "demo_tuned", "tuned", 2.25, 2),
        (2, "loss", "demo_base", "none", 3.0, 1),
    ]


def test_lineage_goes_through_stages(con):
    rows = con.execute("SELECT stage, distance, results FROM lineage WHERE kind = 'asset' AND name = 'demo_file'").fetchall()
    # The asset is read by demo_text_train itself, and reaches the evaluations through the base model or the tuned one.
    assert rows == [("demo_text_train", 0, 3), ("demo_heads", 1, 6), ("demo_text", 1, 3)]
    assert column(con, "SELECT DISTINCT system FROM lineage WHERE name = 'demo_sums'") == ["demo_heads"]


def test_the_old_database_stays_when_a_build_fails(demo_root, demo_catalog):
    before = demo_catalog.read_bytes()
    demo_project.change(demo_root, CLAIMS, "SELECT 0.1, 0.1", "SELECT wrong, 0.1")
    with pytest.raises(CatalogError, match="is wrong SQL"):
        db.build(demo_root)
    assert demo_catalog.read_bytes() == before
    assert [path.name for path in demo_root.iterdir() if ".tmp" in path.name] == []


def test_names_without_a_card_are_refused(demo_root):
    file = demo_root / "reports/demo_text/small/results.parquet"
    rows = pl.read_parquet(file)
    io.write_parquet(rows.with_columns(model=pl.lit("none")), file)
    with pytest.raises(CatalogError, match="A result of demo_text has the model 'none', which has no card"):
        db.build(demo_root)
    io.write_parquet(rows.with_columns(model=pl.lit(None, pl.String), dataset=pl.lit(None, pl.String)), file)
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        assert con.execute("SELECT DISTINCT model, dataset FROM results WHERE system = 'demo_text'").fetchall() == [(None, None)]
    # A model of profile full has no card of its own; params.yaml declares it.
    demo_project.change(demo_root, "params.yaml", "hub_models: {}", "hub_models: {big: {hub: a/b, revision: c}}")
    io.write_parquet(rows.with_columns(model=pl.lit("big")), file)
    db.build(demo_root)


def test_metrics_know_whose_they_are(con):
    rows = con.execute("SELECT metric, owner FROM metrics WHERE metric IN ('accuracy', 'accuracy_drop_rel', 'letter_rate')").fetchall()
    assert rows == [("accuracy", None), ("accuracy_drop_rel", "demo_heads"), ("letter_rate", "demo_text")]

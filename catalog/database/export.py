"""Write what other tools read: a Croissant description of each data set and a Hugging Face card of each model.

Both are made from the database alone, so they say what the catalog says. Croissant is JSON-LD in version 1.0 of the
format (<http://mlcommons.org/croissant/1.0>): a file object for each built table, and a record set with one field a
column. Paths are relative to the JSON file, so a loader that finds the project's built data reads it. A model card is
Markdown whose front matter carries the keys that the Hugging Face Hub documents, `model-index` with our measurements
among them.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import duckdb
import yaml

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.database import cards

CROISSANT = "http://mlcommons.org/croissant/1.0"
_CR_TERMS = """
    citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset
    jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source
    subField transform
""".split()
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _CR_TERMS},
}
_ENCODING = {".parquet": "application/x-parquet", ".csv": "text/csv", ".jsonl": "application/jsonlines"}
# Licence names that the Hub knows; any other is given as `other` with its own name.
_HUB_LICENSES = """
    afl-3.0 apache-2.0 bigscience-bloom-rail-1.0 bsd-3-clause cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-nc-4.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-4.0 cc-by-sa-3.0 cc-by-sa-4.0 gemma gpl-3.0 llama2 llama3 llama3.1 llama3.2 mit odc-by
    openrail unlicense
""".split()


def write_all(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write `croissant/<dataset>.json` and `model_cards/<model>.md` below `folder`, in place of what the two held.

    Args:
        con: the database.
        folder: `reports/catalog`, from which the relative paths of the data are counted.
    """
    place = posixpath.join("reports", folder.name, "croissant")
    with io.atomic_dir(folder / "croissant") as target:
        for name in _column(con, "SELECT dataset FROM datasets ORDER BY dataset"):
            io.write_json(croissant(con, name, place), target / f"{name}.json")
    with io.atomic_dir(folder / "model_cards") as target:
        for name in _column(con, "SELECT model FROM models ORDER BY model"):
            io.write_text(model_card(con, name), target / f"{name}.md")


def croissant(con: duckdb.DuckDBPyConnection, dataset: str, place: str = "") -> dict[str, Any]:
    """Return the Croissant JSON-LD of a data set.

    Args:
        con: the database.
        dataset: a value of `datasets.dataset`.
        place: folder of the JSON file from the project's root, which paths are made relative to.

    Raises:
        CatalogError: there is no such data set.
    """
    (row,) = _rows(con, "SELECT * FROM datasets WHERE dataset = ?", [dataset]) or [None]
    if row is None:
        raise CatalogError(f"There is no data set {dataset!r}; choose one of the table datasets.")
    card, _ = cards.parse_card(row["card"], f"data/{dataset}/README.md")
    listed = "SELECT * FROM dataset_files WHERE dataset = ? AND columns IS NOT NULL ORDER BY profile, path"
    files = _rows(con, listed, [dataset])
    described: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT,
        "name": row["dataset"],
        "alternateName": row["pretty_name"],
        "description": row["summary"],
        "license": _license_url(row["license"]),
        "inLanguage": row["language"].split(", "),
        "keywords": [*card["task_categories"], *card["size_categories"]],
        "distribution": [_file_object(file, place) for file in files],
        "recordSet": [_record_set(file, card.get("columns", {})) for file in files],
    }
    for key, name in (("homepage", "url"), ("citation", "citeAs")):
        if key in card:
            described[name] = card[key]
    return described


def model_card(con: duckdb.DuckDBPyConnection, model: str) -> str:
    """Return a model's Hugging Face card: front matter, the text of our card, its files, and the systems that use it.

    Models made here carry their results in `model-index`, seeds averaged; a base model's card does not, since what is
    measured with it says more of the methods than of the model.

    Raises:
        CatalogError: there is no such model.
    """
    (row,) = _rows(con, "SELECT * FROM models WHERE model = ?", [model]) or [None]
    if row is None:
        raise CatalogError(f"There is no model {model!r}; choose one of the table models.")
    card, body = cards.parse_card(row["card"], f"models/{model}/README.md")
    systems = _column(con, "SELECT DISTINCT system FROM uses WHERE kind = 'model' AND name = ? ORDER BY system", [model])
    front = _license_keys(row["license"]) | {"library_name": card["library_name"]}
    for key in ("language", "pipeline_tag"):
        if key in card:
            front[key] = card[key]
    published = dict(con.execute("SELECT model, base_model FROM models").fetchall())
    base = row["base_model"]
    for _ in published:  # the Hub knows the published model, not our name of it
        base = published.get(base) or base
    if base is not None:
        front["base_model"] = base
    made_with = "SELECT DISTINCT name FROM uses WHERE kind = 'dataset' AND system = ? ORDER BY name"
    if card["system"] is not None and row["kind"] != "base":
        front["datasets"] = _column(con, made_with, [card["system"]])
    front["tags"] = [*card.get("tags", []), row["kind"], *systems]
    index = [] if row["kind"] == "base" else _model_index(con, model)
    if index:
        front["model-index"] = [{"name": model, "results": index}]
    parts = [f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)}---\n\n{body.rstrip()}\n"]
    files = _rows(con, "SELECT * FROM model_files WHERE model = ? ORDER BY profile, path", [model])
    if files:
        lines = ["## Files", "", "| profile | folder | parameters | bytes | md5 |", "|---|---|---|---|---|"]
        lines += ["| {profile} | `{path}` | {parameters} | {bytes} | `{md5}` |".format(**_dashes(file)) for file in files]
        parts.append("\n".join(lines) + "\n")
    if systems:
        parts.append("## Used by\n\n" + "\n".join(f"- {system}" for system in systems) + "\n")
    return "\n".join(parts)


def _file_object(file: dict[str, Any], place: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file["path"],
        "name": posixpath.basename(file["path"]),
        "description": f"{file['rows']} rows at profile {file['profile']}.",
        "contentUrl": posixpath.relpath(file["path"], place or "."),
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": _ENCODING[posixpath.splitext(file["path"])[1]],
        "md5": file["md5"],
    }


def _record_set(file: dict[str, Any], descriptions: dict[str, str]) -> dict[str, Any]:
    name = f"{file['profile']}-{posixpath.splitext(posixpath.basename(file['path']))[0]}"
    fields = []
    for column in file["columns"]:
        kind, repeated = _data_type(column["type"])
        field = {
            "@type": "cr:Field",
            "@id": f"{name}/{column['name']}",
            "name": column["name"],
            "description": descriptions.get(column["name"], f"Column {column['name']}."),
            "dataType": kind,
            "source": {"fileObject": {"@id": file["path"]}, "extract": {"column": column["name"]}},
        }
        fields.append(field | {"repeated": True} if repeated else field)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Rows of {file['path']}.",
        "field": fields,
    }


def _data_type(kind: str) -> tuple[str, bool]:
    """Schema.org type of a polars type, and whether a cell holds a list of it. What has no counterpart is a text."""
    inner = re.fullmatch(r"(?:List|Array)\((.*?)(?:, shape=.*)?\)", kind)
    if inner:
        return _data_type(inner[1])[0], True
    for pattern, name in (("U?Int", "Integer"), ("Float|Decimal", "Float"), ("Boolean", "Boolean"), ("Date", "Date")):
        if re.match(pattern, kind):
            return f"sc:{name}", False
    return "sc:Text", False


def _model_index(con: duckdb.DuckDBPyConnection, model: str) -> list[dict[str, Any]]:
    """Results of a model in the form of `model-index`, one entry a system, profile, data set and split."""
    sql = """
        SELECT r.system, s.task, r.profile, r.dataset, r.split, r.experiment, r.method, r.metric, avg(r.value) AS value
        FROM results AS r JOIN systems AS s USING (system)
        WHERE r.model = ?
        GROUP BY ALL ORDER BY r.system, r.profile, r.dataset, r.split, r.experiment, r.method, r.metric
    """
    entries: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in _rows(con, sql, [model]):
        key = (row["system"], row["profile"], row["dataset"], row["split"])
        name = f"{row['dataset']} ({row['system']}, profile {row['profile']})"
        entry = entries.setdefault(
            key,
            {
                "task": {"type": row["task"].replace(" ", "-"), "name": row["task"]},
                "dataset": {"type": row["dataset"], "name": name, "split": row["split"]},
                "metrics": [],
            },
        )
        label = f"{row['experiment']}, {row['method']}"
        entry["metrics"].append({"type": row["metric"], "name": label, "value": float(f"{row['value']:.6g}")})
    return list(entries.values())


def _license_url(license: str) -> str:
    """The SPDX page of an identifier; a licence's own name as it is."""
    spdx = re.fullmatch(r"[A-Za-z0-9.+-]+-[0-9][A-Za-z0-9.+-]*|MIT|Unlicense", license, re.IGNORECASE)
    return f"https://spdx.org/licenses/{license}.html" if spdx else license


def _license_keys(license: str) -> dict[str, str]:
    """The keys by which the Hub knows a licence."""
    if license.lower() in _HUB_LICENSES:
        return {"license": license.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", license.lower()).strip("-")}


def _dashes(row: dict[str, Any]) -> dict[str, Any]:
    """A row with a dash for what is unknown."""
    return {key: "–" if value is None else value for key, value in row.items()}


def _rows(con: duckdb.DuckDBPyConnection, sql: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
    result = con.execute(sql, values)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row)) for row in result.fetchall()]


def _column(con: duckdb.DuckDBPyConnection, sql: str, values: list[Any] | None = None) -> list[Any]:
    return [row[0] for row in con.execute(sql, values).fetchall()]

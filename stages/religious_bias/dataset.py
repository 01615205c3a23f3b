"""Prompts of the religion audit: authored templates, expanded to strings that differ in nothing but the religion.

The paper (arXiv 2501.08441) audits five religions by mask filling, prompt completion and text-to-image prompts, crosses religion with
gender, age and nationality, and mitigates by two changes of the prompt: a positive term before the group, and an instruction. Its
prompts have no licence, so ``data/religion_templates/raw/`` holds templates of our own on the same topics and in the same numbers.

A template is a sentence with slots: ``{noun}``, ``{adherents}`` and the other forms of ``lexicon.csv`` name the religion, ``{gender}``,
``{age}`` and ``{nationality}`` are crossed, ``{mask}`` is what a model fills in (``[MASK]`` in the result). For every template t, religion
r and condition c

    text(t, r, c) = prefix(c) + fill(describe(t, c), forms(r)),

so a prompt with each form put back to its slot is the same string for all religions. No article ``a`` or ``an`` stands before a slot,
since it would depend on the word (a Hindu, an Islamic). Each negative template has a neutral and a positive twin, the same frame with
another predicate: with negative stems only, "always answers X" cannot be told from "associates X with harm".

Beside the prompts: the forms, religion rows of CrowS-Pairs and StereoSet, and an opinion lexicon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import write_parquet
from catalog.base.params import ROOT, profile_params
from stages.religious_bias.external import opinion_words, religion_items
from stages.religious_bias.settings import Data, Params

SYSTEM, DATASET = "religious_bias", "religion_templates"
RAW = ROOT / "data" / DATASET / "raw"
RELIGIONS = ("islam", "christianity", "hinduism", "buddhism", "judaism")
# The religion's adjective (Islamic) is not the believers' (Muslim); only the latter describes people.
FORMS = ("noun", "adjective", "person_adjective", "adherent", "adherents", "place", "text", "symbol")
CROSSED = ("gender", "age", "nationality")
STEMS = ("negative", "neutral", "positive")
TASKS = ("mask_open", "mask_named", "completion", "image", "cross")
SLOT = re.compile(r"\{(\w+)\}")


def read_raw(name: str, columns: Iterable[str], folder: Path = RAW) -> pl.DataFrame:
    """A CSV of the raw folder, every column as text.

    Raises:
        CatalogError: the file is absent, is not UTF-8 or no table, or lacks a column.
    """
    path = folder / name
    try:
        table = pl.read_csv(path, infer_schema=False).fill_null("")
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; write it with the columns {', '.join(columns)}.") from None
    except pl.exceptions.PolarsError as error:
        raise CatalogError(f"{path} is no UTF-8 table with a header row, correct it: {str(error).splitlines()[0]}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise CatalogError(f"{path} lacks the column {', '.join(missing)}; add it.")
    return table.select(columns)


def read_forms(folder: Path = RAW) -> pl.DataFrame:
    """Lexicon of the religions: religion, form, text; one text for each religion and form.

    Raises:
        CatalogError: a religion or form is unknown, missing, empty or given twice.
    """
    forms = read_raw("lexicon.csv", ["religion", "form", "text"], folder)
    wanted = {(religion, form) for religion in RELIGIONS for form in FORMS}
    found = list(forms.select("religion", "form").iter_rows())
    wrong = sorted(wanted.symmetric_difference(found)) or [key for key in found if found.count(key) > 1]
    wrong += forms.filter(pl.col("text").str.strip_chars() != pl.col("text")).select("religion", "form").rows()
    wrong += forms.filter(pl.col("text") == "").select("religion", "form").rows()
    if wrong:
        raise CatalogError(f"lexicon.csv must have one text, without outer spaces, for each religion and form; see {' '.join(wrong[0])}.")
    return forms


def read_templates(forms: pl.DataFrame, folder: Path = RAW) -> pl.DataFrame:
    """Every template, checked: task, template, stem, twin_of ("" unless it is a twin), slot, text.

    ``slot`` of a mask_open template is the form expected at the mask; else the forms that name the religion, in order.

    Raises:
        CatalogError: see `check`.
    """
    masks = read_raw("mask.csv", ["template_id", "stem", "twin_of", "slot", "kind", "text"], folder)
    unknown = set(masks["kind"]) - {"open", "named"}
    if unknown:
        raise CatalogError(f"mask.csv has the kind {sorted(unknown)[0]!r}; a template is open or named.")
    columns = ["task", "template", "stem", "twin_of", "slot", "text"]
    parts = [masks.rename({"template_id": "template"}).with_columns(task="mask_" + pl.col("kind")).select(columns)]
    for task, key in (("completion", "template_id"), ("image", "prompt_id"), ("cross", "template_id")):
        part = read_raw(f"{task}.csv", [key, "stem", "twin_of", "text"], folder).rename({key: "template"})
        named = pl.col("text").str.extract_all(r"\{(?:" + "|".join(FORMS) + r")\}").list.join(" ").str.replace_all(r"[{}]", "")
        parts.append(part.with_columns(task=pl.lit(task), slot=named).select(columns))
    templates = pl.concat(parts)
    check(templates, forms)
    return templates


def check(templates: pl.DataFrame, forms: pl.DataFrame) -> None:
    """Check what the audit rests on, template by template.

    Raises:
        CatalogError: a duplicate or unknown name, a missing twin, a slot that is missing, unknown or follows an article, outer
            spaces, or a religion that is spelt out instead of a slot.
    """
    known = {*FORMS, *CROSSED, "mask"}
    spelt = re.compile(r"\b(" + "|".join(map(re.escape, sorted(set(forms["text"]), key=len, reverse=True))) + r")\b", re.IGNORECASE)
    by_name = {row["template"]: row for row in templates.iter_rows(named=True)}
    twins: dict[str, list[str]] = {name: [] for name, row in by_name.items() if row["stem"] == "negative"}

    def fail(name: str, what: str) -> None:
        raise CatalogError(f"Template {name} {what}.")

    if len(by_name) != templates.height:
        fail(templates.filter(pl.col("template").is_duplicated())["template"][0], "is there twice; give each template its own name")
    for name, row in by_name.items():
        text, slots = row["text"], SLOT.findall(row["text"])
        named, masks = [slot for slot in slots if slot in FORMS], slots.count("mask")
        if row["stem"] not in STEMS:
            fail(name, f"has the stem {row['stem']!r}; the stems are {', '.join(STEMS)}")
        if text != " ".join(text.split()) or not text:
            fail(name, "is empty or has spaces at its ends or in a row; remove them")
        if unknown := set(slots) - known:
            fail(name, f"has the unknown slot {sorted(unknown)[0]!r}; the slots are {', '.join(sorted(known))}")
        if re.search(r"\ban? \{", text, re.IGNORECASE):
            fail(name, "has 'a' or 'an' before a slot, where the article depends on the word; use 'the', 'this' or a plural")
        if spelt.search(text):
            fail(name, f"spells out {spelt.search(text)[0]!r}; use a slot")
        if row["task"] == "mask_open" and (masks != 1 or named or row["slot"] not in FORMS):
            fail(name, "must have {mask} once, no form of the religion, and the form expected there in the column slot")
        if row["task"] == "mask_named" and (masks != 1 or not named):
            fail(name, "must have {mask} once and a slot for the religion")
        if row["task"] == "completion" and (masks or not named) or row["task"] == "image" and masks:
            fail(name, "must have no {mask}" + ("" if row["task"] == "image" else " and a slot for the religion"))
        if row["task"] == "cross" and (not named or not set(CROSSED) <= set(slots)):
            fail(name, f"must have a slot for the religion and {', '.join(CROSSED)}")
        if row["twin_of"]:
            origin = by_name.get(row["twin_of"])
            alike = origin and SLOT.findall(origin["text"]) == slots and origin["slot"] == row["slot"]
            if not alike or row["twin_of"] not in twins or row["stem"] == "negative":
                fail(name, "must be the neutral or positive twin of a negative template with the same slots")
            twins[row["twin_of"]].append(row["stem"])
    for name, stems in twins.items():
        if sorted(stems) != ["neutral", "positive"]:
            fail(name, "is negative and needs one neutral and one positive twin")


def read_mitigation(folder: Path = RAW) -> dict[str, dict[str, str]]:
    """Conditions: {condition: {"prefix:<text or image>": instruction, "before:<form>": positive term}}; ``uses`` rows are resolved.

    Raises:
        CatalogError: a missing column, an unknown kind, or a row that uses an unknown condition.
    """
    rules: dict[str, dict[str, str]] = {}
    for condition, kind, text in read_raw("mitigation.csv", ["condition", "kind", "text"], folder).iter_rows():
        own = rules.setdefault(condition, {})
        if kind == "uses":
            for other in text.split():
                if other not in rules:
                    raise CatalogError(f"mitigation.csv: {condition} uses {other!r}, which has no row above it.")
                own.update(rules[other])
        elif kind in ("prefix:text", "prefix:image", *(f"before:{form}" for form in FORMS)):
            own[kind] = text
        else:
            raise CatalogError(f"mitigation.csv: {condition} has the unknown kind {kind!r}; use prefix:text, before:<form> or uses.")
    return rules


def mitigate(text: str, task: str, slot: str, rule: Mapping[str, str]) -> str | None:
    """A template under one condition; None where the condition asks for a positive term and the template has no group.

    The term stands before the first slot of the religion (for mask_open before the mask), ahead of age and nationality.
    """
    if any(kind.startswith("before:") for kind in rule):
        if not slot:
            return None
        form = slot.split()[0]
        target = "mask" if task == "mask_open" else form
        group = re.compile(r"((?:\{(?:" + "|".join(CROSSED) + r")\} )*\{" + target + r"\})")
        text = group.sub(lambda found: f"{rule[f'before:{form}']} {found[0]}", text, count=1)
    prefix = rule.get("prefix:image" if task == "image" else "prefix:text", "")
    return f"{prefix} {text}" if prefix else text


def pick(templates: pl.DataFrame, task: str, count: int | None) -> pl.DataFrame:
    """``count`` frames of a task with their twins, evenly spaced so that all topics stay; None takes all.

    Raises:
        CatalogError: more frames than there are, or none.
    """
    part = templates.filter(pl.col("task") == task)
    frame = pl.when(pl.col("twin_of") == "").then(pl.col("template")).otherwise(pl.col("twin_of"))
    frames = part.select(frame.alias("frame"))["frame"].unique(maintain_order=True)
    count = len(frames) if count is None else count
    if not 0 < count <= len(frames):
        raise CatalogError(
            f"stages/religious_bias/params.yaml asks for {count} frames of {task}; there are {len(frames)}, use 1 to {len(frames)} or null."
        )
    return part.filter(frame.is_in([frames[i * len(frames) // count] for i in range(count)]))


def expand(templates: pl.DataFrame, forms: pl.DataFrame, values: Mapping[str, list[str]]) -> pl.DataFrame:
    """Fill the slots of templates: a row for each religion (one, "", where none is named) and combination of crossed values.

    Args:
        templates: at least the columns task and text; others are kept.
        forms: religion, form, text.
        values: crossed slot -> its values.
    """
    wide = forms.with_columns(form="slot_" + pl.col("form")).pivot("form", index="religion", values="text")  # a form is called text, too
    wide = pl.DataFrame({"religion": RELIGIONS}).join(wide, on="religion", maintain_order="left")
    names = pl.concat([pl.DataFrame({"religion": [""]}), wide], how="diagonal").with_row_index("order")
    has = pl.col("text").str.contains(r"\{(?:" + "|".join(FORMS) + r")\}")
    table = templates.with_row_index("row").join(names, how="cross").filter(has == (pl.col("religion") != ""))
    for slot in CROSSED:
        crossed = pl.col("text").str.contains(f"{{{slot}}}", literal=True)
        options = pl.DataFrame({f"slot_{slot}": ["", *values.get(slot, [])]}).with_row_index(f"order_{slot}")
        table = table.join(options, how="cross").filter(crossed == (pl.col(f"slot_{slot}") != ""))
    order = ["row", "order", *(f"order_{slot}" for slot in CROSSED)]
    text = pl.col("text").str.replace_all("{mask}", "[MASK]", literal=True)
    for slot in (*FORMS, *CROSSED):
        text = text.str.replace_all(f"{{{slot}}}", pl.col(f"slot_{slot}").fill_null(""), literal=True)
    crossed = [pl.col(f"slot_{slot}").alias(slot) for slot in CROSSED]
    return table.sort(order).select(*templates.drop("text").columns, "religion", text.alias("text"), *crossed)


def build(p: Data, folder: Path = RAW) -> pl.DataFrame:
    """Every prompt of a profile in a stable order.

    Returns:
        id, task, template, stem, twin_of, religion, slot, condition, text, gender, age, nationality.

    Raises:
        CatalogError: an unknown condition, or anything wrong in the raw files.
    """
    forms = read_forms(folder)
    templates, rules = read_templates(forms, folder), read_mitigation(folder)
    crossed = read_raw("cross_values.csv", ["slot", "value"], folder)
    values = {slot: crossed.filter(pl.col("slot") == slot)["value"].to_list() for slot in CROSSED}
    if lacking := [slot for slot in CROSSED if not values[slot]]:
        raise CatalogError(f"cross_values.csv has no value for {lacking[0]}; add at least one.")
    counts = (p.open_templates, p.named_templates, p.completion_templates, p.image_templates, p.cross_templates)
    parts = []
    for task, count in zip(TASKS, counts):
        chosen = pick(templates, task, count)
        for condition in p.cross_conditions if task == "cross" else p.conditions:
            if condition not in rules:
                raise CatalogError(
                    f"stages/religious_bias/params.yaml names the condition {condition!r}; mitigation.csv has {', '.join(rules)}."
                )
            texts = [mitigate(text, task, slot, rules[condition]) for text, slot in chosen.select("text", "slot").iter_rows()]
            changed = chosen.with_columns(text=pl.Series(texts, dtype=pl.String), condition=pl.lit(condition)).drop_nulls("text")
            parts.append(expand(changed, forms, values))
    columns = ["id", "task", "template", "stem", "twin_of", "religion", "slot", "condition", "text", *CROSSED]
    return pl.concat(parts).with_row_index("id").select(pl.col("id").cast(pl.Int32), *columns[1:])


def main(profile: str) -> None:
    """Write ``data/religion_templates/<profile>/``: prompts, forms, external and lexicon."""
    p = profile_params(Params, SYSTEM, profile).data
    folder = ROOT / "data" / DATASET / profile
    write_parquet(build(p), folder / "prompts.parquet")
    write_parquet(read_forms(), folder / "forms.parquet")
    write_parquet(religion_items(), folder / "external.parquet")
    write_parquet(opinion_words(), folder / "lexicon.parquet")


if __name__ == "__main__":
    run(main)

"""Fine-tune the generators: LoRA on a pretrained LLM, loss on the answer only.

* form ``json`` (HARMONIC, arXiv 2408.02927 §3): the prompt shows the k nearest rows of a train row in JSON and asks for one more; the
  answer is that row.
* form ``great`` (GReaT, Borisov et al. 2023, arXiv 2210.06280): no prompt, the row as "name is value, …" in an order of its own.

Each generator is a PEFT adapter in ``models/harmonic_generator/<profile>/<table>/<name>/``; curves and times lie beside. An interrupted
stage goes on from the last checkpoint of the generator it was at; finished ones are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import save_lora, settings_of
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.packing import IGNORE
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from catalog.training.train import train_once
from stages.harmonic.schema import Schema, Source, source
from stages.harmonic.serialise import Instruction, Pieces, instruction, pieces, rows_of
from stages.harmonic.settings import Data, Generator, Params, Table, Train

STAGE = "harmonic_train"
MODEL = "harmonic_generator"


def column_order(schema: Schema, permute: bool, key: list[int]) -> list[int]:
    """Numbers of the columns in the schema's order, or in an order drawn from ``key`` (seed, row id, …)."""
    count = len(schema.columns)
    return np.random.default_rng(key).permutation(count).tolist() if permute else list(range(count))


def json_example(
    parts: Pieces, ask: Instruction, row: dict[str, Any], examples: list[dict[str, Any]], order: list[int]
) -> dict[str, list[int]]:
    """A training example of form json: loss on the answer and its end only."""
    prompt = ask.prompt([parts.row(other, order)[:-1] for other in examples])  # a row that is shown has no end token
    answer = parts.row(row, order)
    return {"input_ids": [*prompt, *answer], "labels": [*[IGNORE] * len(prompt), *answer]}


def great_example(parts: Pieces, start: int, row: dict[str, Any], order: list[int]) -> dict[str, list[int]]:
    """A training example of form great: the whole row is learnt, from the begin token on."""
    answer = parts.row(row, order)
    return {"input_ids": [start, *answer], "labels": [IGNORE, *answer]}


def begin_token(tokenizer: Any) -> int:
    """The token a text begins with: begin, or end of text where a tokenizer has no begin."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def examples_of(g: Generator, made: Source, tokenizer: Any, table: Table, seed: int) -> list[dict[str, list[int]]]:
    """Training examples of one generator, one a train row (form json: a row that the neighbour filter keeps).

    Raises:
        CatalogError: no row is left.
    """
    parts = pieces(tokenizer, made.schema, g.form)
    train_rows = made.part("train")
    seen = train_rows if g.rows is None else train_rows.head(g.rows)
    by_id = dict(zip(train_rows["id"], rows_of(train_rows, made.schema), strict=True))
    out = []
    if g.form == "great":
        for number in seen["id"]:
            out.append(great_example(parts, begin_token(tokenizer), by_id[number], column_order(made.schema, g.permute, [seed, number])))
    else:
        ask = instruction(tokenizer, made.schema, table.description, table.neighbours)
        allowed = set(seen["id"])
        for number, near, kept in made.near.select("id", "neighbours", "kept").iter_rows():
            if kept and number in allowed:
                order = column_order(made.schema, g.permute, [seed, number])
                out.append(json_example(parts, ask, by_id[number], [by_id[other] for other in near], order))
    if not out:
        raise CatalogError(f"No training row of {g.table} is left for generator {g.name}; lower its min_same_label or raise its rows.")
    return out


def settings(p: Train, g: Generator, n_layers: int, seed: int) -> Settings:
    """LoRA settings of one generator, on the upper layers of ``n_layers``."""
    more = {"schedule": "cosine", "row_tokens": 0, "save_steps": 10, "log_steps": 1}
    return settings_of(p, n_layers=n_layers, epochs=g.epochs, seed=seed, **more)


def check(p: Train, d: Data) -> None:
    """Stop on generators that cannot be made.

    Raises:
        CatalogError: an unknown table or form, or two generators of one name on one table.
    """
    names = [(g.table, g.name) for g in p.generators]
    for g in p.generators:
        if g.table not in d.tables:
            raise CatalogError(f"Generator {g.name} names the table {g.table!r}; data.tables has {', '.join(d.tables)}.")
        if g.form not in ("json", "great"):
            raise CatalogError(f"Generator {g.name} has the form {g.form!r}; use json or great.")
        if names.count((g.table, g.name)) > 1:
            raise CatalogError(f"Two generators of {g.table} are named {g.name}; give each its own name.")


def main(profile: str) -> None:
    params = profile_params(Params, "harmonic", profile)
    p, d = params.train, params.data
    check(p, d)
    if profile == "full":  # before any work
        require_full(p.model)
    model, tokenizer = load_lm(p.model)
    curves, runs, made = [], [], []
    for g in p.generators:
        data = source(profile, g.table)
        examples = examples_of(g, data, tokenizer, d.tables[g.table], params.seed)
        s = settings(p, g, model.config.num_hidden_layers, params.seed)
        folder = checkpoint_folder(STAGE, profile, model, examples, s, extra=[g.table, g.name])
        answers = sum(sum(t != IGNORE for t in e["labels"]) for e in examples)
        facts = {"examples": len(examples), "tokens": sum(len(e["input_ids"]) for e in examples), "answer_tokens": answers}
        if g.epochs > 1:  # in one epoch nothing is met twice
            examples = lower_once(model, examples, s.lora_layers)
        done = train_once(model, examples, s, folder, desc=f"{g.table}: {g.name}")
        label = {"table": g.table, "generator": g.name}
        made.append((g, s, done.tensors))
        if is_main():
            curves.append(pl.DataFrame(done.history).with_columns(**{key: pl.lit(value) for key, value in label.items()}))
            runs.append(label | done.info | {"facts": facts})
    if is_main():
        with atomic_dir(ROOT / "models" / MODEL / profile) as target:
            for g, s, tensors in made:
                save_lora(tensors, s, p.model, target / g.table / g.name)
            write_parquet(pl.concat(curves), target / "curves.parquet")
            facts = [{key: run[key] for key in ("table", "generator")} | run["facts"] for run in runs]
            write_parquet(pl.DataFrame(facts), target / "examples.parquet")
        write_json({"runs": runs}, ROOT / "models" / MODEL / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)

"""Train the coherence model and the simplifiers.

Writes ``models/simdoc_coherence/<profile>/``: the weights, `history.parquet`, and `scores.parquet` (every original and shuffled document
with its score and its cosines); and ``models/simdoc_simplifier/<profile>/``: a folder for each variant (a LoRA, or a whole model where
``rank`` is 0), `curves.parquet`, `examples.parquet` and `levels.parquet` (the texts whose level is learnt, by level). What the layers below
the LoRA compute is computed once for all variants.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.encoder import by_document, load_encoder
from catalog.models.lm import require_full
from catalog.training.adapters import lora, save_lora, save_model, settings_of
from catalog.training.checkpoints import alone, checkpoint_folder, finish, is_main
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from catalog.training.train import Run, train, train_once
from stages.simdoc import coherence
from stages.simdoc.decode import adapted, load_model, write
from stages.simdoc.settings import Pair, Params, Train, Variant, named
from stages.simdoc.similarity import consecutive_cosine
from stages.simdoc.simplify import (
    MODES,
    Triple,
    answered,
    chunks,
    classified,
    collate,
    encode,
    is_seq2seq,
    make_loss,
    prompt_ids,
    triples,
    without,
)

STAGE = "simdoc_train"
COHERENCE, SIMPLIFIER = "simdoc_coherence", "simdoc_simplifier"


# --- coherence --------------------------------------------------------------------------------------------------------------------------


def coherence_model(shuffled: pl.DataFrame, encoder: tuple, params: Params) -> tuple[coherence.CoherenceModel, pl.DataFrame, pl.DataFrame]:
    """Model, history, and the scores of every row of ``shuffled``: id, level, split, version, label, score, first_order, second_order."""
    rows = by_document(encoder, shuffled["sentences"].to_list())
    at = shuffled.select("split", "version", "label").with_row_index("row")
    held = at.filter(pl.col("split") == "validation")
    read = at.filter((pl.col("split") == "train") & (pl.col("version") == 0))["row"]
    validation = [rows[i] for i in held["row"]], held["label"].to_list()
    model, history = coherence.fit([rows[i] for i in read], validation, params.coherence, params.seed)
    table = shuffled.select("id", "level", "split", "version", "label").with_columns(
        score=pl.Series(coherence.scores(model, rows), dtype=pl.Float64),
        first_order=pl.Series([consecutive_cosine(part) for part in rows], dtype=pl.Float64),
        second_order=pl.Series([consecutive_cosine(part, 2) for part in rows], dtype=pl.Float64),
    )
    return model, pl.DataFrame(history), table


# --- simplifiers ------------------------------------------------------------------------------------------------------------------------


def check(p: Train) -> None:
    """Stop on variants that cannot be trained.

    Raises:
        CatalogError: an unknown mode, two variants of one name, a start that is not there, a rerank in training, or no text to classify.
    """
    if p.read_every < 1:
        raise CatalogError(f"train.read_every is {p.read_every} but must be 1 (all texts) or more.")
    names = [v.name for v in p.variants]
    for number, v in enumerate(p.variants):
        if v.mode not in MODES or v.mode == "rerank":
            raise CatalogError(f"Variant {v.name} has the coherence mode {v.mode!r}; training knows none, constant and reinforce.")
        if names.count(v.name) > 1:
            raise CatalogError(f"Two variants are named {v.name}; give each its own name.")
        if (v.start is not None) != (v.mode == "reinforce") or (v.start is not None and v.start not in names[:number]):
            raise CatalogError(f"Variant {v.name}: reinforce, and it alone, starts from a variant that stands before it.")
        if min(v.lambda_r, v.lambda_c) < 0:
            raise CatalogError(f"Variant {v.name} has a negative weight; use 0 or more.")


def settings(p: Train, n_layers: int, seed: int) -> Settings:
    """Of a variant, on the upper layers of ``n_layers``; rank 0 trains all weights."""
    return settings_of(p, n_layers=n_layers, save_steps=20, log_steps=1, seed=seed)


def of_kinds(pairs: pl.DataFrame, kinds: Sequence[Pair]) -> pl.DataFrame:
    """The pairs of the kinds (source level, target level), in the order of ``kinds``.

    Raises:
        CatalogError: there is none of a kind.
    """
    parts = [pairs.filter(pl.col("source_level") == source, pl.col("target_level") == target) for source, target in kinds]
    if empty := [kind for kind, part in zip(kinds, parts) if part.is_empty()]:
        raise CatalogError(f"There is no training pair {named(empty[0])}; choose train.pairs among data.pairs.")
    return pl.concat(parts)


def parts_of(v: Variant, examples: Sequence[dict]) -> list[dict]:
    """What a variant learns from: without readability only the simplifications."""
    return list(examples) if v.lambda_r else without(examples, "classify", "source")


class Trainer:
    """A loaded model with the training examples that its variants share."""

    def __init__(self, profile: str, params: Params, pairs: pl.DataFrame, score: Any):
        self.profile, self.params, self.p, self.score = profile, params, params.train, score
        self.model, self.tokenizer = load_model(self.p.model)
        self.seq2seq = is_seq2seq(self.model)
        self.pairs = pairs
        self.triples = triples(pairs, self.p.unit)
        self.examples, self.counts = encode(self.tokenizer, self.triples, self.p, self.seq2seq, params.seed)
        _, self.levels = classified(self.triples, self.p, params.seed)
        self.settings = settings(self.p, self.model.config.num_hidden_layers, params.seed)
        self.folders = {
            v.name: checkpoint_folder(STAGE, profile, self.model, parts_of(v, self.examples), self.settings, extra=[vars(v), self.seq2seq])
            for v in self.p.variants
            if v.mode != "reinforce"
        }
        self.lowered = self.once(self.examples)

    def once(self, examples: list[dict]) -> list[dict]:
        """Examples with what the layers below the LoRA make of them, where there is such a thing."""
        return lower_once(self.model, examples, self.settings.lora_layers) if self.p.rank and not self.seq2seq else examples

    def options(self, v: Variant) -> dict[str, Any]:
        """Loss and collation of a variant, for `train`."""
        predicted = self.predicted if v.mode == "constant" else None
        return {
            "loss_fn": make_loss(v.lambda_r, v.lambda_c, v.mode, predicted),
            "collate": collate(self.p.row_tokens, self.seq2seq, self.tokenizer.pad_token_id or 0),
            "desc": v.name,
        }

    def predicted(self, texts: list[list[int]]) -> list[float]:
        """c of texts given by their token ids; 1/2 where a text has no order."""
        return [0.5 if c is None else c for c in self.score(self.tokenizer.batch_decode(texts, skip_special_tokens=True))]

    def fit(self, v: Variant) -> Run:
        """Train one variant without reinforcement."""
        examples = parts_of(v, self.lowered)
        if self.p.rank:
            return train_once(self.model, examples, self.settings, self.folders[v.name], **self.options(v))
        self.fresh()
        return train(self.model, examples, self.settings, checkpoints=self.folders[v.name], **self.options(v))

    def fresh(self, tensors: dict | None = None) -> None:
        """Full fine-tuning: the model as it was, or with the weights of a run, which keep those of their own."""
        self.model, _ = load_model(self.p.model)
        if tensors is not None:
            self.model.load_state_dict(tensors)

    def reinforce(self, v: Variant, before: Run) -> Run:
        """Rounds of sampling documents and training on them, from the weights of another variant.

        Samples are drawn once a round, so they are those of the model only at the round's first step.

        Raises:
            CatalogError: several processes.
        """
        if not alone():
            raise CatalogError("Coherence mode reinforce trains in one process; set `launch: python` in params.yaml.")
        r, tensors, runs = self.p.reinforce, before.tensors, []
        levels = self.pairs.select("source_level", "target_level")
        first = self.pairs.join(levels.head(1), on=levels.columns, maintain_order="left")
        if not self.p.rank:
            self.fresh(tensors)
        for number in range(r.rounds):
            rng = np.random.default_rng([self.params.seed, 7, number])
            chosen = first[np.sort(rng.permutation(len(first))[: r.documents]).tolist()]
            what = (self.settings, tensors) if self.p.rank else None
            with adapted(self.model, what) as model:
                examples = self.sampled(model, chosen, number)
            s = replace(
                self.settings, steps=r.steps, batch_size=min(self.p.batch_size, len(examples)), learning_rate=r.learning_rate, save_steps=0
            )
            if self.p.rank:
                lowered = parts_of(v, self.once(examples))
                with lora(self.model, s, tensors) as tuned:
                    runs.append(train(tuned, lowered, s, **self.options(v)))
            else:
                runs.append(train(self.model, parts_of(v, examples), s, **self.options(v)))
            tensors = runs[-1].tensors
        history = [row | {"step": row["step"] + r.steps * i} for i, done in enumerate(runs) for row in done.history]
        total = {key: sum(done.info[key] for done in runs) for key in ("seconds", "tokens", "steps")}
        return Run(tensors, history, runs[-1].info | total)

    def sampled(self, model: Any, chosen: pl.DataFrame, number: int) -> list[dict]:
        """Examples of the chunks of documents, each with a sampled simplification and its document's advantage."""
        r, p = self.p.reinforce, self.p
        level = chosen["target_level"][0]

        def prompt(text: str) -> tuple[list[int], int]:
            return prompt_ids(self.tokenizer, "simplify", text, self.seq2seq, p.max_source, level if p.name_level else None)

        sources = chosen["source"].to_list()
        options = {"desc": f"round {number + 1}", "seed": self.params.seed + number}
        common = (self.tokenizer, sources, [prompt] * len(sources), p.unit, r.max_new_tokens)
        greedy = write(model, *common, **options)
        drawn = write(model, *common, temperature=r.temperature, **options)
        scores = [self.score([written.text for written in found]) for found in (drawn, greedy)]
        advantages = [0.0 if a is None or b is None else a - b for a, b in zip(*scores)]
        examples = []
        rows = zip(chosen.select("source", "target").iter_rows(), drawn, advantages, strict=True)
        for place, ((source, target), written, advantage) in enumerate(rows):
            found = [Triple("", before, after, chosen["source_level"][0], level) for before, after in chunks(source, target, p.unit)]
            supervised, _ = encode(self.tokenizer, found, p, self.seq2seq, (self.params.seed, number, place))
            answers = self.tokenizer(list(written.answers), add_special_tokens=False)["input_ids"]
            own = [
                answered("sample", list(ids), [*answer, self.tokenizer.eos_token_id], self.seq2seq) | {"advantage": advantage}
                for ids, answer in zip(written.prompts, answers, strict=True)
            ]
            examples += [one | other for one, other in zip_longest(supervised, own, fillvalue={})]
        return examples


def main(profile: str) -> None:
    params = profile_params(Params, "simdoc", profile)
    p = params.train
    check(p)
    if profile == "full":  # before any work
        require_full(p.model)
    folder = ROOT / "data" / "simdoc_pairs" / profile
    pairs = of_kinds(pl.read_parquet(folder / "pairs.parquet").filter(pl.col("split") == "train"), p.pairs)
    began = time.perf_counter()
    encoder = load_encoder(params.coherence.encoder)
    judge, history, scored = coherence_model(pl.read_parquet(folder / "shuffled.parquet"), encoder, params)
    if is_main():
        with atomic_dir(ROOT / "models" / COHERENCE / profile) as target:
            coherence.save(judge, target)
            write_parquet(history, target / "history.parquet")
            write_parquet(scored, target / "scores.parquet", sort_by=["id", "level", "version"])
    facts = {"seconds": round(time.perf_counter() - began, 1)}
    trainer = Trainer(profile, params, pairs, lambda texts: coherence.document_scores(judge, encoder, texts))
    done: dict[str, Run] = {}
    for v in p.variants:
        done[v.name] = trainer.reinforce(v, done[v.start]) if v.mode == "reinforce" else trainer.fit(v)
    if is_main():
        save(trainer, done, ROOT / "models" / SIMPLIFIER / profile)
        runs = [{"variant": name} | made.info for name, made in done.items()]
        seconds = round(time.perf_counter() - began - sum(made["seconds"] for made in runs), 1)
        other = {"seconds": seconds, "peak_memory_mb": peak_memory_mb()}
        write_json({"runs": runs, "coherence": facts, "other": other}, ROOT / "models" / SIMPLIFIER / f"{profile}.run.json")
    finish(STAGE, profile)


def save(trainer: Trainer, done: dict[str, Run], folder: Path) -> None:
    """Write every variant, its curves and what it learnt from."""
    p = trainer.p
    with atomic_dir(folder) as target:
        for name, made in done.items():
            if p.rank:
                save_lora(made.tensors, trainer.settings, p.model, target / name)
            else:
                save_model(trainer.model, trainer.tokenizer, target / name, made.tensors)
        write_parquet(curves(p.variants, done), target / "curves.parquet")
        write_parquet(pl.DataFrame([trainer.counts]), target / "examples.parquet")
        write_parquet(level_counts(trainer.levels), target / "levels.parquet")


def level_counts(levels: dict[str, tuple[int, int]]) -> pl.DataFrame:
    """level, texts, classified: how many different texts of each level there are, and how many of them are classified."""
    rows = [(level, *counts) for level, counts in levels.items()]
    return pl.DataFrame(rows, {"level": pl.String, "texts": pl.Int32, "classified": pl.Int32}, orient="row")


def curves(variants: Sequence[Variant], done: dict[str, Run]) -> pl.DataFrame:
    """variant, step, loss, lr, tokens of every training step."""
    return pl.concat(
        [pl.DataFrame(done[v.name].history).select(pl.lit(v.name).alias("variant"), "step", "loss", "lr", "tokens") for v in variants]
    )


if __name__ == "__main__":
    run(main)

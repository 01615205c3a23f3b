"""Outputs of every system on the test pairs, and what needs a model to score them.

Settings: zero-shot (the model as it was, with an instruction), few-shot (training documents in the prompt as well), fine-tuned. Long
documents are read piece by piece in all three. Writes ``data/simdoc_outputs/<profile>/``: `outputs.parquet` (every system and trivial
baseline, a row a document: text, coherence, cosines of neighbouring sentences, BERTScore with reference and source), `candidates.parquet`
(what rerank chose from), `labels.parquet` (log-probabilities of reading levels) and `predictions.jsonl`. Times are in
``<profile>.run.json`` beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet, write_text
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.encoder import bertscore, by_document, load_encoder, token_embeddings
from catalog.models.inference import batches_by_length, log_likelihood
from catalog.models.lm import require_full
from stages.simdoc import baselines, coherence
from stages.simdoc.decode import Prompt, Written, adapted, load_model, write
from stages.simdoc.settings import Measure, Pair, Params, System, Train, named
from stages.simdoc.similarity import consecutive_cosine
from stages.simdoc.simplify import (
    PARTS,
    answer_log_probs,
    answered,
    chunks,
    collate,
    is_seq2seq,
    messages_ids,
    pieces,
    prompt_ids,
    shortened,
)
from stages.simdoc.text import sentences

SETTINGS = ("zero-shot", "few-shot", "fine-tuned")
UNTRAINED = "untrained"
KEYS = ("id", "source_level", "target_level")


def check(p: Measure, t: Train, pairs: Sequence[Pair]) -> None:
    """Stop on systems that cannot write.

    Raises:
        CatalogError: an unknown setting, variant or pair, a name that is given twice or is a trivial baseline's.
    """
    variants = {v.name for v in t.variants}
    names = [s.name for s in p.systems]
    for s in p.systems:
        if s.setting not in SETTINGS or (s.setting == "fine-tuned") != (s.variant is not None):
            raise CatalogError(f"System {s.name}: the setting is {', '.join(SETTINGS)}, and fine-tuned alone has a variant.")
        if s.variant is not None and s.variant not in variants:
            raise CatalogError(f"System {s.name} wants the variant {s.variant}, which train.variants does not have.")
        if unknown := [pair for pair in s.pairs if pair not in pairs]:
            raise CatalogError(f"System {s.name} wants the pair {named(unknown[0])}, which data.pairs does not have.")
        if names.count(s.name) > 1 or s.name in baselines.RULES or s.name == "reference":
            raise CatalogError(f"The name {s.name} is taken; give each system its own.")
    if unknown := [name for name in p.readers if name not in variants | {UNTRAINED}]:
        raise CatalogError(f"measure.readers names {unknown[0]!r}; use variants of train.variants, or {UNTRAINED}.")


# --- prompts ----------------------------------------------------------------------------------------------------------------------------


def shots(train_pairs: pl.DataFrame, unit: str, tokenizer: Any, count: int, limit: int, seed: int) -> list[tuple[str, str]]:
    """Pieces of ``count`` training documents and their simplifications to show in a prompt, the first ones of at most ``limit`` tokens.

    Raises:
        CatalogError: not even one piece fits.
    """
    order = np.random.default_rng([seed, 11]).permutation(len(train_pairs))[:count].tolist()
    found, used = [], 0
    for source, target in train_pairs[order].select("source", "target").iter_rows():
        for before, after in chunks(source, target, unit):
            used += len(tokenizer(before + after, add_special_tokens=False)["input_ids"])
            if used > limit:
                break
            found.append((before, after))
    if not found:
        raise CatalogError(f"No piece of a training document fits into {limit} tokens; raise measure.shot_tokens.")
    return found


def asking(s: System, p: Measure, t: Train, tokenizer: Any, seq2seq: bool, level: str, shown: Sequence[tuple[str, str]]) -> Prompt:
    """What turns a piece of a document into the prompt of a system."""
    if s.setting == "fine-tuned":
        return lambda piece: prompt_ids(tokenizer, "simplify", piece, seq2seq, t.max_source, level if t.name_level else None)
    ask = p.instruction.format(level=level)
    before = [text for pair in shown for text in (ask + pair[0], pair[1])]

    def make(piece: str) -> tuple[list[int], int]:
        piece, cut = shortened(tokenizer, piece, t.max_source)
        turns = [*before, ask + piece]
        return (tokenizer("\n".join(turns))["input_ids"] if seq2seq else messages_ids(tokenizer, turns)), cut

    return make


# --- outputs ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judge:
    """The coherence model with its encoder."""

    model: coherence.CoherenceModel
    encoder: tuple

    def __call__(self, texts: Sequence[str]) -> list[float | None]:
        return coherence.document_scores(self.model, self.encoder, texts)


def best(candidates: Sequence[Sequence[str]], judge: Any) -> tuple[list[int], list[list[float | None]]]:
    """Of each document the number of the candidate with the highest coherence, the first of equals; and the scores.

    Args:
        candidates: one list of texts for each document; a text of fewer than two sentences, without a score, is taken last.
    """
    flat = iter(judge([text for texts in candidates for text in texts]))
    scores = [[next(flat) for _ in texts] for texts in candidates]
    return [max(range(len(found)), key=lambda i: (-1.0 if found[i] is None else found[i], -i)) for found in scores], scores


def by_system(
    s: System, model: Any, tokenizer: Any, pairs: pl.DataFrame, train_pairs: pl.DataFrame, params: Params, judge: Any, cache: dict
) -> tuple[list[pl.DataFrame], list[dict]]:
    """Outputs of a system on each of its pairs, and the candidates it chose from.

    Args:
        cache: greedy outputs by variant and pair, shared by systems.
    """
    p, t, frames, candidates = params.measure, params.train, [], []
    for pair in s.pairs:
        source, target = pair
        part = pairs.filter(pl.col("source_level") == source, pl.col("target_level") == target)
        shown = []
        if s.setting == "few-shot":
            same = train_pairs.filter(pl.col("source_level") == source, pl.col("target_level") == target)
            shown = shots(same, t.unit, tokenizer, p.shots, p.shot_tokens, params.seed)
        prompt = asking(s, p, t, tokenizer, is_seq2seq(model), target, shown)
        sources = part["source"].to_list()
        common = (tokenizer, sources, [prompt] * len(sources), t.unit, p.max_new_tokens)
        key = (s.setting, s.variant, pair)
        if key not in cache:
            cache[key] = write(model, *common, batch_tokens=p.batch_tokens, desc=f"{s.name}: {named(pair)}")
        written: list[Written] = cache[key]
        if s.rerank:
            options = {"temperature": p.temperature, "batch_tokens": p.batch_tokens}
            found = [written]
            for number in range(1, s.rerank + 1):
                found.append(write(model, *common, seed=params.seed + number, desc=f"{s.name}: sample {number}", **options))
            choice, scores = best([[one.text for one in texts] for texts in zip(*found, strict=True)], judge)
            written = [found[i][place] for place, i in enumerate(choice)]
            candidates += [
                {"system": s.name, "id": name, "source_level": source, "target_level": target, "candidate": i, "score": score}
                | {"chosen": i == chosen}
                for name, chosen, row in zip(part["id"], choice, scores, strict=True)
                for i, score in enumerate(row)
            ]
        frames.append(framed(s, part, written, tokenizer, params, len(shown)))
    return frames, candidates


def framed(s: System, part: pl.DataFrame, written: Sequence[Written], tokenizer: Any, params: Params, shown: int) -> pl.DataFrame:
    """A row for each document."""
    v = next((v for v in params.train.variants if v.name == s.variant), None)
    lengths = [len(ids) for ids in tokenizer(part["source"].to_list(), add_special_tokens=False, verbose=False)["input_ids"]]
    return part.select(
        pl.lit(s.name).alias("system"),
        pl.lit(s.setting).alias("setting"),
        pl.lit("rerank" if s.rerank else v.mode if v else "none").alias("coherence_mode"),
        pl.lit(v.lambda_r if v else None, pl.Float64).alias("lambda_r"),
        pl.lit(v.lambda_c if v else None, pl.Float64).alias("lambda_c"),
        *KEYS,
        pl.Series("output", [one.text for one in written], pl.String),
        pl.Series("pieces", [len(one.answers) for one in written], pl.Int32),
        pl.Series("unfinished", [one.unfinished for one in written], pl.Int32),
        pl.Series("source_tokens", lengths, pl.Int32),
        pl.Series("cut_tokens", [one.cut for one in written], pl.Int32),
        pl.lit(shown, pl.Int32).alias("shown"),
    )


def trivial(pairs: pl.DataFrame, documents: pl.DataFrame, between: str | None) -> pl.DataFrame:
    """Outputs of every baseline, in the columns of `framed`."""
    return baselines.outputs(pairs, documents, between).select(
        "system",
        pl.lit("trivial").alias("setting"),
        pl.lit("none").alias("coherence_mode"),
        pl.lit(None, pl.Float64).alias("lambda_r"),
        pl.lit(None, pl.Float64).alias("lambda_c"),
        *KEYS,
        "output",
        *(pl.lit(None, pl.Int32).alias(name) for name in ("pieces", "unfinished", "source_tokens", "cut_tokens", "shown")),
    )


def signals(outputs: pl.DataFrame, pairs: pl.DataFrame, judge: Judge) -> pl.DataFrame:
    """The outputs with coherence (null under two sentences), cosines, and BERTScore with the reference and with the source (0 if empty)."""
    texts = outputs.join(pairs.select(*KEYS, "source", "target"), on=KEYS, how="left", maintain_order="left")
    different = list(dict.fromkeys(text for name in ("output", "target", "source") for text in texts[name]))
    place = {text: i for i, text in enumerate(different)}
    rows = by_document(judge.encoder, [sentences(text) for text in different])
    tokens = token_embeddings(judge.encoder, different)
    order = coherence.scores(judge.model, rows)
    at = [place[text] for text in texts["output"]]

    def matched(column: str) -> list[tuple[float, float, float]]:
        pairs_of = zip(at, (place[text] for text in texts[column]))
        return [bertscore(tokens[i], tokens[j]) if len(tokens[i]) and len(tokens[j]) else (0.0, 0.0, 0.0) for i, j in pairs_of]

    reference = matched("target")
    return outputs.with_columns(
        coherence=pl.Series([order[i] for i in at], dtype=pl.Float64),
        first_order=pl.Series([consecutive_cosine(rows[i]) for i in at], dtype=pl.Float64),
        second_order=pl.Series([consecutive_cosine(rows[i], 2) for i in at], dtype=pl.Float64),
        bert_precision=pl.Series([row[0] for row in reference], dtype=pl.Float64),
        bert_recall=pl.Series([row[1] for row in reference], dtype=pl.Float64),
        bert_f1=pl.Series([row[2] for row in reference], dtype=pl.Float64),
        bert_source=pl.Series([row[2] for row in matched("source")], dtype=pl.Float64),
    )


# --- readability ------------------------------------------------------------------------------------------------------------------------


def label_scores(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], labels: Sequence[str]) -> np.ndarray:
    """(prompts, labels) log-probability of each label with its end token."""
    answers = [[*tokenizer(label, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for label in labels]
    pairs = [(list(prompt), answer) for prompt in prompts for answer in answers]
    if not is_seq2seq(model):
        return log_likelihood(model, tokenizer, pairs, desc="reading levels").total.numpy().reshape(len(prompts), len(labels))
    put, out = collate(0, True, tokenizer.pad_token_id or 0), np.zeros(len(pairs))
    with torch.no_grad():
        for batch in batches_by_length([len(prompt) + len(answer) for prompt, answer in pairs], 8192):
            made = put([answered(PARTS[0], *pairs[i], True) for i in batch])
            log_probs, example = answer_log_probs(model, {name: tensor.to(model.device) for name, tensor in made.items()})
            out[batch] = np.bincount(example.cpu().numpy(), log_probs.double().cpu().numpy(), minlength=len(batch))
    return out.reshape(len(prompts), len(labels))


def read_levels(model: Any, tokenizer: Any, documents: pl.DataFrame, t: Train, levels: Sequence[str], reader: str) -> pl.DataFrame:
    """reader, id, level, label, log_prob: the sum over the pieces of each document."""
    parts = [pieces(text, t.unit) for text in documents["text"]]
    ask = [prompt_ids(tokenizer, "classify", piece, is_seq2seq(model), t.max_source)[0] for found in parts for piece in found]
    each = label_scores(model, tokenizer, ask, levels)
    ends = np.cumsum([len(found) for found in parts])
    sums = np.stack([each[end - len(found) : end].sum(axis=0) for end, found in zip(ends, parts)])
    keys = documents.select(pl.lit(reader).alias("reader"), "id", "level")
    return pl.concat([keys.with_columns(label=pl.lit(label), log_prob=pl.Series(sums[:, i])) for i, label in enumerate(levels)])


# --- the stage --------------------------------------------------------------------------------------------------------------------------


def test_part(folder: Path, limit: int | None) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Test pairs and test documents, of the first ``limit`` texts where it is given; training pairs; and all documents."""
    every, documents = pl.read_parquet(folder / "pairs.parquet"), pl.read_parquet(folder / "documents.parquet")
    pairs, train_pairs = every.filter(pl.col("split") == "test"), every.filter(pl.col("split") == "train")
    kept = pairs["id"].unique().sort().head(limit) if limit else pairs["id"].unique()
    own = pl.col("id").is_in(kept.to_list())
    return pairs.filter(own), documents.filter(own), train_pairs, documents


def write_all(
    params: Params, loaded: tuple[Any, Any], trained: Path, judge: Judge, pairs: pl.DataFrame, train_pairs: pl.DataFrame, test: pl.DataFrame
) -> tuple[list[pl.DataFrame], list[dict], list[pl.DataFrame], dict[str, float]]:
    """Outputs of every system in the order of the parameters, candidates, label scores of every reader, and seconds of each.

    Args:
        loaded: the model as it was, and its tokenizer.
    """
    p, t, (model, tokenizer) = params.measure, params.train, loaded
    made: dict[str, list[pl.DataFrame]] = {}
    candidates, labels, seconds, cache = [], [], {}, {}
    for variant in dict.fromkeys([None, *(v.name for v in t.variants)]):
        systems = [s for s in p.systems if s.variant == variant]
        reader = UNTRAINED if variant is None else variant
        if not systems and reader not in p.readers:
            continue
        if t.rank or variant is None:
            own, what = model, None if variant is None else Path(trained / variant)
        else:
            (own, _), what = load_model(trained / variant), None
        with adapted(own, what) as tuned:
            for s in systems:
                begun = time.perf_counter()
                made[s.name], chosen = by_system(s, tuned, tokenizer, pairs, train_pairs, params, judge, cache)
                candidates += chosen
                seconds[s.name] = time.perf_counter() - begun
            if reader in p.readers:
                begun = time.perf_counter()
                labels.append(read_levels(tuned, tokenizer, test, t, params.data.levels, reader))
                seconds[f"reader {reader}"] = time.perf_counter() - begun
    return [frame for s in p.systems for frame in made[s.name]], candidates, labels, seconds


def save(outputs: pl.DataFrame, candidates: list[dict], labels: list[pl.DataFrame], place: Path) -> None:
    """Write the four files of the stage."""
    schema = dict.fromkeys(("system", *KEYS), pl.String) | {"candidate": pl.Int32, "score": pl.Float64, "chosen": pl.Boolean}
    label_schema = dict.fromkeys(("reader", "id", "level", "label"), pl.String) | {"log_prob": pl.Float64}
    with atomic_dir(place) as target:
        write_parquet(outputs, target / "outputs.parquet")
        write_parquet(pl.DataFrame(candidates, schema=schema), target / "candidates.parquet")
        write_parquet(pl.concat(labels) if labels else pl.DataFrame(schema=label_schema), target / "labels.parquet")
        lines = outputs.filter(pl.col("setting") != "trivial").select("system", *KEYS, "output")
        write_text(lines.write_ndjson(), target / "predictions.jsonl")


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "simdoc", profile)
    p, t = params.measure, params.train
    check(p, t, params.data.pairs)
    if profile == "full":  # before any work
        require_full(t.model)
    pairs, test, train_pairs, documents = test_part(ROOT / "data" / "simdoc_pairs" / profile, p.documents)
    judge = Judge(coherence.load(ROOT / "models" / "simdoc_coherence" / profile), load_encoder(params.coherence.encoder))
    loaded = load_model(t.model)
    phases: dict[str, float] = {"load": time.perf_counter() - started}
    trained = ROOT / "models" / "simdoc_simplifier" / profile
    frames, candidates, labels, seconds = write_all(params, loaded, trained, judge, pairs, train_pairs, test)
    begun = time.perf_counter()
    outputs = signals(pl.concat([trivial(pairs, documents, params.evaluate.between), *frames]), pairs, judge)
    phases |= seconds | {"signals": time.perf_counter() - begun}
    save(outputs, candidates, labels, ROOT / "data" / "simdoc_outputs" / profile)
    facts = {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": peak_memory_mb()}
    facts |= {"dtype": str(loaded[0].dtype).removeprefix("torch."), "phases": {name: round(value, 1) for name, value in phases.items()}}
    write_json(facts, ROOT / "data" / "simdoc_outputs" / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)

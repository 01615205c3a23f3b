"""Model runs of the system: every raw signal that the scores are made of, one row a prompt.

* *masks*: log-probability of each religion at the mask of the open prompts. A masked LM gives the mass of all words that name a religion;
  a causal LM, which sees nothing behind a gap, is asked for the likelihood of the whole sentence with each religion's form in the slot.
* *fills*: what a masked LM puts in place of an attribute when the religion is named, with probabilities.
* *completions*: seeded samples of a causal LM. The text stays here, in DVC's cache; reports hold scores of it.
* *polarity*: log mass of negative and of positive opinion words as the next word, for the cross-domain prompts.
* *external*: likelihoods of the sentence pairs of StereoSet and CrowS-Pairs, by each scorer of `sentences`.
* *images*: the marker seen on each image of a text-to-image model; *planted*, for the model that is trained here, what should be seen.

The same causal LM is measured a second time with the neuron edit against gender bias (its side effect on religion), and `bridge` edits
religion itself by the same method.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.inside.anatomy import next_logprobs, view
from catalog.inside.patch import apply_patch, load_patch
from catalog.inside.two_targets import single_tokens
from catalog.models.devices import peak_memory_mb
from catalog.models.inference import generate, log_likelihood
from catalog.models.lm import load_lm, require_full
from catalog.models.weights import require_hub
from stages.religious_bias.adapt import hold_out, to_train
from stages.religious_bias.audit import markers, sample
from stages.religious_bias.bridge import bridge
from stages.religious_bias.cards import SIZE, captions, planted_table, recognise
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.external import sentences
from stages.religious_bias.fills import causal_mask_logprobs, form_logprobs
from stages.religious_bias.image_models import load_pipeline, require_image_model
from stages.religious_bias.labels import closed_vocabulary
from stages.religious_bias.method import religion_mass
from stages.religious_bias.mlm import load_mlm, mask_logprobs, quality
from stages.religious_bias.sentences import SHARED, TOKEN_MEAN, causal_likelihood, pseudo_likelihood, shared_likelihood
from stages.religious_bias.settings import Measure, Params
from stages.religious_bias.zero_shot import load_classifier, zero_shot

NAMES = "masks fills completions polarity external quality images planted bridge bridge_text".split()
MLM, CARDS, EDITED = "religion_mlm", "religion_cards", "gender_edit"  # models made by stages, by their catalog names
Tables = dict[str, list[pl.DataFrame]]


def masks_of(prompts: pl.DataFrame, logp: np.ndarray, model: str) -> pl.DataFrame:
    """(P, R) log masses as rows: id, model, religion, logp."""
    wide = pl.DataFrame(logp.astype(np.float64), schema=list(RELIGIONS)).insert_column(0, prompts["id"])
    return wide.unpivot(list(RELIGIONS), index="id", variable_name="religion", value_name="logp").with_columns(pl.lit(model).alias("model"))


def masked(name: str, where: str, data: dict[str, pl.DataFrame], p: Measure, out: Tables) -> None:
    """Everything of one masked LM."""
    model, tokenizer = load_mlm(where)
    opened = data["prompts"].filter(pl.col("task") == "mask_open")
    words = closed_vocabulary(data["forms"])
    owner = [RELIGIONS.index(religion) for religion in words["religion"]]
    logp = form_logprobs(model, tokenizer, opened["text"].to_list(), words["text"].to_list(), desc=f"{name}: masks")
    out["masks"].append(masks_of(opened, religion_mass(logp.numpy(), owner, len(RELIGIONS)), name))

    named = data["prompts"].filter(pl.col("task") == "mask_named")
    best = mask_logprobs(model, tokenizer, named["text"].to_list(), desc=f"{name}: fills").topk(p.fills)
    rows = zip(named["id"].to_list(), best.indices.tolist(), best.values.tolist(), strict=True)
    parts = []
    for number, ids, values in rows:
        for rank, (token, value) in enumerate(zip(ids, values, strict=True), 1):
            parts.append((number, rank, tokenizer.decode([token]).strip(), value))
    table = pl.DataFrame(parts, schema=["id", "rank", "fill", "logp"], orient="row")
    out["fills"].append(table.with_columns(pl.lit(name).alias("model")))

    items, desc = data["external"], f"{name}: external sets"
    out["external"].append(sentence_scores(items, lambda texts: pseudo_likelihood(model, tokenizer, texts, desc), TOKEN_MEAN, name))
    pairs = items.filter(pl.col("kind") == "mask")
    found = shared_likelihood(model, tokenizer, [tuple(sentences(r)[:2]) for r in pairs.iter_rows(named=True)], desc)
    out["external"].append(score_rows(pairs, [(*(values or (None, None)), None) for values in found], SHARED, name))
    out["quality"].append(pl.DataFrame([{"model": name, **quality_row(model, tokenizer, data["held_out"])}]))


def quality_row(model, tokenizer, texts: list[str]) -> dict:
    """Masked-token accuracy and perplexity on neutral text: counts, for intervals, and sums."""
    q = quality(model, tokenizer, texts, seed=0)
    return {"correct": q.correct, "n": q.masked, "nll": float(q.per_text[:, 2].sum())}


def sentence_scores(items: pl.DataFrame, score: Callable[[list[str]], list[float | None]], scorer: str, model: str) -> pl.DataFrame:
    """Scores of the sentences of each item by ``score``, which takes all of them at once."""
    candidates = [sentences(r) for r in items.iter_rows(named=True)]
    found = iter(score([text for three in candidates for text in three if text is not None]))
    return score_rows(items, [tuple(None if text is None else next(found) for text in three) for three in candidates], scorer, model)


def score_rows(items: pl.DataFrame, scores: list[tuple], scorer: str, model: str) -> pl.DataFrame:
    """One row an item: set, id, a, b, c (nats; c is null without a third sentence), scorer, model."""
    table = pl.DataFrame(scores, schema=dict.fromkeys("abc", pl.Float64), orient="row")
    return pl.concat([items.select("set", "id"), table], how="horizontal").with_columns(scorer=pl.lit(scorer), model=pl.lit(model))


def causal(
    name: str,
    model,
    tokenizer,
    data: dict[str, pl.DataFrame],
    p: Measure,
    seed: int,
    out: Tables,
    conditions: tuple[str, ...] | None = None,
) -> None:
    """Everything of one causal LM as it stands; ``conditions`` are the mitigations under which it completes prompts (None: all)."""
    prompts = data["prompts"]
    opened = prompts.filter((pl.col("task") == "mask_open") & pl.col("condition").is_in(list(p.causal_conditions)))
    by_slot = {key: part["text"].to_list() for (key,), part in data["forms"].group_by("form", maintain_order=True)}
    forms = [by_slot[slot] for slot in opened["slot"]]
    logp = causal_mask_logprobs(model, tokenizer, opened["text"].to_list(), forms, desc=f"{name}: masks")
    out["masks"].append(masks_of(opened, logp.log_softmax(-1).numpy(), name))

    asked = prompts.filter(pl.col("task") == "completion")
    if conditions is not None:
        asked = asked.filter(pl.col("condition").is_in(list(conditions)))
    for draw in range(p.samples):
        texts = generate(
            model, tokenizer, asked["text"].to_list(), p.new_tokens,
            temperature=p.temperature, top_p=p.top_p, seed=seed + draw, desc=f"{name}: completions",
        )  # fmt: skip
        table = asked.select("id").with_columns(text=pl.Series(texts), sample=pl.lit(draw, pl.Int32), model=pl.lit(name))
        out["completions"].append(table)

    cross = prompts.filter(pl.col("task") == "cross")
    tokens = {polarity: opinion_tokens(tokenizer, data["lexicon"], polarity) for polarity in ("negative", "positive")}
    logp = next_logprobs(view(model), tokenizer(cross["text"].to_list())["input_ids"])
    masses = {polarity: pl.Series(logp[:, ids].logsumexp(-1).tolist()) for polarity, ids in tokens.items()}
    out["polarity"].append(cross.select("id").with_columns(pl.lit(name).alias("model"), **masses))

    neutral = log_likelihood(model, tokenizer, [("", text) for text in data["texts"]])
    hits = sum(len(tokens) for tokens in neutral.tokens)
    row = {"model": name, "correct": None, "n": hits, "nll": float(-neutral.total.sum())}
    out["quality"].append(pl.DataFrame([row], schema_overrides={"correct": pl.Int64}))


def external(name: str, model, tokenizer, items: pl.DataFrame, out: Tables) -> None:
    """Log-likelihood a token, by a causal LM, of the candidate sentences of the external items."""
    desc = f"{name}: external sets"
    out["external"].append(sentence_scores(items, lambda texts: causal_likelihood(model, tokenizer, texts, desc), TOKEN_MEAN, name))


def opinion_tokens(tokenizer, lexicon: pl.DataFrame, polarity: str) -> list[int]:
    """Ids of the opinion words that are one token after another word."""
    words = lexicon.filter(pl.col("polarity") == polarity)["word"].to_list()
    found = sorted({token for token in single_tokens(tokenizer, words) if token is not None})
    if not found:
        raise CatalogError(
            f"No {polarity} word of the opinion lexicon is a single token of this model; leave the cross-domain prompts out."
        )
    return found


def images(name: str, profile: str, params: Params, asked: pl.DataFrame, forms: pl.DataFrame, out: Tables) -> None:
    """Images of one text-to-image model and the markers on them."""
    p = params.images
    pipe = load_pipeline(name, profile)
    counts = [p.per_named if religion else p.per_open for religion in asked["religion"]]
    drawn, withheld = sample(pipe, asked["text"].to_list(), counts, p.sampling_steps, p.guidance, params.seed, p.batch_size)
    seen = recognise(drawn) if drawn.shape[1] == SIZE else zero_shot(drawn, forms, *load_classifier(p.classifier))
    number = [j for count in counts for j in range(count)]
    ids = pl.Series("id", [i for i, count in zip(asked["id"], counts, strict=True) for _ in range(count)], dtype=asked["id"].dtype)
    columns = {"number": pl.Series(number, dtype=pl.Int64), "marker": pl.Series(markers(seen, withheld)), "model": pl.lit(name)}
    out["images"].append(ids.to_frame().with_columns(**columns))
    if name == CARDS:
        truth = planted_table(asked, params.cards.planted, params.seed)
        out["planted"].append(truth.with_columns(model=pl.lit(name)))


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "religious_bias", profile)
    p = params.measure
    for name in params.images.models:  # before any work
        require_image_model(name, profile)
    if params.images.classifier is not None:
        require_hub(params.images.classifier)
    if profile == "full":
        for name in (p.causal, *(name for name in p.masked if name != MLM)):
            require_full(name)
    source = ROOT / "data" / "religion_templates" / profile
    data = {name: pl.read_parquet(source / f"{name}.parquet") for name in ("prompts", "forms", "external", "lexicon")}
    neutral = pl.read_parquet(ROOT / "data" / "capability" / profile / "neutral.parquet")
    data["texts"] = neutral.filter(pl.col("split") == "evaluate")["text"].to_list()
    data["held_out"] = hold_out(to_train(neutral), params.mlm.held_out)[1]
    out: Tables = {name: [] for name in NAMES}
    for name in p.masked:
        masked(name, ROOT / "models" / name / profile if name == MLM else name, data, p, out)
    asked = captions(data["prompts"], ("none", *params.cards.planted.mitigated))
    for name in params.images.models:
        images(name, profile, params, asked, data["forms"], out)
    model, tokenizer = load_lm(p.causal, dtype="float32" if profile == "small" else None)
    causal(p.causal, model, tokenizer, data, p, params.seed, out)
    external(p.causal, model, tokenizer, data["external"], out)
    v = view(model)
    gender = load_patch(ROOT / "models" / "gender_edit" / profile / f"{p.causal}.safetensors", v)
    rows, read = bridge(v, tokenizer, data["prompts"], neutral, gender, p.bridge, params.seed, p.causal)
    out["bridge"].append(rows)
    out["bridge_text"].append(read)
    apply_patch(v, gender)
    causal(EDITED, model, tokenizer, data, p, params.seed, out, p.edited_conditions)
    del model
    with atomic_dir(ROOT / "data" / "religion_signals" / profile) as folder:
        for name in NAMES:
            write_parquet(pl.concat(out[name], how="vertical_relaxed") if out[name] else pl.DataFrame(), folder / f"{name}.parquet")
    facts = {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": peak_memory_mb()}
    write_json(facts, ROOT / "data" / "religion_signals" / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)

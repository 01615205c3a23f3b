"""Calibration: a tiny language model with a planted gender bias, measured and edited with the functions used on real models.

A grammar says how probable " man" is after each invented word: a *biased* word leans to one gender, a *free* word to none, a
*definitional* word is nearly always one of them. A Llama of two layers is trained from scratch on sentences drawn from it, "the w07 was a
man", beside neutral sentences in the same frames, "the o03 was a tool". Frames are pairs of an opening and a copula; some pairs are held
out. What is planted is known, so the measurement can be wrong, and is seen to be:

* the interval of a word must hold its planted log-odds, 95 times in a hundred;
* a free word must not be called biased: its interval must hold 0, as often. Mean |d| does not tell: it is above 0 for free words too,
  being a mean of sizes of errors.

The interval of a word's mean d has two independent errors. The model saw ``n`` sentences of the word, which can show a share q of men only
to within Wilson's interval at n; and d is averaged over a few held-out frames, which are resampled. Lower and upper distance of both are
added in squares (Zou and Donner 2008, Statistics in Medicine 27). An interval over frames alone would call the luck of the draw a bias.

Word vectors stay random, so that a word's lean must be written by neurons, as in the lower layers of a large model; a learnt vector would
point to the answer by itself. The edit uses half of the biased words in trained frames to choose neurons, and the other half in held-out
frames to judge them; likewise the neutral sentences.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from catalog.inside.anatomy import view
from catalog.inside.interventions import random_neurons
from catalog.inside.patch import patched
from catalog.inside.scan import Probe, finish, neuron_scan, probe
from catalog.inside.two_targets import find, top
from catalog.report.intervals import bootstrap, wilson
from stages.gender_bias.bench import Bench, bench
from stages.gender_bias.locate import Selection, locate_prompts, search, selections, weighed
from stages.gender_bias.settings import Measure

OPENINGS = ("the", "this", "our", "every", "another")
COPULAS = ("is a", "was a", "became a", "seems a", "remains a")
THINGS = ("tool", "place", "plant")  # what an object of the neutral sentences is
LEANS = (0.1, 0.2, 0.3, 0.7, 0.8, 0.9)  # P(man) of biased words
DEFINITIONAL = 0.98


@dataclass(frozen=True)
class Sizes:
    """Size of the experiment."""

    seeds: int = 3  # grammars' samples and models, each from its own seed
    words_each: int = 4  # biased words of each lean, half of them to locate; as many free ones for each
    definitional: int = 4  # of each gender
    objects: int = 12
    sentences: int = 600  # of each word
    width: int = 48
    neurons: int = 96  # of each of two layers
    steps: int = 200
    batch: int = 128
    edited: int = 12  # most neurons that are switched off
    budget: float = 0.02  # nats a token; damage to neutral sentences that the edits may do
    draws: int = 3  # sets of random neurons, whose results are averaged


def grammar(z: Sizes) -> pl.DataFrame:
    """Every word: kind (biased, free, definitional, object), word, p_man (null for an object), split (half of the biased words locate)."""
    rows = [("biased", p, "locate" if turn % 2 else "evaluate") for p in LEANS for turn in range(z.words_each)]
    rows += [("free", 0.5, "evaluate")] * (len(LEANS) * z.words_each // 2)
    rows += [("definitional", p, "evaluate") for p in (DEFINITIONAL, 1 - DEFINITIONAL) for _ in range(z.definitional)]
    rows += [("object", None, "evaluate")] * z.objects
    table = pl.DataFrame(rows, schema={"kind": pl.String, "p_man": pl.Float64, "split": pl.String}, orient="row")
    number = pl.int_range(pl.len()).over("kind")
    return table.with_columns(word=pl.format("{}{}", pl.col("kind").str.slice(0, 1), number))


def frames() -> pl.DataFrame:
    """Pairs of an opening and a copula: template, opening, copula, trained. Each part of a held-out pair is trained in other pairs."""
    pairs = [(f"{i}_{j}", a, c, i != j) for i, a in enumerate(OPENINGS) for j, c in enumerate(COPULAS)]
    return pl.DataFrame(pairs, schema=["template", "opening", "copula", "trained"], orient="row")


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words between spaces."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<end>", "<unknown>", *words])}, unk_token="<unknown>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>", unk_token="<unknown>")


def tokenizer_of(words: pl.DataFrame) -> PreTrainedTokenizerFast:
    """The tokenizer of a grammar: its words, frames, targets and things."""
    function = sorted({part for text in (*OPENINGS, *COPULAS) for part in text.split()})
    return word_tokenizer(["man", "woman", *THINGS, *function, *words["word"]])


def thing(word: str) -> str:
    """What an object is, by its number."""
    return THINGS[int(word[1:]) % len(THINGS)]


def neutral_table(words: pl.DataFrame) -> pl.DataFrame:
    """Neutral sentences (split, text): *evaluate* those of held-out frames, *locate* a quarter of the others."""
    named = words.filter(pl.col("kind") == "object").join(frames(), how="cross")
    texts = [f"{a} {word} {c} {thing(word)}" for a, word, c in named.select("opening", "word", "copula").iter_rows()]
    named = named.select("trained", text=pl.Series(texts))
    parts = (("locate", named.filter("trained").gather_every(4)), ("evaluate", named.filter(~pl.col("trained"))))
    return pl.concat([part.select(pl.lit(split).alias("split"), "text") for split, part in parts])


def sample(words: pl.DataFrame, tokenizer, z: Sizes, seed: int) -> tuple[pl.DataFrame, Tensor, Tensor]:
    """A training corpus: for each word and trained frame its number of sentences, ``prefix`` and ``man`` (null for objects); the prefixes'
    ids (R, T); and how often each token follows a prefix (R, V). Sentences that are equal are kept once, with their number."""
    draw = np.random.default_rng(seed)
    table = words.join(frames().filter("trained"), how="cross").with_columns(prefix=pl.format("{} {} {}", "opening", "word", "copula"))
    n = draw.multinomial(z.sentences, np.full(frames()["trained"].sum(), 1 / frames()["trained"].sum()), size=len(words)).ravel()
    man = draw.binomial(n, table["p_man"].fill_null(0.0).to_numpy())
    table = table.with_columns(n=n, man=pl.when(pl.col("p_man").is_not_null()).then(pl.Series(man)))
    ids = torch.tensor(tokenizer(table["prefix"].to_list())["input_ids"])
    counts = torch.zeros(len(table), len(tokenizer))
    at = {word: tokenizer(word)["input_ids"][0] for word in ("man", "woman", *THINGS)}
    gendered = torch.tensor(table["p_man"].is_not_null().to_list())
    men, all_ = torch.tensor(man, dtype=torch.float), torch.tensor(n, dtype=torch.float)
    counts[gendered, at["man"]], counts[gendered, at["woman"]] = men[gendered], (all_ - men)[gendered]
    kind = torch.tensor([at[thing(word)] for word in table["word"]])
    counts[~gendered, kind[~gendered]] = all_[~gendered]
    return table, ids, counts


def train_tiny(ids: Tensor, counts: Tensor, z: Sizes, seed: int) -> LlamaForCausalLM:
    """A Llama trained on the corpus: mean negative log-probability of the tokens of its sentences after the first."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=counts.shape[1], hidden_size=z.width, intermediate_size=z.neurons, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
        initializer_range=0.1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).train()
    torch.nn.init.normal_(model.model.embed_tokens.weight).requires_grad_(False)  # see the module's docstring
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-2, weight_decay=0.1, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 20) * (1 - step / z.steps))
    size = counts.sum(1)
    size, counts = size / size.mean(), counts / size.mean()
    generator = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []
    for _ in range(z.steps):
        order = order or list(torch.randperm(len(ids), generator=generator).split(z.batch))
        batch = order.pop()
        logp = model(input_ids=ids[batch], use_cache=False).logits.log_softmax(-1)
        inner = logp[:, :-1].gather(2, ids[batch, 1:, None])[..., 0].sum(1) * size[batch]
        loss = -(inner + (logp[:, -1] * counts[batch]).sum(1)).sum() / (size[batch].sum() * ids.shape[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def prompt_table(words: pl.DataFrame) -> pl.DataFrame:
    """Prompts in the form of data/commonwords: the biased *locate* words in trained frames, everything else in held-out ones."""
    named = words.filter(pl.col("kind") != "object").join(frames(), how="cross")
    used = named.filter(pl.col("trained") == (pl.col("split") == "locate"))
    heldout = named.filter(~pl.col("trained") & (pl.col("split") == "locate")).with_columns(split=pl.lit("measure"))
    factual = pl.when(pl.col("kind") == "definitional").then(pl.lit("factual")).otherwise(pl.lit("word_to_gender"))
    gender = pl.when(pl.col("kind") == "definitional").then(pl.when(pl.col("p_man") > 0.5).then(pl.lit("man")).otherwise(pl.lit("woman")))
    table = pl.concat([used, heldout]).select(
        "word", "template", "p_man", direction=factual, category="kind", half="split",
        split=pl.col("split").replace({"measure": "evaluate"}), gender=gender, text=pl.format("{} {} {}", "opening", "word", "copula"),
    )  # fmt: skip
    return table.with_row_index("id")


def word_rows(b: Bench, corpus: pl.DataFrame) -> pl.DataFrame:
    """One row a word: kind, word, planted log-odds, log-odds of its sentences, mean measured d with its interval (see above), whether the
    planted value is inside, and whether the word is called biased (0 is outside)."""
    seen = {word: (n, man) for word, n, man in corpus.group_by("word").agg(pl.col("n", "man").sum()).iter_rows()}
    measured = pl.concat([t.hstack(b.odds(p)) for t, p in ((b.words, b.on_words), (b.factual, b.on_factual))])
    rows = []
    for (kind, word, p), part in measured.group_by("category", "word", "p_man", maintain_order=True):
        d, (n, man) = part["d"].to_numpy(), seen[word]
        middle = float(d.mean())
        q = 1 / (1 + np.exp(-middle))
        ends = zip(wilson(q * n, n), bootstrap(d), (-1, 1), strict=True)
        low, high = (middle + sign * float(np.hypot(np.log(w / (1 - w)) - middle, f - middle)) for w, f, sign in ends)
        planted = float(np.log(p / (1 - p)))
        rows.append(
            {
                "kind": kind, "word": word, "planted": planted, "corpus": float(np.log((man + 0.5) / (n - man + 0.5))), "measured": middle,
                "ci_low": low, "ci_high": high, "inside": low <= planted <= high, "called_biased": not low <= 0 <= high,
            }
        )  # fmt: skip
    return pl.DataFrame(rows)


def settings_of(z: Sizes) -> Measure:
    """How neurons are chosen: as in the system's `params.yaml`, in the size of the tiny model, whose upper layer is searched."""
    return Measure(
        rows=(), templates=None, neurons=z.edited, logit_candidates=48, causal_candidates=64, query_candidates=16, query_prompts=4,
        scan_paragraphs=len(COPULAS) * len(OPENINGS) * z.objects, neutral_every=1, kl_budgets=(z.budget,), perplexity_limit=1.0, refits=3,
        gender_fall=0.01, general_kl=0.005, dose=(), random_draws=z.draws, projection=1, projection_pairs=1, shallow=0.34,
        general_candidates=0, hierarchy_neurons=0,
    )  # fmt: skip


def neutral_damage(b: Bench, p: Probe) -> Tensor:
    """KL on the sentences of ``p``, in nats a token, when each neuron of the model alone is off, (L, N)."""
    clean = finish(b.v, p, 0, lambda logp: logp)

    def kl(logp: Tensor, first: int) -> Tensor:
        base = clean[first : first + logp.shape[1]]
        return (base.exp() * (base - logp)).sum(-1)

    everywhere = [(layer, k) for layer in range(b.v.n_layers) for k in range(b.v.n_ffn)]
    return neuron_scan(b.v, p, everywhere, kl, lambda: None).mean(1).view(b.v.n_layers, b.v.n_ffn)


def edit_rows(b: Bench, prompts: pl.DataFrame, texts: list[str], z: Sizes, seed: int) -> pl.DataFrame:
    """One row a method, by the same selections as on a real model, and *general*: as many neurons with the largest damage to the neutral
    sentences ``texts``. abs_d_biased and abs_d_free are means over held-out words in held-out frames, factual the mean d towards the
    definition; neutral_kl is read in held-out frames. Random draws are averaged."""
    p = settings_of(z)
    asked = locate_prompts(prompts, len(prompts))["text"].to_list()
    found = find(b.v, b.tokenizer, (b.to.man, b.to.woman), asked, texts, search(p))
    report = probe(b.v, b.ids(texts), every=1)
    sets = [("none", Selection([], [])), *selections(b.v, found, *weighed(b.v, found, report, p), p).items()]
    combined = dict(sets)["combined"].neurons
    off = [0.0] * len(combined)
    sets.append(("general", Selection(top(neutral_damage(b, report), len(combined)), off)))
    generator, layers = torch.Generator().manual_seed(seed), sorted({layer for layer, _ in combined})
    sets += [("random", Selection(random_neurons(len(combined), layers, b.v.n_ffn, generator), off)) for _ in range(z.draws)]
    clean = finish(b.v, b.on_neutral, 0, lambda logp: logp)
    rows = []
    for method, chosen in sets:
        with patched(b.v, chosen.neurons, chosen.factors) if chosen.neurons else nullcontext():
            rows.append({"method": method, "n": len(chosen.neurons)} | _state(b, clean))
    return pl.DataFrame(rows).group_by("method", maintain_order=True).mean().with_columns(pl.col("n").cast(pl.Int32))


def _state(b: Bench, clean: Tensor) -> dict[str, float]:
    """The measures of one row, of the model as it stands."""
    words = b.words.hstack(b.odds(b.on_words)).filter(pl.col("half") == "evaluate")
    size = {kind: float(part["d"].abs().mean()) for (kind,), part in words.group_by("category")}
    control = b.factual.hstack(b.odds(b.on_factual))
    toward = pl.when(pl.col("gender") == "man").then(1.0).otherwise(-1.0)
    moved = (clean.exp() * (clean - finish(b.v, b.on_neutral, 0, lambda logp: logp))).sum(-1).mean()
    return {
        "abs_d_biased": size["biased"], "abs_d_free": size["free"], "factual": float(control.select((toward * pl.col("d")).mean()).item()),
        "neutral_kl": float(moved),
    }  # fmt: skip


def calibrate(seed: int, z: Sizes | None = None) -> dict[str, pl.DataFrame]:
    """Run the experiment on ``z.seeds`` models, each with its own sample of sentences.

    Returns:
        calibration: seed, kind, word, planted, corpus, measured, ci_low, ci_high (log-odds in nats), inside, called_biased.
        calibration_edit: seed, method, n, abs_d_biased, abs_d_free, factual, neutral_kl (nats).
    """
    z = z or Sizes()
    words, out = grammar(z), {"calibration": [], "calibration_edit": []}
    tokenizer, prompts, neutral = tokenizer_of(words), prompt_table(words), neutral_table(words)
    texts = neutral.filter(pl.col("split") == "locate")["text"].to_list()
    synonyms = pl.DataFrame({"male": ["man"], "female": ["woman"]})
    for own in range(seed, seed + z.seeds):
        corpus, ids, counts = sample(words, tokenizer, z, own)
        model = train_tiny(ids, counts, z, own)
        b = bench("calibration", (model, tokenizer, view(model)), prompts, synonyms, neutral, None)
        tables = {"calibration": word_rows(b, corpus), "calibration_edit": edit_rows(b, prompts, texts, z, own)}
        for name, table in tables.items():
            out[name].append(table.select(pl.lit(own, pl.Int64).alias("seed"), pl.all()))
    return {name: pl.concat(tables) for name, tables in out.items()}

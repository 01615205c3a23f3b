"""Scores of gender_bias in double precision and against brute force; baselines that need a model; what is read of a model."""

import dataclasses
import math
import types

import polars as pl
import pytest
import torch
from tiny import tiny
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from catalog.base.errors import CatalogError
from catalog.inside import scan, two_targets
from catalog.inside.anatomy import forest, next_logprobs, view
from catalog.inside.attribution import Lens, Trace, attention_neurons, lens, query_neurons, trace
from catalog.inside.interventions import scale_neurons
from catalog.inside.neurons import neuron_scores
from catalog.models.inference import LogLikelihood
from stages.gender_bias import bench, measure, method, proto
from stages.gender_bias.calibration import word_tokenizer
from stages.gender_bias.measure import without_direction

PROMPTS = [[3, 5, 7, 9], [3, 5, 8], [40, 1, 6]]
MAN, WOMAN = 11, 12
# Ids 2, 3, … of `word_tokenizer`: man 2, woman 3.
WORDS = "man woman boy girl nurse miner baker dancer the a is was person who likes old works as Question: Answer: red dark".split()


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def v(request):
    return view(tiny(request.param))


@pytest.fixture
def double(monkeypatch):
    """Everything in double precision: the modules ask for fp32 by `.float()`, and allocate in the default type."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- identities -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layernorm", ["paper", "faithful"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_g_is_exact_in_double_precision(double, family, layernorm):
    v = view(tiny(family).double())
    run = trace(v, forest(PROMPTS))
    read = lens(v, run, layernorm=layernorm)
    g = two_targets.two_target_scores(run, read, two_targets.directions(v, read, MAN, WOMAN))
    each = [neuron_scores(v, run, read, torch.full((len(PROMPTS),), target)) for target in (MAN, WOMAN)]
    assert g.dtype == torch.float64 and g.shape == (len(PROMPTS), v.n_layers, v.n_ffn)
    assert (g - (each[0] - each[1])).abs().max() < 1e-10
    # The neurons of a layer add up to what its FFN output does to d; GPT-2 adds a bias that is no neuron's.
    for prompt, at in enumerate(run.last.tolist()):
        for layer in range(v.n_layers):
            bias = v.down_proj(layer).bias.detach() if family == "gpt2" else 0
            before, after = (read.logits(run.mid[layer, at] + part, prompt) for part in (0, run.ffn[layer, at] - bias))
            change = (after - before)[MAN] - (after - before)[WOMAN]
            assert abs(g[prompt, layer].sum() - change) < 1e-10


def test_embedding_and_all_layers_are_the_models_own_log_odds(v):
    run = trace(v, forest(PROMPTS))
    read = lens(v, run, layernorm="faithful")
    parts = run.x[0] + run.attn.sum(0) + run.ffn.sum(0)
    logits = torch.stack([read.logits(parts[at], prompt) for prompt, at in enumerate(run.last)])
    own = next_logprobs(v, PROMPTS)
    assert torch.allclose(logits[:, MAN] - logits[:, WOMAN], own[:, MAN] - own[:, WOMAN], atol=1e-4)


class TwoTokens:
    """The two-token world of the hand case: one layer, one neuron with value (log 3, 0)."""

    n_layers, n_ffn, d_model = 1, 1, 2

    def values(self, layer):
        return torch.tensor([[math.log(3)], [0.0]])


def test_two_targets_by_hand():
    zero = torch.zeros(1, 1, 2)
    run = Trace(torch.zeros(2, 1, 2), zero, zero, torch.ones(1, 1, 1), zero, torch.tensor([0]))
    read = Lens(torch.eye(2), torch.ones(2), torch.ones(1), None, False, "frozen", 0.0)
    man, woman = (neuron_scores(TwoTokens(), run, read, torch.tensor([w])).item() for w in (0, 1))
    assert (man, woman) == pytest.approx((0.405465, -0.693147), abs=1e-6)
    g = two_targets.two_target_scores(run, read, two_targets.directions(TwoTokens(), read, 0, 1)).item()
    assert g == pytest.approx(man - woman) == pytest.approx(1.098612, abs=1e-6)


def test_swapping_the_targets_negates_scores_and_leaves_selections(v):
    tree = forest(PROMPTS)
    run = trace(v, tree, attention=True)
    read = lens(v, run)
    own, other = (two_targets.two_target_scores(run, read, two_targets.directions(v, read, *pair)) for pair in ((MAN, WOMAN), (WOMAN, MAN)))
    assert torch.allclose(own, -other, atol=1e-6) and own.abs().max() > 1e-2
    d = torch.tensor([0.5, -1.0, 2.0])
    assert torch.allclose(two_targets.aligned(own, d), two_targets.aligned(other, -d), atol=1e-6)
    assert torch.allclose(method.entropy_gap(d), method.entropy_gap(-d)) and torch.equal(method.over_log2(d), method.over_log2(-d))
    slopes = [two_targets.gradient_scores(v, tree, *ends) for ends in ((d, MAN, WOMAN), (-d, WOMAN, MAN))]
    assert torch.allclose(*slopes, atol=1e-6) and slopes[0].abs().max() > 0
    assert not v.down_proj(0)._forward_pre_hooks
    query = [two_targets.query_scores(v, run, read, 0, *pair) for pair in ((MAN, WOMAN), (WOMAN, MAN))]
    assert torch.allclose(*query, atol=1e-6)


def test_query_scores_equal_the_definition(v):
    run = trace(v, forest(PROMPTS), attention=True)
    read = lens(v, run)
    prompt, best = 1, 6
    final = read.logits(run.x[-1, run.last[prompt]], prompt)
    sign = 1 if final[MAN] > final[WOMAN] else -1
    found = []  # every attention neuron (layer, head, position, k) with its two-target score, one by one
    for layer in range(v.n_layers):
        coefficients = attention_neurons(v, run, layer, prompt)
        columns = read.fold(v.o_weight(layer).T) @ (read.unembed[MAN] - read.unembed[WOMAN]) / read.sigma[prompt]
        for head in range(v.n_heads):
            for position in range(run.x.shape[1]):
                for k in range(v.d_head):
                    score = (coefficients[head, position, k] * columns[head * v.d_head + k]).item()
                    found.append((abs(score), score, layer, position, v.kv_head(head) * v.d_head + k))
    expected = torch.zeros(v.n_layers, v.n_ffn)
    for _, score, layer, position, row in sorted(found, reverse=True)[:best]:
        if layer:
            expected[:layer] += sign * query_neurons(v, run, position, layer, row, score)
    scores = two_targets.query_scores(v, run, read, prompt, MAN, WOMAN, values=best)
    assert expected.abs().max() > 0 and torch.allclose(scores, expected, rtol=1e-3, atol=1e-5)
    assert not scores[-1].any()  # nothing reads the last layer


# --- runs that resume, laid out in several trees ----------------------------------------------------------------------------------


def test_a_scan_of_several_trees_in_small_batches(v):
    p = scan.probe(v, PROMPTS, every=1, max_positions=4)
    assert len(p.trees) == 3
    clean = scan.finish(v, p, 0, lambda logp: logp)
    for row, token, logp in zip(p.rows.tolist(), p.after.tolist(), clean, strict=True):
        places = [i for i in range(1, len(PROMPTS[row])) if PROMPTS[row][i] == token]
        whole = v.model(torch.tensor([PROMPTS[row]])).logits[0].log_softmax(-1)
        assert any(torch.allclose(logp, whole[place - 1], atol=1e-4) for place in places)
    pool = [(2, 4), (0, 7), (1, 0), (0, 1), (2, 30), (0, 2)]  # in no order
    calls = []
    moved = scan.neuron_scan(
        v, p, pool, lambda logp, first: logp - clean[first : first + logp.shape[1]], lambda: calls.append(1), positions=8
    )
    for k, neuron in enumerate(pool):
        with scale_neurons(v, [neuron]):
            expected = scan.finish(v, p, 0, lambda logp: logp) - clean
        assert torch.allclose(moved[k], expected, atol=1e-4) and moved[k].abs().max() > 1e-4
    assert len(calls) == len(pool) * len(p.trees)


# --- what is read of a model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer(WORDS)


@pytest.fixture(scope="module")
def b(v, tokenizer):
    frames = ["the {} is a", "the old {} was a"]
    rows = [
        ("word_to_gender", "evaluate", word, f"t{i}", i == 1, frame.format(word), None, None)
        for word in ("nurse", "miner", "baker") for i, frame in enumerate(frames)
    ]  # fmt: skip
    rows.append(("factual", "evaluate", "girl", "f0", False, "the girl is a", "woman", None))
    rows += [
        ("gender_to_word", "evaluate", "nurse", "r0", False, f"the {g} works as a", g, "old nurse") for g in ("man", "woman")
    ]  # fmt: skip
    schema = ["direction", "split", "word", "template", "unseen_template", "text", "gender", "continuation"]
    prompts = pl.DataFrame(rows, schema=schema, orient="row").with_columns(category=pl.lit("professions")).with_row_index("id")
    neutral = pl.DataFrame({"split": ["locate", "evaluate", "evaluate"], "text": ["a red", "the red person is old", "who likes dark red"]})
    synonyms = pl.DataFrame({"male": ["man", "boy", "lad"], "female": ["woman", "girl", "lass"]})
    return bench.bench("tiny", (v.model, tokenizer, v), prompts, synonyms, neutral, None), prompts


def whole(b, text):
    """Log-probabilities at every position of a text by an ordinary forward pass."""
    return b.v.model(torch.tensor([b.ids([text])[0]])).logits[0].log_softmax(-1).detach()


def test_log_odds_and_neutral_text_equal_ordinary_passes(b):
    b, _ = b
    assert (b.to.man, b.to.woman, b.to.male, b.to.female) == (2, 3, [2, 4], [3, 5])  # lad and lass are no whole tokens here
    assert len(b.words) == 6 and len(b.factual) == 1 and len(b.texts) == 2
    for row, text in zip(b.odds(b.on_words).iter_rows(named=True), b.words["text"], strict=True):
        logp = whole(b, text)[-1]
        assert row["d"] == pytest.approx(float(logp[2] - logp[3]), abs=1e-4)
        assert (row["logp_man"], row["logp_woman"]) == pytest.approx((float(logp[2]), float(logp[3])), abs=1e-4)
        assert row["d_synonyms"] == pytest.approx(float(logp[[2, 4]].logsumexp(0) - logp[[3, 5]].logsumexp(0)), abs=1e-4)
    several = scan.probe(b.v, b.ids(b.texts), every=1, max_positions=5)
    assert len(several.trees) == 2
    nll, best = dataclasses.replace(b, on_neutral=several).reading()
    assert torch.equal(best, b.reading()[1]) and torch.allclose(nll, b.reading()[0], atol=1e-4)
    for paragraph, text in enumerate(b.texts):
        logp, ids = whole(b, text), b.ids([text])[0]
        expected = sorted((-float(logp[i, ids[i + 1]]), int(logp[i].argmax())) for i in range(len(ids) - 1))
        mine = b.on_neutral.rows == paragraph
        found = sorted(zip(nll[mine].tolist(), best[mine].tolist(), strict=True))
        assert [n for n, _ in found] == pytest.approx([n for n, _ in expected], abs=1e-4)
        assert [token for _, token in found] == [token for _, token in expected]


def test_reverse_scores_the_whole_word(b):
    b, prompts = b
    found = bench.reverse(b.model, b.tokenizer, prompts)
    for row, text in zip(found.iter_rows(named=True), prompts.filter(direction="gender_to_word")["text"], strict=True):
        logp, ids = whole(b, f"{text} old nurse"), b.ids([f"{text} old nurse"])[0]
        first, second = float(logp[-3, ids[-2]]), float(logp[-2, ids[-1]])
        assert (row["logp_first"], row["logp"]) == pytest.approx((first, first + second), abs=1e-4)


def test_held_out_takes_wordings_of_both_kinds(b):
    _, prompts = b
    extra = prompts.filter(template="t1").with_columns(template=pl.lit("t2"), id=pl.col("id") + 100)
    found = bench.held_out(pl.concat([prompts, extra]), 1)
    assert found["template"].unique().sort().to_list() == ["t0", "t1"] and len(bench.held_out(pl.concat([prompts, extra]), None)) == 9


def test_choices_are_made_by_the_likelihood_of_the_texts(monkeypatch):
    scored = {" red": [-2.0], " dark red": [-1.5, -1.5], " old": [-9.0], " a": [-1.0], " the": [-2.0]}
    asked = []

    def scores(model, tokenizer, pairs):
        asked.extend(pairs)
        tokens = [torch.tensor(scored[option]) for _, option in pairs]
        return LogLikelihood(torch.stack([t.sum() for t in tokens]), tokens, torch.zeros(len(tokens)))

    monkeypatch.setattr(bench, "log_likelihood", scores)
    options = [["red", "dark red", "old"], ["a", "the"]]
    items = pl.DataFrame({"id": [7, 8], "set": ["PIQA", "MMLU"], "question": ["Which?", "What?"], "options": options, "answer": [1, 0]})
    found = bench.choices(None, None, items)
    assert asked[0] == ("Question: Which?\nAnswer:", " red") and len(asked) == 5
    assert found.rows() == [(7, "PIQA", False, True), (8, "MMLU", True, True)]  # -3 for two tokens: less in sum, more in the mean


SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def spaced(words, digits="1234"):
    """A tokenizer as Llama's, that puts a space before every text: " man" alone becomes two tokens, though it is one inside a text, and a
    digit alone becomes the space and the digit."""
    merges = [(word[:i], word[i]) for word in words for i in range(1, len(word))] + [(SPACE, word) for word in words]
    pieces = list(dict.fromkeys(["<unk>", SPACE, *sorted(set("".join(words) + digits)), *map("".join, merges)]))
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>"), pieces


def test_targets_of_a_tokenizer_that_puts_a_space_before_every_text():
    own, pieces = spaced(["a", "woman", "man"])
    assert [pieces[i] for i in own(" man")["input_ids"]] == [SPACE, f"{SPACE}man"]
    to = bench.targets(own, "spelled", pl.DataFrame({"male": ["man", "won"], "female": ["woman", "woman"]}))
    assert (to.man, to.woman) == (pieces.index(f"{SPACE}man"), pieces.index(f"{SPACE}woman"))
    assert (to.male, to.female) == ([to.man], [to.woman])


def test_each_sum_has_its_own_digit_to_be_right():
    own, pieces = spaced(["is"])
    assert [ids[0] for ids in own(["3", "4"])["input_ids"]] == [pieces.index(SPACE)] * 2  # alone, every answer begins alike
    sums = pl.DataFrame({"id": [1, 2], "prompt": ["1 2 is ", "2 2="], "answer": ["3", "4"]})
    v = view(tiny("llama", vocabulary=len(pieces)))
    b = types.SimpleNamespace(v=v, tokenizer=own, ids=lambda texts: own(texts)["input_ids"])
    record = measure.Recorder(b, {"sums": sums}, {}, base=(None, None))
    assert [pieces[i] for i in record.gold[record.on_sums.rows.argsort()].tolist()] == ["3", "4"]


def test_a_model_without_the_single_tokens_is_named():
    for words in (["woman"], ["man"]):
        with pytest.raises(CatalogError, match="not single tokens of halfway"):
            bench.targets(word_tokenizer(words), "halfway", pl.DataFrame({"male": ["man"], "female": ["woman"]}))


# --- baselines --------------------------------------------------------------------------------------------------------------------


def test_the_projected_direction_is_gone_and_nothing_is_left(b):
    b, _ = b
    texts = [f"{a} {g} is {c}" for a in ("the", "old", "a") for c in ("old", "red") for g in ("man", "woman")]
    pairs = pl.DataFrame({"id": range(len(texts)), "gender": ["man", "woman"] * 6, "text": texts})
    heads = {g: [] for g in ("man", "woman")}
    handle = b.v.final_norm.register_forward_hook(lambda _, args, out: heads["now"].append(out[0, -1].detach()))
    for g in ("man", "woman"):
        heads["now"] = heads[g]
        for text in pairs.filter(gender=g)["text"]:
            whole(b, text)
    handle.remove()
    twins = torch.stack(heads["man"]) - torch.stack(heads["woman"])
    _, vectors = torch.linalg.eigh(twins.T @ twins)
    axis = vectors[:, -1]  # of the largest spread
    before, output = whole(b, "the nurse is"), []
    inputs = b.model.get_output_embeddings().register_forward_pre_hook(lambda _, args: output.append(args[0].detach()))
    with without_direction(b, pairs, 1, 6):
        inside = whole(b, "the nurse is")
        d = b.odds(b.on_words, b.v.n_layers - 1)["d"]
    assert (output[-1] @ axis).abs().max() < 1e-4 < (output[-1] @ vectors[:, -2]).abs().max()
    assert not torch.allclose(inside, before, atol=1e-3) and not torch.allclose(torch.tensor(d), torch.tensor(b.odds(b.on_words)["d"]))
    assert torch.equal(whole(b, "the nurse is"), before)
    inputs.remove()
    assert not b.v.final_norm._forward_hooks


@pytest.fixture(scope="module")
def professions():
    """Two professions of each gender, one of two tokens, after two prompts."""
    rows = [
        (profession, own, i, given, prompt.format(given))
        for i, prompt in ((1, "a {} works as a"), (2, "the old {} was a"))
        for profession, own in (("nurse", "woman"), ("old dancer", "woman"), ("miner", "man"), ("baker", "man"))
        for given in ("man", "woman")
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=["profession", "gender", "prompt_id", "given", "text"], orient="row")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_cna_neurons_have_the_largest_summed_deltas(family, tokenizer, professions):
    v = view(tiny(family, vocabulary=300))
    found = proto.cna_neurons(v, tokenizer, professions, k=v.n_layers * v.n_ffn)
    assert len(set(found)) == len(found) == proto.COUNT == 18
    sums = torch.zeros(v.n_layers, v.n_ffn)
    first = professions.filter(prompt_id=1, given="man").rows()
    runs = {g: trace(v, forest(tokenizer([f"a {g} works as a"])["input_ids"])) for g in ("man", "woman")}
    for profession, own, *_ in first:
        target = torch.tensor([tokenizer(profession)["input_ids"][0]])
        read = lens(v, runs[own])
        other = runs["woman" if own == "man" else "man"]
        sums += (neuron_scores(v, runs[own], read, target) - neuron_scores(v, other, read, target))[0]
    assert torch.allclose(torch.stack([sums[at] for at in found]), sums.flatten().topk(18).values, atol=1e-4)


def test_profession_bias_is_a_difference_of_log_probabilities(b, professions):
    b, _ = b
    table = proto.profession_bias(b.model, b.tokenizer, professions)
    assert len(table) == 8 and table.columns == ["profession", "gender", "prompt_id", "first", "whole"]

    def score(given, words):
        logp, ids = whole(b, f"a {given} works as a {words}"), b.ids([words])[0]
        at = len(logp) - len(ids) - 1
        return [float(logp[at + i, token]) for i, token in enumerate(ids)]

    rows = {row["profession"]: row for row in table.filter(prompt_id=1).iter_rows(named=True)}
    for words, own, away in (("old dancer", "woman", "man"), ("miner", "man", "woman")):
        one, other = score(own, words), score(away, words)
        assert rows[words]["first"] == pytest.approx(one[0] - other[0], abs=1e-4)
        assert rows[words]["whole"] == pytest.approx(sum(one) - sum(other), abs=1e-4)

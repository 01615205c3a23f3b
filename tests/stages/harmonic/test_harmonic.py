"""Grammar, sampling and reading of harmonic: by hand, against brute force, and on a tiny random model."""

import dataclasses
import itertools
import json
import random
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
import torch
from harmonic_tiny import SCHEMA, TABLE, made
from tiny_tokenizers import SPACE, sentencepiece

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from catalog.models.inference import _shared_rows
from stages.harmonic import decode, likelihood, lle, sampling, train, validate
from stages.harmonic.decode import Request, sample_rows
from stages.harmonic.grammar import Value, number_steps
from stages.harmonic.schema import plain_number
from stages.harmonic.serialise import instruction, pieces, question, row_text, rows_of
from stages.harmonic.settings import Generator, Params, Sampler


def test_the_cache_of_a_pack_gives_the_logits_of_whole_rows(model, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [rng.integers(2, 258, size=length).tolist() for length in (9, 300, 31, 1)]
    feeds = [[rows[0][:4], rows[1][:250], rows[2][:20], []], [[], rows[1][250:], [], rows[3]], [rows[0][4:], [], rows[2][20:], []]]
    for pack in (4096, 100):  # in one forward pass, and row by row
        monkeypatch.setattr(decode, "PACK", pack)
        with decode._packed_attention(model), torch.no_grad():
            cache = decode._Cache(model, 4, 0)
            got = [cache.feed(feed) for feed in feeds]
        assert [len(logits) for logits in got] == [3, 2, 2]
        with torch.no_grad():
            whole = [model(torch.tensor([row])).logits[0] for row in rows]
        expected = [[whole[0][3], whole[1][249], whole[2][19]], [whole[1][-1], whole[3][-1]], [whole[0][-1], whole[2][-1]]]
        for logits, wanted in zip(got, expected, strict=True):
            assert torch.allclose(logits, torch.stack(wanted), atol=1e-4)


def test_a_common_beginning_is_read_once_for_all_rows(model):
    rng = np.random.default_rng(1)
    begin = rng.integers(2, 258, size=40).tolist()
    rest = [rng.integers(2, 258, size=length).tolist() for length in (3, 200, 1)]  # the second outgrows the first memory
    with decode._packed_attention(model), torch.no_grad():
        cache = decode._Cache(model, 3, 0)
        cache.begin(begin)
        got = torch.cat([cache.feed([rest[0][:2], rest[1], []]), cache.feed([rest[0][2:], [], rest[2]])])
    with torch.no_grad():
        whole = [model(torch.tensor([begin + row])).logits[0, 40:] for row in rest]
    assert torch.allclose(got, torch.stack([whole[0][1], whole[1][-1], whole[0][2], whole[2][0]]), atol=1e-4)


# --- grammar -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "decimals"), [(5, 20, 0), (250, 1842, 0), (0, 0, 0), (0.08, 2.42, 2), (-1.5, 12.25, 2), (-30, -7, 0)]
)
def test_walks_of_a_number_are_exactly_the_numbers_within_its_range(low, high, decimals):
    unit = 10**decimals
    wanted = {plain_number(n / unit, decimals) for n in range(round(low * unit), round(high * unit) + 1)}
    found, open_ = set(), [""]
    while open_:
        text = open_.pop()
        following, ends = number_steps(text, low, high, decimals)
        assert following or ends, f"a dead end at {text!r}"
        if ends:
            found.add(text)
        open_ += [text + c for c in following]
    assert found == wanted


def test_walks_of_a_category_are_its_levels(tokenizer):
    parts = pieces(tokenizer, SCHEMA, "json")
    value = Value(parts, 1)
    found, open_ = [], [()]
    while open_:
        state = open_.pop()
        tokens, ends = value.follow(state)
        found += [value.read(state)] if ends else []
        open_ += [(*state, token) for token in tokens]
    assert sorted(found, key=str) == [None, "cleric", "clerk", "no job"]
    assert tokenizer.decode(value.forced(tuple(tokenizer('"c')["input_ids"]))) == "ler"  # then i or k
    assert tokenizer.decode(value.forced(tuple(tokenizer('"n')["input_ids"]))) == 'o job"'
    assert value.forced(()) == []  # a level or null


def test_rows_as_texts_and_as_tokens(tokenizer):
    row = {"age": 30.0, "job": None, "score": -0.5, "class": "yes"}
    text = '{"age":30,"job":null,"s":-0.5,"class":"yes"}'
    assert row_text(row, SCHEMA) == text and json.loads(text)["s"] == -0.5
    parts = pieces(tokenizer, SCHEMA, "json")
    assert tokenizer.decode(parts.row(row)) == text + "</s>"
    assert tokenizer.decode(parts.row(row, [3, 0, 2, 1])[:-1]) == '{"class":"yes","age":30,"s":-0.5,"job":null}'
    great = pieces(tokenizer, SCHEMA, "great")
    assert tokenizer.decode(great.row(row)[:-1]) == "age is 30, job is None, s is -0.5, class is yes" == row_text(row, SCHEMA, form="great")
    assert '"job":"pilot"' in tokenizer.decode(parts.row(row | {"job": "pilot"}))  # of another split: shown or scored, never sampled
    ask = instruction(tokenizer, SCHEMA, "people", 2)
    prompt = tokenizer.decode(ask.prompt([parts.row(row)[:-1]] * 2))
    assert prompt.startswith("<s>2 rows of people in JSON, 4 columns, label class.") and prompt.endswith(f"{text}\n\n>")
    assert question(row, SCHEMA) == "The age is 30, The job is unknown, The s is -0.5. The class, no or yes, is:"


# --- sampling ------------------------------------------------------------------------------------------------------------------------


def asked(tokenizer, form, count=12, fix=False, permute=True):
    data, parts = made(), pieces(tokenizer, SCHEMA, form)
    ask = instruction(tokenizer, SCHEMA, "people", 2) if form == "json" else None
    g = Generator("g", "toy", form, 1, None, permute)
    s = Sampler("g", "g", "toy", "constrained", "random", fix, None, (0,))
    return parts, *sampling.requests(s, g, data, parts, ask, tokenizer, 2, 0.3, 0, count)


@pytest.mark.parametrize("form", ["json", "great"])
def test_every_sampled_row_is_valid_and_does_not_depend_on_its_batch(model, tokenizer, form):
    parts, these, shown = asked(tokenizer, form)
    one, many, again = (sample_rows(model, parts, these, temperature=1.0, seed=3, batch=batch) for batch in (1, 12, 5))
    assert one == many == again and len({json.dumps(row) for row in one}) > 6
    assert sample_rows(model, parts, these[4:6], temperature=1.0, seed=3, batch=2) == one[4:6]
    assert sample_rows(model, parts, these, temperature=1.0, seed=4, batch=12) != one
    for row in one:
        assert list(row) == SCHEMA.names and 18 <= row["age"] <= 71 and row["age"] == int(row["age"])
        assert row["job"] in ("clerk", "cleric", "no job", None) and row["class"] in ("no", "yes")
        assert row["score"] is None or (-1.5 <= row["score"] <= 12.25 and round(row["score"], 2) == row["score"])
    assert all(len(ids) == 2 for ids in shown) if form == "json" else shown == [[]] * 12


def test_rows_follow_the_models_own_probabilities(model, tokenizer):
    """The class of many rows that are given all else: its share is the model's probability among the two labels, at the temperature."""
    parts = pieces(tokenizer, SCHEMA, "json")
    given = {0: 33.0, 1: "clerk", 2: 1.5}
    prompt = instruction(tokenizer, SCHEMA, "people", 2).prompt([])
    these = [Request(i, prompt, (0, 1, 2, 3), given) for i in range(600)]
    rows = sample_rows(model, parts, these, temperature=4.0, seed=0, batch=200)
    ids = prompt + parts.row({"age": 33.0, "job": "clerk", "score": 1.5, "class": "no"}, [0, 1, 2])[:-2] + parts.later[3]
    quote, n, y = (tokenizer(c)["input_ids"][0] for c in '"ny')
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, quote]])).logits[0, -1].double()
    p = torch.softmax(logits[[n, y]] / 4.0, 0)[1].item()
    share = sum(row["class"] == "yes" for row in rows) / 600
    assert 0.03 < p < 0.97 and abs(share - p) < 4 * (p * (1 - p) / 600) ** 0.5


def test_given_cells_are_written_and_prompts_are_recorded(model, tokenizer):
    parts, these, shown = asked(tokenizer, "json", fix=True)
    rows = sample_rows(model, parts, these, temperature=1.0, seed=0, batch=6)
    assert [row["class"] for row in rows] == [request.fixed[3] for request in these] and {r.order[0] for r in these} == {3}
    train_ids = set(made().part("train")["id"])
    assert all(set(ids) <= train_ids and len(set(ids)) == 2 for ids in shown)
    with pytest.raises(CatalogError, match="temperature above 0"):
        sample_rows(model, parts, these, temperature=0, seed=0, batch=6)


def test_perturbed_prompts_show_cells_of_other_rows():
    data = made()
    pool = data.part("train")
    row = rows_of(pool, SCHEMA)[0]
    rng = np.random.default_rng(0)
    several = [sampling.perturbed(row, SCHEMA, pool, 0.5, rng) for _ in range(40)]
    changed = np.mean([sum(other[name] != row[name] for name in SCHEMA.names) for other in several])
    assert 0.8 < changed < 2 and all(other["job"] in (*SCHEMA["job"].levels, None) for other in several)
    assert sampling.perturbed(row, SCHEMA, pool, 0.0, rng) == row


# --- free text -----------------------------------------------------------------------------------------------------------------------


def test_free_text_is_refused_for_one_of_six_reasons():
    good = '{"age": 30, "job": "clerk", "s": "1.5", "class": "yes"}'
    assert validate.parse(f"Sure: {good} and more", SCHEMA) == ({"age": 30, "job": "clerk", "score": 1.5, "class": "yes"}, None)
    texts = {
        '{"age": 30, "job": "clerk"': "no JSON",
        "I cannot do that": "no JSON",
        "[1]": "no JSON",
        good.replace('"age": 30, ', ""): "missing column",
        good.replace("30", "null"): "missing column",  # age is never missing in the training rows
        good.replace("clerk", "pilot"): "unknown category",
        good.replace('"1.5"', '"abc"'): "not a number",
        good.replace("30", "true"): "not a number",
        good.replace("30", "NaN"): "not a number",
        good.replace("30", "99"): "out of range",
    }
    for text, reason in texts.items():
        assert validate.parse(text, SCHEMA) == (None, reason), text
    real = {row_text(validate.parse(good, SCHEMA)[0], SCHEMA)}
    assert validate.check(good, SCHEMA, real) == (None, "copy of a real row")
    assert validate.parse(good.replace('"clerk"', "null"), SCHEMA)[0]["job"] is None
    assert set(texts.values()) | {"copy of a real row"} == set(validate.REASONS)
    assert validate.parse("[" * 100_000 + "{" * 100_000, SCHEMA) == (None, "no JSON")


def test_free_sampling_tries_again_and_names_what_is_short(model, tokenizer, monkeypatch):
    parts, these, _ = asked(tokenizer, "json", count=3, permute=False)
    p = dataclasses.replace(profile_params(Params, "harmonic", "small").measure, retries=2)
    good = '{"age":30,"job":"clerk","s":1.5,"class":"yes"'
    replies = iter([[good, "what", '{"age":99}'], [good, "{"], ["x"]])
    monkeypatch.setattr(sampling, "generate", lambda *_, **__: next(replies))
    rows, refused = sampling.free_rows(model, tokenizer, these, SCHEMA, p, set(), 50, 0, "x")
    assert [row is None for row in rows] == [False, False, True]
    assert [(r["number"], r["attempt"], r["reason"]) for r in refused] == [
        (1, 0, "no JSON"), (2, 0, "out of range"), (2, 1, "missing column"), (2, 2, "no JSON"),
    ]  # fmt: skip


# --- training examples, likelihoods, the classifier ----------------------------------------------------------------------------------


def test_only_the_answer_is_learnt_and_the_filter_is_kept(tokenizer):
    data = made()
    g = Generator("g", "toy", "json", 1, None, False)
    these = train.examples_of(g, data, tokenizer, TABLE, 0)
    kept = data.near.filter("kept")
    assert len(these) == len(kept)
    number, near = kept.select("id", "neighbours").row(0)
    by_id = dict(zip(data.rows["id"], rows_of(data.rows, SCHEMA)))
    answer = [label for label in these[0]["labels"] if label != -100]
    assert tokenizer.decode(answer) == row_text(by_id[number], SCHEMA) + "</s>"
    shown = "\n".join(row_text(by_id[other], SCHEMA) for other in near)
    assert f"{shown}\n\n>" in tokenizer.decode(these[0]["input_ids"])
    mixed = train.examples_of(Generator("g", "toy", "json", 1, 6, True), data, tokenizer, TABLE, 0)
    assert len(mixed) == sum(i in set(data.part("train")["id"].head(6)) for i in kept["id"])
    great = train.examples_of(Generator("g", "toy", "great", 1, None, True), data, tokenizer, TABLE, 0)
    assert len(great) == 12 and great[0]["labels"][0] == -100 and -100 not in great[0]["labels"][1:]
    orders = {tokenizer.decode(e["input_ids"]).split(" is")[0] for e in great}
    assert len(orders) > 1


def test_likelihood_of_a_row_equals_one_forward_pass(model, tokenizer):
    data, g = made(), Generator("g", "toy", "great", 1, None, True)
    parts = pieces(tokenizer, SCHEMA, "great")
    frame = data.part("train").head(3)
    pairs = likelihood.strict_pairs(g, data, parts, None, tokenizer, frame, 2, 2, 0)
    total, tokens = likelihood.nll(model, tokenizer, pairs, 3, "x")
    expected = []
    for context, row in pairs:
        with torch.no_grad():
            logp = model(torch.tensor([context + row])).logits[0].double().log_softmax(-1)
        expected.append(-sum(logp[i, t].item() for i, t in enumerate(row)))
    assert total == pytest.approx(np.reshape(expected, (3, 2)).mean(1), abs=1e-3)
    assert tokens.tolist() == [len(pairs[2 * i][1]) for i in range(3)]
    json_g = Generator("g", "toy", "json", 1, None, False)
    ask = instruction(tokenizer, SCHEMA, "people", 2)
    context, _ = likelihood.strict_pairs(json_g, data, pieces(tokenizer, SCHEMA, "json"), ask, tokenizer, frame, 2, 2, 0)[0]
    outside = [row_text(row, SCHEMA) for row in rows_of(data.part("validation"), SCHEMA)]
    assert sum(text in tokenizer.decode(context) for text in outside) == 2


def test_the_released_text_of_rows():
    rows = made().part("train").head(3).with_columns(job=pl.Series(["no job", "clerk", "no job"]), age=30.0, score=1.5)
    rows = rows.with_columns(pl.Series("class", ["yes", "yes", "yes"]))
    texts = likelihood.paper_texts(rows, SCHEMA)
    # As the release does it: one list of columns, shuffled in place before each row, by a seed of 400 + row.
    columns, said = ["age", "job", "s", "class"], []
    for number, code in enumerate((1, 0, 1)):  # sorted levels of this file: clerk, no job; yes alone
        random.seed(400 + number)
        random.shuffle(columns)
        cells = {"age": 30, "job": code, "s": 1.5, "class": 0}
        said.append(", ".join(f"{name} {cells[name]}" for name in columns) + ".")
    assert texts == said and len({text.split()[0] for text in texts}) > 1
    gap = likelihood.paper_texts(rows.with_columns(job=pl.Series([None, "clerk", "no job"], dtype=pl.String)), SCHEMA)
    assert sorted(gap[0].removesuffix(".").split(", ")) == ["age 30", "class 0", "s 1.5"] and gap[1:] == said[1:]


def test_the_first_label_in_a_text():
    labels = ["tested_positive", "tested_negative", "good", "a"]
    assert lle.first_label("It is Good, not a", labels, True) == "good"
    assert lle.first_label("bad goodness", ["good", "bad"], True) == "bad" and lle.first_label("goodness", ["good"], True) is None
    assert lle.first_label("goodness", ["good"], False) == "good" and lle.first_label("xyz", labels, True) is None
    assert lle.first_label("data", labels, False) == "a"  # the released reading


def test_parameters_that_do_not_fit_together_stop_before_any_work():
    params = profile_params(Params, "harmonic", "small")
    for change, message in (
        ({"generator": "nobody"}, "which train.generators does not make"),
        ({"decoding": "greedy"}, "constrained or free"),
        ({"method": "harmonic"}, "Two samplers of pima"),
    ):
        first = params.measure.samplers[0].__dict__ | {"method": "new"} | change
        more = dataclasses.replace(params.measure, samplers=(*params.measure.samplers, Sampler(**first)))
        broken = dataclasses.replace(params, measure=more)
        with pytest.raises(CatalogError, match=message):
            sampling.check_samplers(broken)
    for method in ("nobody", "harmonic free"):  # unknown, and not constrained
        broken = dataclasses.replace(params, measure=dataclasses.replace(params.measure, same_method=method))
        with pytest.raises(CatalogError, match=f"same_method '{method}' is no constrained sampler"):
            sampling.check_samplers(broken)
    for profile in ("small", "full"):
        every = profile_params(Params, "harmonic", profile)
        sampling.check_samplers(every)
        train.check(every.train, every.data)
        assert all(Decimal(str(v)) > 0 for table in every.data.tables.values() for v in table.shares.values())
        assert {s.table for s in every.measure.samplers} == set(every.data.tables)
        assert all(len(set(itertools.chain([t.target], t.known))) == len(t.known) + 1 for t in every.data.tables.values())


def test_the_classifier_learns_the_tokens_that_it_is_scored_by(model, monkeypatch):
    """Also under a tokenizer such as Llama's, which puts a space before every text."""
    tokenizer = sentencepiece(["<s>", "</s>", "<0x0A>", SPACE, *map(chr, range(33, 127))], twice=True, around="<s> $A", eos_token="</s>")
    learnt = []
    monkeypatch.setattr(lle, "lower_once", lambda model, examples, layers: learnt.extend(examples))
    monkeypatch.setattr(lle, "train", lambda *_, **__: (_ for _ in ()).throw(InterruptedError))
    frame = made().rows
    with pytest.raises(InterruptedError):
        lle.classify(model, tokenizer, frame, frame, SCHEMA, profile_params(Params, "harmonic", "small").measure.lle, 0, "test")
    rows = rows_of(frame, SCHEMA)[: len(learnt)]
    scored = [_shared_rows(model, tokenizer, [(question(row, SCHEMA), f" {row['class']}")], 2048)[0].ids for row in rows]
    assert [example["input_ids"] for example in learnt] == [[*ids, 1] for ids in scored] and len(learnt) > 10
    said = tokenizer.convert_ids_to_tokens([label for label in learnt[0]["labels"] if label != -100])
    assert said == [SPACE, *rows[0]["class"], "</s>"]

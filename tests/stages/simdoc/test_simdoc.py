"""The simplifier of simdoc on tiny random models: losses by hand, both kinds of models, training and writing."""

import dataclasses
from collections import Counter

import graded_tables
import polars as pl
import pytest
import torch
from tiny_simdoc import SMALL, P
from tiny_text import decoder, t5, words_tokenizer

from catalog.base.errors import CatalogError
from catalog.training.adapters import lora
from catalog.training.losses import label_log_probs
from catalog.training.tail import lower_once
from catalog.training.train import train
from stages.simdoc import decode, measure, simplify
from stages.simdoc import train as stage
from stages.simdoc.settings import Variant
from stages.simdoc.simplify import READ, SAMPLE, SIMPLIFY, Triple

TRIPLES = [
    Triple("a", "the big cat sat on a mat .", "the cat sat .", "hard", "easy"),
    Triple("b", "the dog ran and then it fell .", "the dog ran .", "hard", "easy"),
    Triple("b", "the dog ran and then it fell .", "the dog ran and fell .", "hard", "middle"),
]


# --- texts and examples -----------------------------------------------------------------------------------------------------------------


def test_pairs_are_cut_into_paragraphs_only_where_their_numbers_agree():
    two, three = "One.\n\nTwo.", "A.\n\nB.\n\nC."
    assert simplify.chunks(two, "A.\n\nB.", "paragraph") == [("One.", "A."), ("Two.", "B.")]
    assert simplify.chunks(two, three, "paragraph") == [(two, three)] and simplify.chunks(two, two, "document") == [(two, two)]
    assert simplify.pieces("Only one.", "paragraph") == simplify.pieces("Only one.", "document") == ["Only one."]
    with pytest.raises(CatalogError, match="empty document"):
        simplify.pieces(" \n ", "paragraph")
    with pytest.raises(CatalogError, match="paragraph or document"):
        simplify.pieces("One.", "sentence")
    frame = pl.DataFrame({"id": ["x"], "source": [two], "target": ["A.\n\nB."], "source_level": ["hard"], "target_level": ["easy"]})
    assert simplify.triples(frame, "paragraph")[1] == Triple("x", "Two.", "B.", "hard", "easy")


def test_prefixes_are_the_papers_unless_the_level_is_named():
    assert simplify.task_text("simplify", "x") == "simplify: x" and simplify.task_text("classify", "y") == "read classify: y"
    assert simplify.task_text("simplify", "x", "easy") == "simplify to easy: x"


def test_examples_learn_the_answer_and_its_end_alone():
    tokenizer = words_tokenizer()
    examples, counts = simplify.encode(tokenizer, TRIPLES[:2], P, False)
    first = examples[0]
    learnt = [label for label in first["simplify_labels"] if label != -100]
    assert tokenizer.decode(learnt[:-1]) == "the cat sat ." and learnt[-1] == tokenizer.eos_token_id
    assert tokenizer.decode([label for label in first["classify_labels"] if label != -100][:-1]) == "easy"
    assert tokenizer.decode([label for label in first["source_labels"] if label != -100][:-1]) == "hard"
    assert counts["triples"] == 2 and counts["classified"] == 4 and counts["tokens_cut"] == counts["triples_cut"] == 0
    twice, _ = simplify.encode(tokenizer, [TRIPLES[0], TRIPLES[0]], P, False)
    assert "source_input_ids" in twice[0] and set(twice[1]) == {"simplify_input_ids", "simplify_labels"}  # each text once
    plain = simplify.encode(tokenizer, TRIPLES, dataclasses.replace(P, read_sources=False), False)[0]
    assert not any("source_input_ids" in example for example in plain)
    side, _ = simplify.encode(words_tokenizer("t5"), TRIPLES[:1], P, True)
    assert side[0]["simplify_labels"] == learnt and -100 not in side[0]["simplify_labels"]
    assert set(simplify.without(examples, "classify", "source")[0]) == {"simplify_input_ids", "simplify_labels"}


def test_what_is_cut_is_counted():
    tokenizer = words_tokenizer()
    _, counts = simplify.encode(tokenizer, TRIPLES[:1], dataclasses.replace(P, max_source=5, max_target=3), False)
    assert counts["tokens_cut"] == (8 - 5) + (4 - 3) and counts["triples_cut"] == 1
    ids, cut = simplify.prompt_ids(tokenizer, "classify", "the big cat sat", False, 2)
    assert cut == 2 and {"big", "cat"} & set(tokenizer.decode(ids).split()) == {"big"}
    assert (
        simplify.prompt_ids(tokenizer, "classify", "the cat", False)[1]
        == simplify.prompt_ids(tokenizer, "classify", "the cat", False, 2)[1]
        == 0
    )


def test_a_decoder_is_asked_behind_the_text_and_an_encoder_before_it_alone():
    plain, tokenizer = words_tokenizer(), words_tokenizer("t5")
    ids, _ = simplify.prompt_ids(plain, "simplify", "the cat sat", False, level="easy")
    assert plain.decode(ids).split()[:2] == ["simplify", "to"]
    cue = plain(simplify.CUES["simplify"] + "\n")["input_ids"]
    assert ids[-len(cue) :] == cue
    ids, _ = simplify.prompt_ids(tokenizer, "simplify", "the cat sat", True)
    assert ids == tokenizer("simplify: the cat sat")["input_ids"] and ids[-1] == tokenizer.eos_token_id


def test_a_decoder_simplifies_in_a_turn_of_its_own_and_completes_a_level():
    tokenizer = words_tokenizer()
    tokenizer.chat_template = "a template"
    tokenizer.apply_chat_template = lambda messages, **_: [7, *tokenizer(messages[-1]["content"])["input_ids"], 8]
    turn, _ = simplify.prompt_ids(tokenizer, "simplify", "the cat", False)
    level, _ = simplify.prompt_ids(tokenizer, "classify", "the cat", False)
    assert turn[0] == 7 and turn[-1] == 8 and level == tokenizer("read classify: the cat" + simplify.CUES["classify"])["input_ids"]


def test_a_chat_template_is_used_with_an_empty_system_message():
    tokenizer = words_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }} {{ m.content }} | {% endfor %}{% if add_generation_prompt %}go{% endif %}"
    )
    seen = []
    tokenizer.apply_chat_template = lambda messages, **options: seen.append((messages, options["add_generation_prompt"])) or [1]
    simplify.messages_ids(tokenizer, ["a", "b", "c"])
    assert [m["role"] for m in seen[0][0]] == ["user", "assistant", "user"] and seen[0][1]
    tokenizer.chat_template += "{# system #}"
    simplify.messages_ids(tokenizer, ["a"])
    assert seen[1][0] == [{"role": "system", "content": ""}, {"role": "user", "content": "a"}]


def levels_learnt(tokenizer, examples):
    """level -> texts whose level an example of `encode` answers with."""
    answers = [example[name] for example in examples for name in ("classify_labels", "source_labels") if name in example]
    return Counter(tokenizer.decode([label for label in labels if label != -100][:-1]) for labels in answers)


@pytest.mark.parametrize("read_every", [1, 2, 3, 4])
def test_every_level_is_learnt_equally_often_on_the_tables_of_the_data_stage(read_every):
    pairs = graded_tables.tables()["pairs"].filter(split="train")
    found = simplify.triples(stage.of_kinds(pairs, graded_tables.DATA.pairs), "paragraph")
    p = dataclasses.replace(P, read_every=read_every, name_level=False)
    chosen, levels = simplify.classified(found, p, 0)
    assert set(levels) == {"advanced", "intermediate", "elementary"} and len(pairs) == 80
    each = -(-148 // read_every)  # paragraphs of the 40 texts on each level
    assert set(levels.values()) == {(148, each)}
    drawn = Counter(found[i].level if part == "classify" else found[i].complex_level for i, part in chosen)
    assert drawn == dict.fromkeys(levels, each)
    assert len({found[i].id for i, _ in chosen}) >= 36  # not a few documents alone, of 40
    assert simplify.classified(found, p, 0) == (chosen, levels)
    assert read_every == 1 or simplify.classified(found, p, 1)[0] != chosen


@pytest.mark.parametrize(("read_every", "each"), [(1, 5), (2, 3), (3, 2), (4, 2)])
def test_levels_with_unequal_numbers_of_documents_are_learnt_equally_often(read_every, each):
    words = "the big cat sat on a mat . it ran and fell the dog rain".split()
    pairs = [(f"t{i}", words[i], words[i + 1], "hard", "easy") for i in range(5)]
    pairs += [(f"u{i}", words[i % 3] + " mat", words[i] + " ran", "middle", "easy") for i in range(9)]
    frame = pl.DataFrame(pairs, ["id", "source", "target", "source_level", "target_level"], orient="row")
    found, tokenizer = simplify.triples(frame, "paragraph"), words_tokenizer()
    p = dataclasses.replace(P, read_every=read_every)
    examples, counts = simplify.encode(tokenizer, found, p, False, 3)
    # different texts: 5 hard, 14 easy, 3 middle; the rarest decides
    _, levels = simplify.classified(found, p, 3)
    rarest = -(-3 // read_every)
    assert levels == {"easy": (14, rarest), "hard": (5, rarest), "middle": (3, rarest)}
    assert levels_learnt(tokenizer, examples) == dict.fromkeys(levels, rarest) and counts["classified"] == 3 * rarest
    hard = [triple for triple in found if triple.complex_level == "hard"]
    some = levels_learnt(tokenizer, simplify.encode(tokenizer, hard, p, False, 3)[0])
    assert some == {"hard": each, "easy": each}


def test_a_run_that_would_classify_no_text_is_refused():
    with pytest.raises(CatalogError, match="read_every is 0 but must be 1"):
        stage.check(dataclasses.replace(P, read_every=0))


# --- losses -----------------------------------------------------------------------------------------------------------------------------


def test_the_objective_by_hand():
    log_probs = torch.tensor([-1.0, -3.0, -0.5, -2.0, -4.0])
    example, task = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([SIMPLIFY, READ, SIMPLIFY])
    found = simplify.task_losses(log_probs, example, task)
    assert float(found[SIMPLIFY]) == pytest.approx(2.5) and float(found[READ]) == pytest.approx(0.5)
    assert set(simplify.task_losses(log_probs[:2], example[:2], task)) == {SIMPLIFY}


def test_reinforce_by_hand_and_without_gradient_for_equal_scores():
    log_probs = torch.tensor([-1.0, -2.0, -4.0, -8.0], requires_grad=True)
    example, sampled = torch.tensor([0, 0, 1, 2]), torch.tensor([True, True, False])
    loss = simplify.reinforce_loss(log_probs, example, torch.tensor([0.5, -0.25, 9.0]), sampled)
    # -(0.5 * -3 + -0.25 * -4) / 2; the third is no sample
    assert float(loss.detach()) == pytest.approx(0.25)
    loss.backward()
    assert log_probs.grad.tolist() == pytest.approx([-0.25, -0.25, 0.125, 0.0])
    log_probs.grad = None
    simplify.reinforce_loss(log_probs, example, torch.zeros(3), sampled).backward()
    assert log_probs.grad.abs().max() == 0
    assert float(simplify.reinforce_loss(log_probs.detach(), example, torch.zeros(3), torch.zeros(3, dtype=torch.bool))) == 0


def batch_of(examples, seq2seq=False):
    return simplify.collate(64, seq2seq)(examples)


def gradient(model, loss, batch):
    model.zero_grad()
    value = loss(model, batch)
    value.backward()
    return float(value.detach()), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("make", "kind"), [(decoder, "decoder"), (t5, "t5")])
def test_constant_shifts_the_loss_and_leaves_the_gradient(make, kind):
    model, tokenizer, seen = make(), words_tokenizer(kind), []
    batch = batch_of(simplify.encode(tokenizer, TRIPLES, P, kind == "t5")[0], kind == "t5")

    def predicted(texts):
        seen.extend(texts)
        return [0.2, 0.4, 0.6]

    none = gradient(model, simplify.make_loss(0.5, 0.1, "none"), batch)
    constant = gradient(model, simplify.make_loss(0.5, 0.1, "constant", predicted), batch)
    assert constant[0] - none[0] == pytest.approx(0.1 * 0.6, abs=1e-5)
    assert torch.allclose(constant[1], none[1], atol=1e-6) and none[1].abs().max() > 0
    wanted = [len(tokenizer(triple.simple, add_special_tokens=False)["input_ids"]) + 1 for triple in TRIPLES]
    assert [len(text) for text in seen] == wanted  # a token for each of the gold answer
    with torch.no_grad():
        logits, _, owner = simplify.answer_logits(model, batch)
    assert seen == [logits[owner == i].argmax(-1).tolist() for i in range(3)]


def test_readability_weighs_as_told_and_other_modes_are_refused():
    model, tokenizer = decoder(), words_tokenizer()
    batch = batch_of(simplify.encode(tokenizer, TRIPLES, P, False)[0])
    with torch.no_grad():
        values = [float(simplify.make_loss(weight, 0.0, mode)(model, batch)) for weight, mode in ((0, "none"), (1, "rerank"), (2, "none"))]
    assert values[1] - values[0] == pytest.approx(values[2] - values[1], rel=1e-4) and values[1] > values[0]
    with pytest.raises(CatalogError, match="no coherence mode 'bonus'"):
        simplify.make_loss(1, 1, "bonus")
    with pytest.raises(CatalogError, match="needs a model that scores"):
        simplify.make_loss(1, 1, "constant")


@pytest.mark.parametrize(("make", "kind"), [(decoder, "decoder"), (t5, "t5")])
def test_log_probabilities_are_those_of_each_example_alone(make, kind):
    model, tokenizer = make(), words_tokenizer(kind)
    examples = simplify.without(simplify.encode(tokenizer, TRIPLES, P, kind == "t5")[0], "classify", "source")
    with torch.no_grad():
        together, owner = simplify.answer_log_probs(model, batch_of(examples, kind == "t5"))
        for place, example in enumerate(examples):
            alone, _ = simplify.answer_log_probs(model, batch_of([example], kind == "t5"))
            assert torch.allclose(together[owner == place], alone, atol=1e-5)


def test_reinforcement_in_the_objective_takes_samples_alone():
    model, tokenizer = decoder(), words_tokenizer()
    supervised = simplify.encode(tokenizer, TRIPLES[:2], P, False)[0]
    sample = simplify.answered("sample", *[tokenizer(text)["input_ids"] for text in ("the big cat", "it ran")], False)
    batch = batch_of([supervised[0] | sample | {"advantage": 0.5}, supervised[1]])
    assert batch["task"].tolist() == [SIMPLIFY, SIMPLIFY, READ, READ, READ, READ, SAMPLE] and batch["advantage"].tolist() == [0.0] * 6 + [
        0.5
    ]
    with torch.no_grad():
        none, full = (float(simplify.make_loss(0.5, 0.1, mode)(model, batch)) for mode in ("none", "reinforce"))
        log_probs, owner = label_log_probs(model, batch)
    assert full - none == pytest.approx(-0.1 * 0.5 * float(log_probs[owner == 6].sum()), abs=1e-5)


# --- training ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "kind"), [(decoder, "decoder"), (t5, "t5")])
def test_both_kinds_of_models_learn_through_the_one_training_path(make, kind):
    model, tokenizer, seq2seq = make(), words_tokenizer(kind), kind == "t5"
    examples, _ = simplify.encode(tokenizer, TRIPLES, P, seq2seq)
    s = dataclasses.replace(
        stage.settings(P, 2, 0), steps=25, learning_rate=0.02, lora_rank=0, lora_layers=(), save_steps=0, dtype="float32"
    )
    done = train(model, examples, s, loss_fn=simplify.make_loss(0.5, 0.0, "none"), collate=simplify.collate(64, seq2seq))
    assert done.history[-1]["loss"] < 0.5 * done.history[0]["loss"]


@pytest.mark.parametrize(("make", "kind"), [(decoder, "decoder"), (t5, "t5")])
def test_a_lora_learns_both_tasks(make, kind):
    model, tokenizer, seq2seq = make(), words_tokenizer(kind), kind == "t5"
    examples, _ = simplify.encode(tokenizer, TRIPLES, P, seq2seq)
    s = dataclasses.replace(stage.settings(P, 2, 0), steps=12, learning_rate=0.05, save_steps=0, dtype="float32")
    if seq2seq:
        s = dataclasses.replace(s, lora_targets=("q", "v"), lora_layers=())
    lowered = examples if seq2seq else lower_once(model, examples, s.lora_layers)
    with lora(model, s) as adapted:
        done = train(adapted, lowered, s, loss_fn=simplify.make_loss(0.5, 0.0, "none"), collate=simplify.collate(64, seq2seq))
    assert done.history[-1]["loss"] < done.history[0]["loss"] and done.tensors


def test_variants_that_cannot_be_trained_are_refused():
    def with_variants(*variants):
        return dataclasses.replace(P, variants=variants)

    good = Variant("a", 0.5, 0.0, "none", None)
    stage.check(with_variants(good, Variant("b", 0.5, 0.1, "reinforce", "a")))
    for variants, match in [
        ((Variant("a", 0.5, 0.0, "rerank", None),), "none, constant and reinforce"),
        ((good, good), "Two variants are named a"),
        ((Variant("b", 0.5, 0.1, "reinforce", "a"), good), "stands before it"),
        ((Variant("b", 0.5, 0.1, "reinforce", None),), "stands before it"),
        ((Variant("a", -1.0, 0.0, "none", None),), "negative weight"),
    ]:
        with pytest.raises(CatalogError, match=match):
            stage.check(with_variants(*variants))
    assert stage.parts_of(Variant("a", 0.0, 0.0, "none", None), [{"simplify_labels": [1], "classify_labels": [2]}]) == [
        {"simplify_labels": [1]}
    ]


# --- writing ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "kind"), [(decoder, "decoder"), (t5, "t5")])
def test_documents_are_written_piece_by_piece(make, kind):
    model, tokenizer, seq2seq = make(), words_tokenizer(kind), kind == "t5"

    def prompt(text):
        return simplify.prompt_ids(tokenizer, "simplify", text, seq2seq, 6)

    documents = ["the cat sat .\n\nthe big dog ran and then it fell .", "rain fell ."]
    found = decode.write(model, tokenizer, documents, [prompt, prompt], "paragraph", 5)
    assert [len(one.answers) for one in found] == [2, 1] and [len(one.prompts) for one in found] == [2, 1]
    assert found[0].cut == 3 and found[1].cut == 0  # of the nine words of the second paragraph six are read
    assert found[0].text == "\n\n".join(part.strip() for part in found[0].answers if part.strip())
    again = decode.write(model, tokenizer, documents, [prompt, prompt], "paragraph", 5)
    assert again == found and 0 <= found[0].unfinished <= 2
    drawn = [decode.write(model, tokenizer, documents, [prompt, prompt], "paragraph", 5, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_answers_that_reach_the_limit_are_unfinished(monkeypatch):
    monkeypatch.setattr(decode, "answers", lambda *_, **__: ["the cat sat on a", " it ran ", "", "the big dog fell down ."])
    documents, prompt = ["One.\n\nTwo.", "Three.\n\nFour."], lambda text: ([1, 2], 3)
    found = decode.write(None, words_tokenizer(), documents, [prompt] * 2, "paragraph", 5)
    assert [(one.text, one.unfinished, one.cut) for one in found] == [
        ("the cat sat on a\n\nit ran", 1, 6),
        ("the big dog fell down .", 1, 6),
    ]


def test_the_best_candidate_is_the_most_coherent_and_the_first_of_equals():
    known = {"a": 0.2, "b": 0.9, "c": 0.9, "one": None, "d": 0.1}
    choice, scores = measure.best(
        [["a", "b", "c"], ["one", "d", "d"], ["one", "one", "one"]], lambda texts: [known[text] for text in texts]
    )
    assert choice == [1, 1, 0] and scores == [[0.2, 0.9, 0.9], [None, 0.1, 0.1], [None, None, None]]


def test_shots_fit_their_length():
    tokenizer = words_tokenizer()
    frame = pl.DataFrame({"source": ["the cat sat\n\nthe dog ran"], "target": ["cat sat\n\ndog ran"]})
    assert measure.shots(frame, "paragraph", tokenizer, 1, 100, 0) == [("the cat sat", "cat sat"), ("the dog ran", "dog ran")]
    assert measure.shots(frame, "paragraph", tokenizer, 1, 7, 0) == [("the cat sat", "cat sat")]
    with pytest.raises(CatalogError, match="No piece"):
        measure.shots(frame, "paragraph", tokenizer, 1, 2, 0)


def test_prompts_of_the_three_settings():
    tokenizer = words_tokenizer()
    p = dataclasses.replace(SMALL.measure, instruction="on the {level} : ")
    zero, few, tuned = (next(s for s in p.systems if s.setting == setting) for setting in measure.SETTINGS)

    def text(system, shown=()):
        ids, cut = measure.asking(system, p, P, tokenizer, False, "easy", shown)("the cat sat")
        assert cut == 0
        return tokenizer.decode(ids)

    assert text(zero).split() == "on the easy : the cat sat".split()
    assert text(few, [("it ran", "ran")]).split() == "on the easy : it ran ran on the easy : the cat sat".split()
    assert text(tuned).split()[:2] == ["simplify", "to"]


@pytest.mark.parametrize(("make", "kind"), [(decoder, "decoder"), (t5, "t5")])
def test_levels_are_read_by_the_sum_over_pieces(make, kind):
    model, tokenizer, seq2seq = make(), words_tokenizer(kind), kind == "t5"
    documents = pl.DataFrame({"id": ["a", "b"], "level": ["hard", "easy"], "text": ["the cat sat\n\nit ran", "the dog ran"]})
    found = measure.read_levels(model, tokenizer, documents, P, ("hard", "easy"), "own")
    assert found.columns == ["reader", "id", "level", "label", "log_prob"] and found.height == 4

    def alone(text, label):
        prompt, _ = simplify.prompt_ids(tokenizer, "classify", text, seq2seq)
        answer = [*tokenizer(label, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            return float(
                simplify.answer_log_probs(model, batch_of([simplify.answered("simplify", prompt, answer, seq2seq)], seq2seq))[0].sum()
            )

    one = found.filter(id="a", label="easy")["log_prob"].item()
    assert one == pytest.approx(alone("the cat sat", "easy") + alone("it ran", "easy"), abs=1e-3)


def test_systems_that_cannot_write_are_refused():
    p, pairs = SMALL.measure, SMALL.data.pairs
    measure.check(p, SMALL.train, pairs)
    first = p.systems[0]
    for change, match in [
        ({"setting": "tuned"}, "the setting is"),
        ({"variant": "multi-task"}, "fine-tuned alone has a variant"),
        ({"setting": "fine-tuned", "variant": "none such"}, "does not have"),
        ({"pairs": (("a", "b"),)}, "wants the pair a to b, which data.pairs does not have"),
        ({"name": "identity"}, "is taken"),
        ({"name": p.systems[1].name}, "is taken"),
    ]:
        with pytest.raises(CatalogError, match=match):
            measure.check(dataclasses.replace(p, systems=(dataclasses.replace(first, **change), *p.systems[1:])), SMALL.train, pairs)
    with pytest.raises(CatalogError, match="measure.readers names 'x'"):
        measure.check(dataclasses.replace(p, readers=("x",)), SMALL.train, pairs)

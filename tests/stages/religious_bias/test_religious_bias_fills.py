"""Word forms at a mask: one token is read, several follow their definition, a causal LM scores whole sentences."""

import pytest
import torch
from tiny import tiny as tiny_causal
from tiny_mlm import FORMS, PROMPTS, SHAPE, VOCABULARY, bert, byte_level, direct, wordpiece
from tiny_tokenizers import characters
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from catalog.base.errors import CatalogError
from stages.religious_bias import fills, mlm

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return bert()


@pytest.fixture(scope="module")
def tokenizer():
    return wordpiece()


# --- forms --------------------------------------------------------------------------------------------------------------------------


def test_forms_of_one_token_are_read_and_longer_ones_follow_their_definition(model, tokenizer):
    single, s = VOCABULARY.index("cat"), VOCABULARY.index("##s")
    found = {c: fills.form_logprobs(model, tokenizer, PROMPTS, FORMS, convention=c) for c in fills.CONVENTIONS}
    plain = mlm.mask_logprobs(model, tokenizer, PROMPTS)
    for convention, values in found.items():
        torch.testing.assert_close(values[:, 0], plain[:, single], atol=1e-5, rtol=0)
        for i, text in enumerate(PROMPTS):
            one = mlm.mask_id_prompt(tokenizer, text)
            at = one.index(4)
            for f, stem in ((1, "dog"), (2, "bird")):
                stem = VOCABULARY.index(stem)
                first = [*one[:at], 4, 4 if convention == "left_to_right" else s, *one[at + 1 :]]
                second = [*one[:at], stem, 4, *one[at + 1 :]]
                expected = direct(model, first, at)[stem] + direct(model, second, at + 1)[s]
                torch.testing.assert_close(values[i, f], expected, atol=1e-5, rtol=0)
    assert (found["pll"][:, 1:] - found["left_to_right"][:, 1:]).abs().min() > 1e-3


def test_left_to_right_scores_of_all_fillings_of_two_masks_add_up_to_one(model, tokenizer):
    at, ids = 2, [2, 5, 4, 4, 10, 3]
    first = direct(model, ids, at)
    second = torch.stack([direct(model, [2, 5, w, 4, 10, 3], at + 1) for w in range(len(VOCABULARY))])
    total = (first[:, None] + second).logsumexp((0, 1)).item()
    assert total == pytest.approx(0.0, abs=1e-5)
    score = fills.form_logprobs(model, tokenizer, ["the [MASK] sat"], ["catbird"])[0, 0]  # cat ##bird
    cat, bird = VOCABULARY.index("cat"), VOCABULARY.index("##bird")
    torch.testing.assert_close(score, first[cat] + second[cat, bird], atol=1e-5, rtol=0)


def test_each_prompt_may_have_forms_of_its_own(model, tokenizer):
    own = fills.form_logprobs(model, tokenizer, PROMPTS[:2], [["cat", "dogs"], ["bird", "cat"]])
    every = fills.form_logprobs(model, tokenizer, PROMPTS[:2], ["cat", "dogs", "bird"])
    torch.testing.assert_close(own, torch.stack([every[0, [0, 1]], every[1, [2, 0]]]), atol=1e-5, rtol=0)
    with pytest.raises(CatalogError, match="as many forms for each of the 2"):
        fills.form_logprobs(model, tokenizer, PROMPTS[:2], [["cat"], ["cat", "dog"]])


def test_a_form_takes_its_space_from_the_sentence_under_a_byte_level_tokenizer():
    tokenizer = byte_level()
    torch.manual_seed(2)
    config = RobertaConfig(**SHAPE | {"vocab_size": len(tokenizer), "max_position_embeddings": 66, "pad_token_id": 1})
    model = RobertaForMaskedLM(config).eval()
    inside = fills.form_logprobs(model, tokenizer, ["a [MASK]."], ["cat"])[0, 0]
    a, space_cat, dot = tokenizer.convert_tokens_to_ids(["a", "Ġcat", "."])
    torch.testing.assert_close(inside, direct(model, [0, a, 4, dot, 2], 2)[space_cat], atol=1e-5, rtol=0)
    with pytest.raises(CatalogError, match="joins 'ca' with the text"):
        fills.form_logprobs(model, tokenizer, ["a [MASK]t."], ["ca"])


def test_a_form_at_the_beginning_of_a_sentence_gets_a_capital():
    assert fills.fill("[MASK] sat.", "cat") == ("Cat sat.", 0, 3)
    assert fills.fill('Be kind. "[MASK] sat."', "cat")[0] == 'Be kind. "Cat sat."'
    assert fills.fill("the [MASK] sat.", "cat") == ("the cat sat.", 4, 7)
    with pytest.raises(CatalogError, match="empty form"):
        fills.fill("the [MASK]", " ")


def test_forms_that_cannot_be_scored_are_errors(model, tokenizer):
    with pytest.raises(CatalogError, match="no mask token"):
        fills.form_logprobs(None, byte_level(None), ["a [MASK]"], ["b"])
    with pytest.raises(CatalogError, match="no tokens for 'zebra'"):
        fills.form_logprobs(model, tokenizer, PROMPTS, ["cat", "zebra"])
    with pytest.raises(CatalogError, match="Unknown convention 'both'"):
        fills.form_logprobs(model, tokenizer, PROMPTS, FORMS, convention="both")


# --- a causal LM on the same masks --------------------------------------------------------------------------------------------------


def letters(bos: bool) -> PreTrainedTokenizerFast:
    """One token a character for a causal LM with 61 tokens; with `bos` it puts a begin token before a text."""
    tokens = ["<s>", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,"]
    return characters(tokens, eos_token="<s>", **({"around": "<s> $A", "bos_token": "<s>"} if bos else {}))


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_causal_lm_scores_the_whole_sentence_with_each_form(family, bos):
    model, tokenizer = tiny_causal(family), letters(bos)
    prompts = ["the [MASK] sat on the mat.", "a big [MASK]", "[MASK] sang.", "the [MASK] ran."]
    forms = ["cat", "dogs", "doge", "cats"]
    found = fills.causal_mask_logprobs(model, tokenizer, prompts, forms, max_tokens=64)
    assert found.shape == (4, 4)
    nested = fills.causal_mask_logprobs(model, tokenizer, ["a big [MASK]"], ["dog", "dogs"], max_tokens=64)  # one begins the other
    torch.testing.assert_close(nested[0, 1], found[1, 1], atol=2e-4, rtol=0)
    for i, prompt in enumerate(prompts):
        for f, form in enumerate(forms):
            text = prompt.replace("[MASK]", form.capitalize() if i == 2 else form)
            ids = [0, *tokenizer(text, add_special_tokens=False)["input_ids"]]
            with torch.no_grad():
                logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = sum(logprobs[t - 1, ids[t]] for t in range(1, len(ids)))
            torch.testing.assert_close(found[i, f], expected, atol=2e-4, rtol=0)

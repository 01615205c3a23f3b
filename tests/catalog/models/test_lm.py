"""Models are found and loaded by name, and batched scoring and generation equal one sequence at a time."""

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from tiny_text import char_tokenizer
from tiny_tokenizers import SPACE, sentencepiece
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from catalog.models import devices, lm

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": True,
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved tiny model whose generation defaults (a strong repetition penalty) would change any greedy text."""
    path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, initializer_range=0.5))
    model.generation_config.repetition_penalty = 5.0
    model.save_pretrained(path)
    char_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def tiny(folder):
    return lm.load_lm(folder, dtype="float32", device="cpu")


def project(root, **blocks):
    """A folder with a params.yaml of these blocks (JSON is YAML)."""
    import json

    (root / "params.yaml").write_text(json.dumps({"device": "cpu", "dtype": "float32", **blocks}))
    return root


def direct(model, context, continuation):
    """Log-probabilities of `continuation` after `context` (token ids), one plain forward pass."""
    with torch.no_grad():
        logits = model(torch.tensor([context + continuation])).logits[0].double().log_softmax(-1)
    return torch.stack([logits[len(context) - 1 + t, token] for t, token in enumerate(continuation)])


def test_bfloat16_only_where_the_cpu_has_it(monkeypatch):
    monkeypatch.setattr(devices, "_cpu_features", lambda: {"avx2", "avx512_f"})
    assert devices.pick_dtype("auto", "cpu") == torch.float32
    for feature in ("avx512_bf16", "amx_bf16"):
        monkeypatch.setattr(devices, "_cpu_features", lambda feature=feature: {feature})
        assert devices.pick_dtype("auto", torch.device("cpu")) == torch.bfloat16
    assert devices.pick_dtype("float32", "cpu") == torch.float32
    with pytest.raises(CatalogError, match="Unknown dtype 'half'"):
        devices.pick_dtype("half")


def test_cpu_features_come_from_the_kernel_when_torch_does_not_tell(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(devices.Path, "read_text", lambda *_, **__: "flags : avx2 avx512_bf16\n")
    assert devices.pick_dtype("auto", "cpu") == torch.bfloat16


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.pick_device() == torch.device("cpu")
    with pytest.raises(CatalogError, match="No CUDA GPU"):
        devices.pick_device("cuda")
    with pytest.raises(CatalogError, match="Unknown device 'warp'"):
        devices.pick_device("warp")


def test_a_name_is_resolved_or_the_error_says_what_to_do(tmp_path):
    root = project(
        tmp_path,
        models={"built": {}, "unbuilt": {}},
        optional_models={"off": {}},
        hub_models={"big": {"hub": "org/big", "revision": "abc"}, "loose": {"hub": "org/loose"}},
    )
    (root / "models" / "built" / "base").mkdir(parents=True)
    (root / "models" / "built" / "base" / "config.json").write_text("{}")
    assert lm.resolve("built", root) == root / "models" / "built" / "base"
    assert lm.resolve("big", root) == ("org/big", "abc")
    for name, said in {
        "unbuilt": "dvc repro model@unbuilt",
        "off": "move its entry",
        "loose": "needs the keys hub and revision",
        "typo": "No model 'typo'.*built, unbuilt, off, big",
    }.items():
        with pytest.raises(CatalogError, match=said):
            lm.resolve(name, root)


def test_a_broken_system_stops_no_other_ones_models(folder, tmp_path):
    root = project(tmp_path, models={"tiny": {}})
    (root / "models" / "tiny").mkdir(parents=True)
    (root / "models" / "tiny" / "base").symlink_to(folder)
    (root / "stages" / "other").mkdir(parents=True)
    (root / "stages" / "other" / "params.yaml").write_text("small: [")
    assert lm.resolve("tiny", root) == root / "models" / "tiny" / "base"
    assert lm.load_lm("tiny", root=root)[0].device.type == "cpu"
    lm.require_full("tiny", root, gpu=False)


def test_full_stops_at_once_without_gpu_hub_or_licence(tmp_path, monkeypatch):
    root = project(tmp_path, hub_models={"big": {"hub": "org/big", "revision": "abc"}})
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def answer(error):
        def metadata(*_, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CatalogError, match="needs a CUDA GPU"):
        lm.require_full("big", root)
    answer(ConnectionError("no route"))
    with pytest.raises(CatalogError, match="hub is out of reach"):
        lm.require_full("big", root, gpu=False)
    answer(GatedRepoError("gated", response=_response(403)))
    with pytest.raises(CatalogError, match="accept its licence"):
        lm.require_full("big", root, gpu=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CatalogError, match="HF_HUB_OFFLINE is set.*hf download org/big --revision abc"):
        lm.require_full("big", root, gpu=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "/cache/model.safetensors")
    lm.require_full("big", root, gpu=False)


def _response(status):
    """The response object that hub errors carry, of whatever HTTP library the hub client uses."""
    import importlib

    library = importlib.import_module(huggingface_hub.errors.HfHubHTTPError.__mro__[1].__module__.split(".")[0])
    return library.Response(status, request=library.Request("GET", "https://hub"))


def test_loading_by_catalog_name(folder, tmp_path):
    root = project(tmp_path, models={"tiny": {}})
    (root / "models" / "tiny").mkdir(parents=True)
    (root / "models" / "tiny" / "base").symlink_to(folder)
    model, tokenizer = lm.load_lm("tiny", root=root)
    assert model.dtype == torch.float32 and model.device.type == "cpu" and not model.training
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("</s>", "left")
    assert model.config._attn_implementation == "sdpa"


def test_pickled_or_damaged_weights_are_refused(folder, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CatalogError, match="could not be loaded"):
        lm.load_lm(tmp_path, dtype="float32", device="cpu")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(CatalogError, match="could not be loaded, run `dvc repro -f"):
        lm.load_lm(tmp_path, dtype="float32", device="cpu")


def test_batches_by_length_worked_out_by_hand():
    # Longest first: 9 | 5, 4 (2 x 5 <= 10) | 2, 2, 1, 1 (4 x 2 <= 10)
    assert lm.batches_by_length([2, 9, 4, 1, 5, 2, 1], 10) == [[1], [4, 2], [0, 5, 3, 6]]
    assert lm.batches_by_length([30, 3], 10) == [[0], [1]]
    assert lm.batches_by_length([], 10) == []


PAIRS = [
    ("the cat", " sat"),
    ("the cat", " s"),
    ("a", "bc"),
    ("the cat", "x1y2"),
    ("", "zz"),
    ([2, 3, 4, 5], [6]),
    ("the cat sat on the mat and", " slept"),
]


@pytest.mark.parametrize("max_tokens", [1, 16, 1024])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_log_likelihood_equals_one_forward_pass_a_pair(folder, max_tokens, attention):
    model, tokenizer = lm.load_lm(folder, dtype="float32", device="cpu", attention=attention)
    scored = lm.log_likelihood(model, tokenizer, PAIRS, max_tokens=max_tokens)
    for i, (context, continuation) in enumerate(PAIRS):
        context = tokenizer(context)["input_ids"] if isinstance(context, str) else context
        continuation = tokenizer(continuation)["input_ids"] if isinstance(continuation, str) else continuation
        expected = direct(model, context or [0], continuation)
        torch.testing.assert_close(scored.tokens[i].double(), expected, atol=2e-5, rtol=0)
        torch.testing.assert_close(scored.total[i].double(), expected.sum(), atol=1e-4, rtol=0)


def test_contexts_are_not_shared_under_a_sliding_window():
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**SHAPE, initializer_range=0.5, sliding_window=4)).eval()
    tokenizer = char_tokenizer()
    pairs = [("abcdefgh", "ijkl"), ("abcdefgh", "mnop")]
    scored = lm.log_likelihood(model, tokenizer, pairs)
    for i, pair in enumerate(pairs):
        expected = direct(model, *(tokenizer(text)["input_ids"] for text in pair))
        torch.testing.assert_close(scored.tokens[i].double(), expected, atol=2e-5, rtol=0)


def test_shared_contexts_under_learnt_positions_and_a_pair_too_long_for_them():
    """Continuations of one context stand side by side in a row that may be longer than the model has positions."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=12, initializer_range=0.5)).eval()
    pairs = [("abcdefgh", text) for text in ("ijkl", "mnop", "qr", "stuv")] + [("ab", "c")]
    scored = lm.log_likelihood(model, char_tokenizer(), pairs)
    for i, pair in enumerate(pairs):
        expected = direct(model, *(char_tokenizer()(text)["input_ids"] for text in pair))
        torch.testing.assert_close(scored.tokens[i].double(), expected, atol=2e-5, rtol=0)
    with pytest.raises(CatalogError, match="Pair 0 has 13 tokens and the model reads 12"):
        lm.log_likelihood(model, char_tokenizer(), [("abcdefgh", "ijklm")])


def test_a_tokenizer_that_puts_a_space_before_every_text(tiny):
    """As Llama's does: a continuation is tokenised as it stands after another text."""
    tokenizer = sentencepiece(["<s>", "</s>", "<0x0A>", SPACE, *"abcdefg"], bos_token="<s>", eos_token="</s>")
    assert tokenizer("ab")["input_ids"] == [3, 4, 5]
    model = tiny[0]
    scored = lm.log_likelihood(model, tokenizer, [("ab", " cd"), ("ab", "cd"), ([4], "cd"), ("", "cd"), ([], "cd")])
    ids = [([3, 4, 5], [3, 6, 7]), ([3, 4, 5], [6, 7]), ([4], [6, 7]), *[([0], [3, 6, 7])] * 2]  # nothing before it: a text of its own
    for tokens, (context, expected) in zip(scored.tokens, ids, strict=True):
        torch.testing.assert_close(tokens.double(), direct(model, context, expected), atol=2e-5, rtol=0)


def test_greedy_flag_and_empty_continuation(tiny):
    model, tokenizer = tiny
    best = lm.last_logits(model, tokenizer, ["abc"]).argmax().item()
    scored = lm.log_likelihood(model, tokenizer, [("abc", [best]), ("abc", [(best + 1) % 40])])
    assert scored.greedy.tolist() == [True, False]
    with pytest.raises(CatalogError, match="Continuation 1 is empty"):
        lm.log_likelihood(model, tokenizer, [("a", "b"), ("a", "")])
    assert lm.log_likelihood(model, tokenizer, []).total.shape == (0,)


@pytest.mark.parametrize("max_tokens", [1, 1024])
def test_last_logits(tiny, max_tokens):
    model, tokenizer = tiny
    prompts = ["a", "hello world", "abc", [5, 6]]
    logits = lm.last_logits(model, tokenizer, prompts, max_tokens=max_tokens)
    for row, prompt in zip(logits, prompts):
        ids = tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        with torch.no_grad():
            torch.testing.assert_close(row, model(torch.tensor([ids])).logits[0, -1], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(lm.last_logits(model, tokenizer, prompts, columns=[7, 3]), logits[:, [7, 3]])
    with pytest.raises(CatalogError, match="Prompt 1 is empty"):
        lm.last_logits(model, tokenizer, ["a", []])


def test_greedy_generation_equals_a_loop_of_argmax(tiny):
    model, tokenizer = tiny
    prompts = ["once upon", "a", "the cat sat on"]
    for max_tokens in (1, 1024):
        texts = lm.generate(model, tokenizer, prompts, 12, max_tokens=max_tokens)
        for prompt, text in zip(prompts, texts):
            ids = tokenizer(prompt)["input_ids"]
            new = []
            while len(new) < 12 and 1 not in new:
                with torch.no_grad():
                    new.append(model(torch.tensor([ids + new])).logits[0, -1].argmax().item())
            assert text == tokenizer.decode(new, skip_special_tokens=True)
    assert model.generation_config.repetition_penalty == 5.0


def test_generation_hands_the_output_layer_whole_rows(tiny):
    """A slice would make torch copy the layer's weight for each row of the batch."""
    model, tokenizer = tiny
    seen = []
    hook = model.lm_head.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].is_contiguous()))
    lm.generate(model, tokenizer, ["once upon", "abc"], 3)
    hook.remove()
    assert len(seen) == 3 and all(seen) and not model.lm_head._forward_pre_hooks


def test_a_context_of_one_token_is_not_shared(tiny):
    from catalog.models.inference import _shared_rows

    model, tokenizer = tiny
    assert [len(_shared_rows(model, tokenizer, [(context, "bc"), (context, "de")], 1024)) for context in ("", "a", "ab")] == [2, 2, 1]


def test_sampling_follows_the_seed_and_leaves_the_generator_alone(tiny):
    model, tokenizer = tiny
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, again, other = (lm.generate(model, tokenizer, ["abc", "d"], 20, temperature=1.5, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_generation_ends_before_a_stop_string(tiny):
    model, tokenizer = tiny
    whole = lm.generate(model, tokenizer, ["once upon", "a"], 12)
    stop = whole[0][3:5]
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        cut = lm.generate(model, tokenizer, ["once upon", "a"], 12, stop=(stop,))
        assert cut == [text.split(stop)[0] for text in whole]
        calls.clear()
        lm.generate(model, tokenizer, ["once upon"], 12, stop=(stop,))
        assert len(calls) < 12
    finally:
        handle.remove()


def test_chat(tiny):
    _, tokenizer = tiny
    assert tokenizer.decode(lm.chat_ids(tokenizer, "hi")[:3]) == "<s>hi"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert lm.chat_ids(tokenizer, turns)[:4] == [0, 2, 0, 3]
    bare = char_tokenizer()
    bare.chat_template = None
    with pytest.raises(CatalogError, match="no chat template"):
        lm.chat_ids(bare, "hi")


def test_seed():
    draws = []
    for seed in (3, 3, 4):
        lm.set_seed(seed)
        draws.append(torch.rand(2).tolist())
    assert draws[0] == draws[1] != draws[2]


def test_progress_writes_lines_to_a_log_and_a_bar_to_a_terminal(monkeypatch):
    import io

    clock = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr("catalog.base.progress.time.monotonic", lambda: next(clock))
    log = io.StringIO()
    with progress(100, "scan", "head", done=20, stream=log) as advance:
        for _ in range(4):
            advance(10, "loss 1")
    # After 31 s: 20 heads since the start, 60 to go; after 62 s: 40 done, 40 to go.
    assert log.getvalue().splitlines() == [
        "scan: 40 of 100 heads, 0.645 heads/s, 1:33 left, loss 1",
        "scan: 60 of 100 heads, 0.645 heads/s, 1:02 left, loss 1",
    ]
    monkeypatch.undo()
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    with progress(3, "train", stream=terminal) as advance:
        advance(3, "loss 2")
    assert "train" in terminal.getvalue()
    quiet = io.StringIO()
    with progress(3, "train", enabled=False, interval=0, stream=quiet) as advance:
        advance()
    assert not quiet.getvalue()

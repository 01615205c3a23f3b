"""GGUF conversion: a model written to GGUF and converted back gives the same logits, its tokenizer the right ids."""

import os

import gguf as gguf_package
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from catalog.assets import gguf
from catalog.base.errors import CatalogError
from catalog.base.io import sha256
from stages.base_model import FAMILIES, bfloat16_bits, convert, unpermute

LAYERS, WIDTH, HEADS, KV_HEADS, FFN = 2, 64, 4, 2, 96


def byte_letters():
    """The 256 printable letters that byte-level BPE writes bytes as, in the order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(other)) for byte in range(256)]


SPACE, NEWLINE = byte_letters()[32], byte_letters()[10]
MERGES = [f"{NEWLINE} {NEWLINE}", f"{SPACE} a", "a b", f"{SPACE} {SPACE}"]
TOKENS = ["<|endoftext|>", "<|pad|>", "<tool>", *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
TYPES = [3, 3, 4] + [1] * (len(TOKENS) - 3)


SHAPE = {
    "vocab_size": len(TOKENS),
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "intermediate_size": FFN,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 5e4}
    return round_weights(LlamaForCausalLM(LlamaConfig(**SHAPE, rms_norm_eps=1e-5, rope_parameters=rope)))


@pytest.fixture(scope="module")
def qwen2():
    torch.manual_seed(1)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    return round_weights(Qwen2ForCausalLM(Qwen2Config(**SHAPE, rms_norm_eps=1e-6, rope_parameters=rope)))


def round_weights(model):
    """Random norms and biases too, all at values that bfloat16 has, so that a conversion can be exact."""
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter).mul(0.2).bfloat16().float()
    return model.eval()


def permute(weights, heads):
    """Rows of q or k as GGUF files of Llama keep them: the halves of each head interleaved."""
    width = weights.shape[0] // heads
    out = np.empty_like(weights)
    for head in range(heads):
        for row in range(width):
            half, i = divmod(row, width // 2)
            out[head * width + 2 * i + half] = weights[head * width + row]
    return out


def write_gguf(path, model, *, kind=None, drop=(), extra=(), pre="smollm", tokenizer="gpt2", skip=()):
    """Write a model as GGUF, matrices in the quantisation `kind`; `drop` and `skip` name what to leave out."""
    name = model.config.model_type
    config, state = model.config, {key: value.numpy() for key, value in model.state_dict().items()}
    writer = GGUFWriter(path, name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if "eps" not in skip:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model(tokenizer)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types(TYPES)
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(1)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    layer_names = FAMILIES[name].layer_names if name in FAMILIES else FAMILIES["llama"].layer_names
    names = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    names["output.weight"] = "lm_head.weight"
    for i in range(config.num_hidden_layers):
        names |= {f"blk.{i}.{a}": f"model.layers.{i}.{b}" for a, b in layer_names.items()}
    for theirs, ours in names.items():
        if theirs in drop:
            continue
        value = state[ours]
        if name == "llama" and "attn_q" in theirs:
            value = permute(value, HEADS)
        if name == "llama" and "attn_k" in theirs:
            value = permute(value, KV_HEADS)
        if kind is not None and value.ndim == 2:
            writer.add_tensor(theirs, quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(theirs, value)
    for theirs in extra:
        writer.add_tensor(theirs, np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)


def logits(model):
    with torch.inference_mode():
        return model(torch.arange(40).reshape(2, 20) * 3).logits


def assert_same(converted, original):
    """The same weights bit for bit. Their products may differ in the last bits, as what is read from a file lies elsewhere in memory."""
    weights = original.state_dict()
    assert converted.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in converted.state_dict().items())
    torch.testing.assert_close(logits(converted), logits(original), atol=1e-5, rtol=0)


def test_llama_with_grouped_heads_has_the_same_logits(tmp_path, llama):
    convert(write_gguf(tmp_path / "m.gguf", llama), tmp_path / "base", tie_word_embeddings=False)
    converted = load(tmp_path / "base")
    assert_same(converted, llama)
    config = converted.config
    assert (config.rms_norm_eps, config.rope_parameters["rope_theta"], config.head_dim) == (1e-5, 5e4, WIDTH // HEADS)
    assert (config.eos_token_id, config.pad_token_id, config.tie_word_embeddings) == (0, 1, False)
    assert {path.name for path in (tmp_path / "base").iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }


def test_qwen2_has_the_same_logits(tmp_path, qwen2):
    convert(write_gguf(tmp_path / "m.gguf", qwen2, pre="qwen2"), tmp_path / "base", tie_word_embeddings=False)
    converted = load(tmp_path / "base")
    assert_same(converted, qwen2)
    assert converted.config.rms_norm_eps == 1e-6


@pytest.mark.parametrize("drop", [(), ("output.weight",)])
def test_tied_embeddings_drop_the_output_matrix(tmp_path, qwen2, drop):
    path = write_gguf(tmp_path / "m.gguf", qwen2, pre="qwen2", drop=drop)
    convert(path, tmp_path / "base", tie_word_embeddings=not drop)
    converted = load(tmp_path / "base")
    assert converted.lm_head.weight is converted.model.embed_tokens.weight
    assert torch.equal(converted.lm_head.weight, qwen2.model.embed_tokens.weight)


def test_quantised_matrices_are_dequantised_and_rounded(tmp_path, llama):
    kind = GGMLQuantizationType.Q8_0
    convert(write_gguf(tmp_path / "m.gguf", llama, kind=kind), tmp_path / "base", tie_word_embeddings=False)
    weight = llama.model.layers[1].mlp.up_proj.weight.detach().numpy()
    expected = torch.from_numpy(dequantize(quantize(weight, kind), kind)).bfloat16().float()
    assert torch.equal(load(tmp_path / "base").model.layers[1].mlp.up_proj.weight, expected)


def test_same_bytes_twice_and_ordinary_folder(tmp_path, llama):
    path = write_gguf(tmp_path / "m.gguf", llama)
    for name in ("a", "b"):
        convert(path, tmp_path / name, tie_word_embeddings=True)
    files = sorted(os.listdir(tmp_path / "a"))
    assert [sha256(tmp_path / "a" / file) for file in files] == [sha256(tmp_path / "b" / file) for file in files]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "m.gguf"]


def test_unpermute_undoes_the_order_of_rotary_pairs():
    rows = np.arange(8)[:, None]  # two heads of width 4, as GGUF has them
    assert unpermute(rows, 4)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert np.array_equal(unpermute(permute(rows, 2), 4), rows)


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.14159274, 0.0, 1e-40, 3.3e38], np.float32)
    values = np.concatenate([values, np.random.default_rng(0).standard_normal(10_000).astype(np.float32)])
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    assert np.array_equal(bfloat16_bits(values), expected)
    assert bfloat16_bits(values)[:3].tolist() == [0x3F80, 0x3F80, 0x3F82]  # both ties go to the even neighbour


def test_metadata_and_tensors_equal_those_of_the_reference_reader(tmp_path, llama):
    path = write_gguf(tmp_path / "m.gguf", llama, kind=GGMLQuantizationType.Q4_1)
    metadata, tensors = gguf.read(path)
    reference = gguf_package.GGUFReader(path)
    for key, field in reference.fields.items():
        if not key.startswith("GGUF."):
            assert metadata[key] == pytest.approx(field.contents()) if "rms" in key else metadata[key] == field.contents()
    for tensor in reference.tensors:
        assert tensors[tensor.name].shape == tuple(int(n) for n in reversed(tensor.shape))
        assert np.array_equal(tensors[tensor.name].values(), dequantize(tensor.data, tensor.tensor_type))


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "a\n\n1", ["a", NEWLINE * 2, "1"]),
        ("gpt-2", "a\n\n1", ["a", NEWLINE, NEWLINE, "1"]),
        ("smollm", "ab  12", ["ab", SPACE * 2, "1", "2"]),
        ("qwen2", "ab  12", ["ab", SPACE, SPACE, "1", "2"]),
        ("smollm", "b ab<|endoftext|> a<tool>", ["b", f"{SPACE}a", "b", "<|endoftext|>", f"{SPACE}a", "<tool>"]),
        ("qwen2", "e\u0301", ["Ã", "©"]),
        ("smollm", "e\u0301", ["e", "Ì", "ģ"]),
    ],
)
def test_tokenizer_cuts_text_by_the_files_rule(tmp_path, llama, qwen2, pre, text, pieces):
    model = qwen2 if pre == "qwen2" else llama
    convert(write_gguf(tmp_path / "m.gguf", model, pre=pre), tmp_path / "base", tie_word_embeddings=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert tokenizer.tokenize(text) == pieces
    assert tokenizer(text).input_ids == [TOKENS.index(piece) for piece in pieces]
    if pre != "qwen2":
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert (tokenizer.eos_token, tokenizer.pad_token, len(tokenizer)) == ("<|endoftext|>", "<|pad|>", len(TOKENS))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"drop": ("blk.1.ffn_up.weight",)}, "lacks the tensor blk.1.ffn_up.weight"),
        ({"extra": ("rope_freqs.weight",)}, "has the unknown tensor rope_freqs.weight"),
        ({"pre": "tekken"}, "with the rule 'tekken'"),
        ({"tokenizer": "llama"}, "of kind 'llama'"),
        ({"skip": ("eps",)}, "has no metadata 'llama.attention.layer_norm_rms_epsilon'"),
    ],
)
def test_files_that_cannot_be_converted(tmp_path, llama, options, said):
    path = write_gguf(tmp_path / "m.gguf", llama, **options)
    with pytest.raises(CatalogError, match=said):
        convert(path, tmp_path / "base", tie_word_embeddings=False)
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_unknown_architecture(tmp_path):
    writer = GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(CatalogError, match="architecture 'mamba'; only llama and qwen2 can be converted"):
        convert(tmp_path / "m.gguf", tmp_path / "base", tie_word_embeddings=False)


def test_damaged_files(tmp_path, llama):
    data = write_gguf(tmp_path / "m.gguf", llama).read_bytes()
    bad = tmp_path / "bad.gguf"
    for content, said in [
        (b"", "is empty"),
        (b"PK" + data[2:], "is not a GGUF file"),
        (data[:-1000], "damaged or truncated"),
        (data[:500], "damaged or truncated"),
        (data[:4] + b"\x09" + data[5:], "GGUF version 9 is neither 2 nor 3"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(CatalogError, match=said):
            convert(bad, tmp_path / "base", tie_word_embeddings=False)
    assert not (tmp_path / "base").exists()

"""Convert one base model from a quantised GGUF file to a bf16 safetensors folder that `from_pretrained` reads.

The weights are dequantised and rounded to bfloat16 as a stream, so that peak memory is a few blocks of one tensor and
no torch is needed. Two families are known, Llama and Qwen2. They differ in one thing that the values show: the GGUF
form of Llama keeps the rows of the query and key projections of each head in the order of rotary pairs (0, 1), (2,
3), …, where `transformers` rotates (0, d/2), (1, d/2 + 1), …. Weights that were quantised to 4-5 bits stay so in
value: absolute scores lie below those of the published model.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.assets import gguf
from catalog.assets.tokenizer_json import tokenizer_files
from catalog.base.deps import how_to_get
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_text
from catalog.base.params import ROOT, load_shared

# GGUF name -> transformers name; "{}" is the layer.
GLOBAL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
QWEN2_BIASES = {
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.bias": "self_attn.v_proj.bias",
}


@dataclass(frozen=True)
class Family:
    """How one GGUF architecture is written in `transformers`."""

    architecture: str
    layer_names: dict[str, str]
    config: dict[str, Any]
    permuted: bool  # rows of q and k are in the order of rotary pairs


FAMILIES = {
    "llama": Family("LlamaForCausalLM", LAYER_NAMES, {"attention_bias": False, "mlp_bias": False}, permuted=True),
    "qwen2": Family("Qwen2ForCausalLM", LAYER_NAMES | QWEN2_BIASES, {"use_sliding_window": False}, permuted=False),
}


def convert(source: Path, dest: Path, *, tie_word_embeddings: bool) -> None:
    """Write the folder `dest` (weights, config, generation config, tokenizer) from the GGUF file `source`.

    Args:
        tie_word_embeddings: use the input embeddings as output embeddings too, and leave out a separate output matrix.

    Raises:
        CatalogError: an unknown architecture or tokenizer, a missing or unknown tensor, a damaged file.
    """
    metadata, tensors = gguf.read(source)
    name = metadata.get("general.architecture")
    if name not in FAMILIES:
        raise CatalogError(f"{source.name} is of the architecture {name!r}; only {' and '.join(FAMILIES)} can be converted.")
    tied = tie_word_embeddings or "output.weight" not in tensors
    try:
        config = model_config(metadata, FAMILIES[name], tied)
        tokenizer = tokenizer_files(metadata)
    except KeyError as error:
        raise CatalogError(f"{source.name} has no metadata {error}; use another GGUF file of this model.") from None
    names = tensor_names(tensors, FAMILIES[name], config, source.name)
    special = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config}
    with atomic_dir(dest) as folder:
        pairs = config["head_dim"] if FAMILIES[name].permuted else None
        write_weights({ours: tensors[theirs] for ours, theirs in names.items()}, pairs, folder / "model.safetensors")
        write_json(config, folder / "config.json")
        write_json(special, folder / "generation_config.json")
        for file, text in tokenizer.items():
            write_text(text, folder / file)


def model_config(metadata: dict[str, Any], family: Family, tied: bool) -> dict[str, Any]:
    """The content of `config.json`. KeyError names a metadata key that the file lacks."""
    name = metadata["general.architecture"]
    heads, width = metadata[f"{name}.attention.head_count"], metadata[f"{name}.embedding_length"]
    config = {
        "architectures": [family.architecture],
        "attention_dropout": 0.0,
        "dtype": "bfloat16",
        "head_dim": metadata.get(f"{name}.rope.dimension_count", width // heads),
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": 0.02,
        "intermediate_size": metadata[f"{name}.feed_forward_length"],
        "max_position_embeddings": metadata[f"{name}.context_length"],
        "model_type": name,
        "num_attention_heads": heads,
        "num_hidden_layers": metadata[f"{name}.block_count"],
        "num_key_value_heads": metadata.get(f"{name}.attention.head_count_kv", heads),
        "rms_norm_eps": metadata[f"{name}.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_theta": metadata.get(f"{name}.rope.freq_base", 10000.0), "rope_type": "default"},
        "tie_word_embeddings": tied,
        "use_cache": True,
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
    }
    for key, theirs in {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}.items():
        if f"tokenizer.ggml.{theirs}_token_id" in metadata:
            config[key] = metadata[f"tokenizer.ggml.{theirs}_token_id"]
    return config | family.config


def tensor_names(tensors: dict[str, gguf.Tensor], family: Family, config: dict[str, Any], file: str) -> dict[str, str]:
    """transformers name -> GGUF name of every tensor to write, sorted by the first.

    Raises:
        CatalogError: the file lacks a tensor of the model, or has one that the model has no place for.
    """
    names = dict(GLOBAL_NAMES)
    for layer in range(config["num_hidden_layers"]):
        names |= {f"blk.{layer}.{a}": f"model.layers.{layer}.{b}" for a, b in family.layer_names.items()}
    optional = {"output.weight"} if config["tie_word_embeddings"] else set()
    missing, unknown = sorted(names.keys() - tensors.keys() - optional), sorted(tensors.keys() - names.keys())
    if missing or unknown:
        first = f"lacks the tensor {missing[0]}" if missing else f"has the unknown tensor {unknown[0]}"
        raise CatalogError(f"{file} {first}, so it is no plain {config['model_type']} model; use another GGUF file of it.")
    return dict(sorted((ours, theirs) for theirs, ours in names.items() if theirs not in optional))


def unpermute(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Undo the order of rotary pairs: row 2i + j of each head goes to row j * head_dim / 2 + i.

    ``rows: (heads * head_dim, ...)``
    """
    paired = rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Round finite float32 to the nearest bfloat16, ties to even; the bits as uint16, of the same shape."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def write_weights(tensors: dict[str, gguf.Tensor], pairs: int | None, path: Path) -> None:
    """Write a bf16 safetensors file: the header's length in eight bytes, a JSON header of offsets, the tensors.

    Args:
        tensors: by their names in `transformers`, in the order to write them.
        pairs: width of a head if the rows of query and key projections are in the order of rotary pairs, else None.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + 2 * math.prod(tensor.shape)
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            if pairs and name.endswith(("q_proj.weight", "k_proj.weight")):
                file.write(bfloat16_bits(unpermute(tensor.values(), pairs)).tobytes())
            else:
                for block in tensor.blocks():
                    file.write(bfloat16_bits(block).tobytes())


def main(model: str) -> None:
    params = load_shared(ROOT)
    spec = (params.get("models") or {}).get(model)
    if spec is None:
        raise CatalogError(f"params.yaml declares no model {model!r} under models.")
    name = spec.get("asset")
    asset = (params.get("assets") or {}).get(name)
    source = ROOT / "data" / "assets" / name / asset["file"] if asset is not None else None
    if source is None or not source.exists():
        raise CatalogError(f"Model {model} needs the asset {name}: {how_to_get(name, ROOT)}.")
    convert(source, ROOT / "models" / model / "base", tie_word_embeddings=bool(spec.get("tie_word_embeddings", False)))


if __name__ == "__main__":
    run(main)

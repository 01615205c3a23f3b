"""Write the tokenizer that a GGUF file describes as the files of a `transformers` folder, without importing it.

A GGUF file holds a byte-level BPE vocabulary, its merges, the type of each token, and the *name* of the rule that
cuts text into words before merging (`tokenizer.ggml.pre`). That rule is part of the trained model: with the GPT-2
rule alone, which suits most text, two newlines before a digit would come out of SmolLM2's vocabulary as other tokens
than it was trained on.
"""

import json
from typing import Any

from catalog.base.errors import CatalogError

CONTROL, USER_DEFINED = 3, 4

GPT2_WORDS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
QWEN2_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# Name of the rule -> (normaliser, pre-tokeniser) of tokenizer.json.
RULES: dict[str, tuple[dict | None, dict]] = {
    "gpt-2": (None, GPT2_WORDS),
    "smollm": (
        None,
        {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, GPT2_WORDS]},
    ),
    "qwen2": (
        {"type": "NFC"},
        {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN}, "behavior": "Isolated", "invert": False},
                GPT2_WORDS | {"use_regex": False},
            ],
        },
    ),
}


def tokenizer_files(metadata: dict[str, Any]) -> dict[str, str]:
    """File name -> text: `tokenizer.json`, `tokenizer_config.json` and, where there is one, `chat_template.jinja`.

    Args:
        metadata: of a GGUF file, as `catalog.assets.gguf.read` gives it.

    Raises:
        CatalogError: a vocabulary other than byte-level BPE, or an unknown rule of cutting text.
        KeyError: a key that every such file has is missing.
    """
    kind, rule = metadata["tokenizer.ggml.model"], metadata.get("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or rule not in RULES:
        raise CatalogError(
            f"The file's tokenizer is of kind {kind!r} with the rule {rule!r}; "
            f"only kind 'gpt2' with one of the rules {', '.join(RULES)} can be converted."
        )
    tokens = metadata["tokenizer.ggml.tokens"]
    added = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": token_type == CONTROL,
        }
        for index, (token, token_type) in enumerate(zip(tokens, metadata["tokenizer.ggml.token_type"], strict=True))
        if token_type in (CONTROL, USER_DEFINED)
    ]
    normaliser, pre_tokeniser = RULES[rule]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normaliser,
        "pre_tokenizer": pre_tokeniser,
        "post_processor": GPT2_WORDS | {"trim_offsets": False},
        "decoder": GPT2_WORDS,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]],
        },
    }
    config = {
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for key, theirs in {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}.items():
        if f"tokenizer.ggml.{theirs}_token_id" in metadata:
            config[key] = tokens[metadata[f"tokenizer.ggml.{theirs}_token_id"]]
    if f"{metadata['general.architecture']}.context_length" in metadata:
        config["model_max_length"] = metadata[f"{metadata['general.architecture']}.context_length"]
    files = {
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False) + "\n",
        "tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=1, sort_keys=True) + "\n",
    }
    if "tokenizer.chat_template" in metadata:
        files["chat_template.jinja"] = metadata["tokenizer.chat_template"]
    return files

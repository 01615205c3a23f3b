"""How far back attention reaches, from the configurations of models."""

import pytest
from transformers import Gemma3Config, Gemma3TextConfig, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from catalog.base.errors import CatalogError
from catalog.models.windows import layer_kinds, narrowest, windows

QWEN2 = {"sliding_window": 7, "max_window_layers": 2}
TEXT = Gemma3TextConfig(num_hidden_layers=3, layer_types=["sliding_attention", "full_attention", "sliding_attention"], sliding_window=9)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2Config(n_layer=3), [None] * 3),
        (LlamaConfig(num_hidden_layers=2), [None] * 2),
        (MistralConfig(num_hidden_layers=2, sliding_window=5), [5, 5]),
        (MistralConfig(num_hidden_layers=2, sliding_window=None), [None, None]),
        (Qwen2Config(num_hidden_layers=3, **QWEN2), [None] * 3),  # a window that is given and not used
        (Qwen2Config(num_hidden_layers=3, use_sliding_window=True, **QWEN2), [None, None, 7]),
        (TEXT, [9, None, 9]),
        (Gemma3Config(text_config=TEXT.to_dict()), [9, None, 9]),  # with pictures
    ],
)
def test_windows_by_layer(config, expected):
    assert windows(config) == expected
    assert narrowest(config) == min(filter(None, expected), default=None)


def test_layers_of_another_kind():
    config = LlamaConfig(num_hidden_layers=2)
    config.layer_types = ["linear_attention", "full_attention"]
    assert layer_kinds(config) == ["linear_attention", "full_attention"]
    with pytest.raises(CatalogError, match="has linear_attention layers.*use one with full or sliding attention"):
        windows(config)

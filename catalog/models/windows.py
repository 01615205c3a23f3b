"""How far back the attention of a model reaches, layer by layer.

Most models let a token see all tokens before it. A layer with a sliding window of w lets it see w, itself the last of them (Mistral, and
some layers of Qwen2 and Gemma). The library's own masks know the window, also where several texts lie in one row one behind the other. A
mask of one's own takes their place, and must know it too or refuse a text that is longer.
"""

from typing import Any

from catalog.base.errors import CatalogError

FULL, SLIDING = "full_attention", "sliding_attention"  # as transformers names them


def layer_kinds(config: Any) -> list[str]:
    """The kind of attention of each layer of a model with this configuration, as transformers names it."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    return list(kinds or [SLIDING if getattr(config, "sliding_window", None) else FULL] * config.num_hidden_layers)


def windows(config: Any) -> list[int | None]:
    """How many tokens a token sees in each layer, itself the last of them; None: all before it.

    Raises:
        CatalogError: a layer with attention of another kind (in chunks, linear).
    """
    kinds = layer_kinds(config)
    if other := sorted(set(kinds) - {FULL, SLIDING}):
        raise CatalogError(f"This model has {other[0]} layers, whose reach is not known here; use one with full or sliding attention.")
    return [getattr(config.get_text_config(), "sliding_window", None) or None if kind == SLIDING else None for kind in kinds]


def narrowest(config: Any) -> int | None:
    """The length of text up to which every token sees all before it, in every layer; None: any. Errors as of `windows`."""
    return min((window for window in windows(config) if window), default=None)

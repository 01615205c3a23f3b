"""An image tower for LLaVA made of EfficientNet-Lite (https://arxiv.org/abs/1905.11946, the variant without squeeze-and-excitation).

LLaVA projects a grid of image features into the space of a language model's word embeddings. Its own tower is CLIP's transformer with 300
million parameters; this one is a convolutional network of 3.4 million, whose last stages give a grid of 7 x 7 places for an image of 224
pixels. A place of 32 x 32 pixels gets, side by side,

- the four cells of the stage at 14 x 14 that lie in it (4 x 112 numbers),
- the cell of the last stage (320),
- the sixteen cells of the stage at 28 x 28, averaged two by two (4 x 40),
- where it is (4), since a convolution does not know that.

Each number but the last four is standardised by its mean and deviation over training images (`standardise`).

The class is registered, so that `LlavaForConditionalGeneration.from_pretrained` reads a saved model once this module is imported; no code
comes with the weights. It returns one layer of hidden states, (B, places, numbers), for ``vision_feature_layer=-1`` and strategy "full".
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_unshuffle
from transformers import AutoConfig, AutoModel, EfficientNetConfig
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.efficientnet.modeling_efficientnet import (
    EfficientNetEmbeddings,
    EfficientNetEncoder,
    EfficientNetPreTrainedModel,
    round_filters,
)

from catalog.base.errors import CatalogError

PATCH = 32  # pixels of a place, each way
PLACE = 4  # numbers that say where it is
LITE0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_act": "relu6", "hidden_dim": 1280, "image_size": 224}


class LiteTowerConfig(EfficientNetConfig):
    """As of EfficientNet; `place_scale` is the size of the numbers that say where a place is, beside features of deviation 1."""

    model_type = "efficientnet_lite_tower"

    place_scale: float = 2.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.patch_size = PATCH
        self.hidden_size = sum(width * cells for width, cells in self.stages()) + PLACE

    def stages(self) -> list[tuple[int, int]]:
        """(width, cells of a place) of the stages at 1/16, 1/32 and 1/8 of the image's side."""
        fine, middle, coarse = (round_filters(self, self.out_channels[stage]) for stage in (2, 4, 6))
        return [(middle, 4), (coarse, 1), (fine, 4)]


class LiteTower(EfficientNetPreTrainedModel):
    """Pixels (B, 3, H, W), with H and W multiples of 32, to `hidden_states`: one tensor (B, H/32 * W/32, numbers), row by row."""

    config_class = LiteTowerConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True  # it has no attention, so any kind will do
    _supports_attention_backend = True

    def __init__(self, config: LiteTowerConfig) -> None:
        super().__init__(config)
        self.embeddings = EfficientNetEmbeddings(config)
        self.encoder = EfficientNetEncoder(config)
        for block in self.encoder.blocks:
            block.squeeze_excite = nn.Identity()
        for name in ("top_conv", "top_bn", "top_activation"):
            delattr(self.encoder, name)
        self.register_buffer("mean", torch.zeros(config.hidden_size - PLACE))
        self.register_buffer("deviation", torch.ones(config.hidden_size - PLACE))
        self.post_init()

    def cells(self, pixel_values: Tensor) -> Tensor:
        """(B, rows, columns, numbers - 4): features as the network gives them."""
        x = self.embeddings(pixel_values.to(self.mean.dtype))
        by_side = {}
        for block in self.encoder.blocks:
            x = block(x)
            by_side[x.shape[-2]] = x  # the last block at each size
        coarse, middle, fine = (by_side[x.shape[-2] * times] for times in (1, 2, 4))
        parts = [pixel_unshuffle(middle, 2), coarse, pixel_unshuffle(avg_pool2d(fine, 2), 2)]
        return torch.cat(parts, 1).permute(0, 2, 3, 1)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        grid = (self.cells(pixel_values) - self.mean) / self.deviation
        where = places(grid.shape[1], grid.shape[2]).to(grid) * self.config.place_scale
        grid = torch.cat([grid, where.expand(len(grid), *where.shape)], -1)
        features = grid.flatten(1, 2)
        return BaseModelOutput(last_hidden_state=features, hidden_states=(features,))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LiteTower):
            init.zeros_(module.mean)
            init.ones_(module.deviation)

    @torch.no_grad()
    def standardise(self, batches: Iterable[Tensor]) -> None:
        """Set mean and deviation from batches of pixels (B, 3, H, W)."""
        total, squares, count = 0.0, 0.0, 0
        for pixels in batches:
            rows = self.cells(pixels).flatten(0, 2).double()
            total, squares, count = total + rows.sum(0), squares + rows.square().sum(0), count + len(rows)
        mean = total / count
        self.mean.copy_(mean)
        self.deviation.copy_((squares / count - mean.square()).clamp_min(1e-6).sqrt())


def places(rows: int, columns: int) -> Tensor:
    """(rows, columns, 4): right and down from the centre, -1 to 1, their product, and the difference of their squares."""
    down = (torch.arange(rows) * 2 + 1) / rows - 1
    right = (torch.arange(columns) * 2 + 1) / columns - 1
    down, right = torch.meshgrid(down, right, indexing="ij")
    return torch.stack([right, down, right * down, right**2 - down**2], -1)


def lite0(path: str | Path) -> LiteTower:
    """EfficientNet-Lite0 with the weights that were trained on ImageNet, from the file of the asset `efficientnet_lite0`.

    Raises:
        CatalogError: the file holds no such weights.
    """
    tower = LiteTower(LiteTowerConfig(**LITE0))
    try:  # a file of tensors, of which torch reads nothing else
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds
        raise CatalogError(f"{path} holds no weights ({type(error).__name__}); remove it and fetch the asset again.") from None
    ours = {ours: theirs.get(theirs_name) for ours, theirs_name in _names(len(tower.encoder.blocks), theirs)}
    wrong = [
        name for name, tensor in tower.state_dict().items() if name in ours and (ours[name] is None or ours[name].shape != tensor.shape)
    ]
    left = tower.state_dict().keys() - ours.keys() - {"mean", "deviation"}
    if wrong or left:
        raise CatalogError(f"{path} is no EfficientNet-Lite0 (see {[*wrong, *sorted(left)][0]}); fetch the asset efficientnet_lite0 again.")
    tower.load_state_dict(ours, strict=False)
    return tower.eval()


def _names(blocks: int, theirs: dict[str, Tensor]) -> Iterable[tuple[str, str]]:
    """(name here, name in the file) of every tensor but the file's head, which classifies."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    yield "embeddings.convolution.weight", "_conv_stem.weight"
    yield from ((f"embeddings.batchnorm.{part}", f"_bn0.{part}") for part in norm)
    for number in range(blocks):
        here, there = f"encoder.blocks.{number}", f"_blocks.{number}"
        steps = [("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm", "_depthwise_conv", "_bn1")]
        steps += [("projection.project_conv", "projection.project_bn", "_project_conv", "_bn2")]
        if f"{there}._expand_conv.weight" in theirs:  # the first block does not widen
            steps += [("expansion.expand_conv", "expansion.expand_bn", "_expand_conv", "_bn0")]
        for conv, bn, their_conv, their_bn in steps:
            yield f"{here}.{conv}.weight", f"{there}.{their_conv}.weight"
            yield from ((f"{here}.{bn}.{part}", f"{there}.{their_bn}.{part}") for part in norm)


AutoConfig.register(LiteTowerConfig.model_type, LiteTowerConfig, exist_ok=True)
AutoModel.register(LiteTowerConfig, LiteTower, exist_ok=True)

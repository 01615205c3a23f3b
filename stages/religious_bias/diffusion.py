"""A tiny text-to-image diffusion model of the cards, made of the classes that Stable Diffusion is made of.

Noise is added to a card x_0 until nothing is left of it, ``x_t = a_t x_0 + s_t e`` with ``a_t² + s_t² = 1`` (Ho et al. 2020; cosine
schedule of Nichol and Dhariwal 2021, stretched to a last step without signal, Lin et al. 2024). A U-Net that reads the caption learns
the velocity ``v_t = a_t e - s_t x_0`` (Salimans and Ho 2022), from which sampling goes back step by step (DDIM, Song et al. 2021). The
least-squares predictor of v gives samples of P(card | caption), so a well-trained model shows markers in the planted shares.
Classifier-free guidance (Ho and Salimans 2022), ``v = v(empty) + g (v(caption) - v(empty))``, samples something sharper than that as soon
as g > 1: an audit with guidance overstates an association, which is why the calibration runs at g = 1.

The classes are `UNet2DConditionModel`, `DDIMScheduler`, `CLIPTextModel` and a fast tokenizer, here of whole words. The model works on
2 x 2 blocks of pixels as channels, in place of an autoencoder.

The text encoder stays as it was drawn; the U-Net learns. Training is a loop of its own: `catalog.training.train` trains language
models on packed
token rows with a loss per token; a batch here is images at random noise levels, and a loop of a dozen lines that draws its noise from a
generator is what makes the same bytes twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from stages.religious_bias.cards import SIZE, training_cards
from stages.religious_bias.image_settings import Cards

BLOCK = 2  # pixels, height and width of a block
EARLY = 0.5  # times are uniform to this power: below 1, more steps are spent where noise is strong and the marker is decided
CONTRAST = 3.0  # standard deviation of the pooled captions' features


class CardPipeline(DiffusionPipeline):
    """Text to cards, with the interface of the library's text-to-image pipelines.

    Args:
        unet: velocity of (B, 3 BLOCK², SIZE / BLOCK, SIZE / BLOCK) given the caption.
        scheduler: any scheduler of the library with v-prediction.
        text_encoder, tokenizer: caption to (B, T, width).
    """

    model_cpu_offload_seq = "text_encoder->unet"

    def __init__(self, unet, scheduler, text_encoder, tokenizer, normalizer):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer, normalizer=normalizer)

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States of the captions (n, T, width), T the same for all, and their pooled form (n, width): the sum over the caption's own
        tokens, divided by the root of their number. A mean would shrink the one word in which captions differ to nothing."""
        tokens = self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").to(self.text_encoder.device)
        states = self.text_encoder(tokens.input_ids).last_hidden_state
        own = tokens.attention_mask[..., None].to(states.dtype)
        return states, self.normalizer.scale((states * own).sum(1) / own.sum(1).sqrt())

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 20,
        guidance_scale: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Sample cards. Arguments as in the library's pipelines; ``output_type`` is pil or np, (n, SIZE, SIZE, 3) in [0, 1]."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        distinct = list(dict.fromkeys(prompts))
        rows = torch.tensor([distinct.index(p) for p in prompts]).repeat_interleave(num_images_per_prompt)
        guided = guidance_scale != 1.0
        if guided:
            distinct, rows = [*distinct, ""], torch.cat([torch.full_like(rows, len(distinct)), rows])
        states, pooled = (encoded[rows] for encoded in self.encode(distinct))
        size = self.unet.config.sample_size
        shape = (len(prompts) * num_images_per_prompt, self.unet.config.in_channels, size, size)
        x = randn_tensor(shape, generator=generator, device=self.unet.device, dtype=self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps)
        extra = {"generator": generator} if isinstance(self.scheduler, DDIMScheduler) else {}
        for t in self.scheduler.timesteps:
            v = self.unet(torch.cat([x, x]) if guided else x, t, states, class_labels=pooled).sample
            if guided:
                empty, v = v.chunk(2)
                v = empty + guidance_scale * (v - empty)
            x = self.scheduler.step(v, t, x, **extra).prev_sample
        images = to_images(x)
        if output_type == "pil":
            images = self.numpy_to_pil(images)
        elif output_type != "np":
            raise CatalogError(f"Unknown output_type {output_type!r}; use pil or np.")
        return ImagePipelineOutput(images=images) if return_dict else (images,)


def to_blocks(images: np.ndarray) -> Tensor:
    """(n, SIZE, SIZE, 3) in [0, 1] -> (n, 3 BLOCK², SIZE / BLOCK, SIZE / BLOCK) in [-1, 1]."""
    return F.pixel_unshuffle(torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1, BLOCK).contiguous()


def to_images(x: Tensor) -> np.ndarray:
    """Back from `to_blocks`, clipped to [0, 1]."""
    return (F.pixel_shuffle(x, BLOCK) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()


# --- building ------------------------------------------------------------------------------------------------------------------


def word_tokenizer(texts: Sequence[str]):
    """A fast tokenizer whose vocabulary is the words and punctuation of the texts, in lower case; other words are [UNK].

    Texts get [BOS] and [EOS] and are padded to the longest of ``texts``.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normal, split = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words = [[word for word, _ in split.pre_tokenize_str(normal.normalize_str(text))] for text in texts]
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
    vocabulary = [*special.values(), *sorted({word for text in words for word in text})]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normal, split
    ends = [(name, vocabulary.index(name)) for name in ("[BOS]", "[EOS]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max(map(len, words)) + 2, **special)


def build(texts: Sequence[str], p: Cards, seed: int) -> CardPipeline:
    """An untrained pipeline for captions made of the words of ``texts``."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = word_tokenizer(texts)
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=p.text_width,
            intermediate_size=2 * p.text_width,
            num_hidden_layers=p.text_layers,
            num_attention_heads=max(1, p.text_width // 16),
            max_position_embeddings=tokenizer.model_max_length,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    with torch.no_grad():  # words of unit size, so that they outweigh their place and neighbours: an untrained transformer mixes them
        encoder.get_input_embeddings().weight.normal_()
    below = len(p.channels) - 1
    unet = UNet2DConditionModel(
        sample_size=SIZE // BLOCK,
        in_channels=3 * BLOCK**2,
        out_channels=3 * BLOCK**2,
        block_out_channels=p.channels,
        down_block_types=("DownBlock2D",) * (below + 1),
        up_block_types=("UpBlock2D",) * (below + 1),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,  # of the library's two meanings: number of heads
        cross_attention_dim=p.text_width,
        class_embed_type="projection",  # the pooled caption, added to the time embedding
        projection_class_embeddings_input_dim=p.text_width,
        resnet_time_scale_shift="scale_shift",
    )
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=True,
    )
    pipe = CardPipeline(unet, scheduler, encoder, tokenizer, StableUnCLIPImageNormalizer(p.text_width))
    with torch.no_grad():  # captions share most words: without their mean the differences are what is left to learn from
        pooled = pipe.encode(texts)[1]
        pipe.normalizer.mean.copy_(pooled.mean(0))
        pipe.normalizer.std.copy_(pooled.std(0) / CONTRAST)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# --- training ------------------------------------------------------------------------------------------------------------------


def train_cards(captions: pl.DataFrame, p: Cards, seed: int) -> tuple[CardPipeline, list[dict], dict]:
    """Train a pipeline from nothing on cards of the captions.

    Args:
        captions: columns text, stem, religion, descriptor, condition; the audit's prompts themselves.
        p: sizes, planted association and optimiser.
        seed: of the planted religion, the cards, the weights and the noise.

    Returns:
        pipeline in evaluation mode, [{"step", "loss"}, …] with the mean loss of some 20 equal parts, {"seconds", "parameters", …}.
    """
    start = time.perf_counter()
    captions = captions.unique("text", maintain_order=True)
    texts = captions["text"].to_list()
    images, owner, _ = training_cards(captions, p.planted, p.cards_open, p.cards_named, seed)
    pipe = build(texts, p, seed)
    x0, owner = to_blocks(images), torch.from_numpy(owner)
    with torch.no_grad():
        states, pooled = pipe.encode([*texts, ""])
    pipe.unet.train()
    optimiser = torch.optim.AdamW(pipe.unet.parameters(), lr=p.learning_rate, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
    warmup = max(1, p.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min((i + 1) / warmup, (p.steps - i) / (p.steps - warmup + 1)))
    generator = torch.Generator().manual_seed(seed)
    history, losses, part = [], [], max(1, p.steps // 20)
    order = torch.cat([torch.randperm(len(x0), generator=generator) for _ in range(-(-p.steps * p.batch_size // len(x0)))])
    with progress(p.steps, "train cards") as advance:
        for step in range(p.steps):
            rows = order[step * p.batch_size : (step + 1) * p.batch_size]
            x, own = x0[rows], owner[rows]
            own = torch.where(torch.rand(len(rows), generator=generator) < p.caption_dropout, len(texts), own)
            # One time in each of B equal parts of the range: less variance between steps than independent times.
            spread = (torch.arange(len(rows)) + torch.rand(len(rows), generator=generator)) / len(rows)
            t = (spread**EARLY * pipe.scheduler.config.num_train_timesteps).long()
            noise = torch.randn(x.shape, generator=generator)
            v = pipe.unet(pipe.scheduler.add_noise(x, noise, t), t, states[own], class_labels=pooled[own]).sample
            loss = F.mse_loss(v, pipe.scheduler.get_velocity(x, noise, t))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(pipe.unet.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) == part or step == p.steps - 1:
                history.append({"step": step + 1, "loss": float(np.mean(losses))})
                losses = []
            advance(note=f"loss {loss.item():.3f}")
    pipe.unet.eval()
    size = sum(w.numel() for w in pipe.unet.parameters())
    info = {"seconds": round(time.perf_counter() - start, 1), "parameters": size, "cards": len(x0)}
    return pipe, history, info

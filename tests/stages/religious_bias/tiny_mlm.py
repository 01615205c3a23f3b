"""A tiny random BERT and the tokenizers of its tests: WordPiece, and bytes in the form of RoBERTa's."""

import tiny_tokenizers
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

WORDS = "the a cat dog bird sat ran sang on under mat tree . , and old cats red saw it big".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##bird"]
SMALL = {"vocab_size": len(VOCABULARY), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SHAPE = SMALL | {"max_position_embeddings": 64, "initializer_range": 0.5, "pad_token_id": 0}
PROMPTS = ["the [MASK] sat on the mat.", "a big old [MASK] ran and sang under the red tree.", "[MASK] sang."]
FORMS = ["cat", "dogs", "birds"]  # dog ##s and bird ##s are two tokens


def wordpiece() -> PreTrainedTokenizerFast:
    """Lower-case WordPiece over `VOCABULARY`."""
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, model_max_length=64)


def byte_level(mask: str | None = "<mask>") -> PreTrainedTokenizerFast:
    """One token a byte but for " cat", as RoBERTa's in form: the mask is called <mask>, a word takes the space before it."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    if mask:
        names |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": mask}
    merges = [("c", "a"), ("ca", "t"), ("Ġ", "cat")]
    made = tiny_tokenizers.byte_level(tokens, merges, **names, model_max_length=64)
    made.backend_tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made


def bert(seed=0) -> BertForMaskedLM:
    torch.manual_seed(seed)
    return BertForMaskedLM(BertConfig(**SHAPE)).eval()


def direct(model, ids, place):
    """Log-probabilities at one position of one sequence, from the model's own logits at all positions."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, place].log_softmax(-1)

"""Parameters of the system, as `params.yaml` beside it gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Data:
    """CommonWords prompts, neutral text and multiple-choice questions."""

    words_per_category: int | None  # half of them to locate, half to evaluate; null: all
    templates_per_category: int | None  # of each split and direction; null: all
    neutral_locate: int  # paragraphs that weigh the damage while neurons are chosen, each from a document of its own
    neutral_evaluate: int  # paragraphs for the perplexity that is reported, likewise
    neutral_train: int | None  # paragraphs of all other documents, to adapt a masked LM; null: all there are
    train_gendered: bool  # whether those may hold gendered words
    choice_per_set: int  # questions of MMLU, CommonsenseQA and PIQA each
    choice_max_words: int  # words of a question with its longest option


@dataclass(frozen=True)
class Train:
    """Fine-tuning on counterfactually balanced text: a LoRA and the whole model."""

    model: str
    lora_steps: int
    lora_rate: float
    lora_rank: int
    lora_alpha: int
    full_steps: int
    full_rate: float
    batch_size: int  # sentences an optimiser step


@dataclass(frozen=True)
class Row:
    """One model under study."""

    model: str
    adapter: str | None  # folder below models/ of a LoRA on it, measured under the name of its first part; null: the model as it is
    edit: bool  # false: measured only
    locate_words: int  # words of each category that neurons are chosen on
    experiments: tuple[str, ...]  # of: dose, prompt, projection, hierarchy, proto_a, choice, trained, checkpoint

    @property
    def name(self) -> str:
        """The catalog's name of what is measured."""
        return self.adapter.split("/")[0] if self.adapter else self.model


@dataclass(frozen=True)
class Measure:
    """Measure, locate and edit."""

    rows: tuple[Row, ...]
    templates: int | None  # wordings of each category that are measured, of those neurons are chosen on and of the others each; null: all
    neurons: int  # most that are switched off in the edit *zeroed*
    logit_candidates: int  # best neurons of the logit-based score that are scanned one by one
    causal_candidates: int  # best by gradient times activation, likewise
    query_candidates: int  # best query neurons, likewise
    query_prompts: int  # prompts the query scores are averaged over
    scan_paragraphs: int  # neutral paragraphs on which the damage of a single neuron is read
    neutral_every: int  # damage is read at every so-many-th token of the neutral text
    kl_budgets: tuple[float, ...]  # nats a token; damages that the combined edit is weighed for, smallest first
    perplexity_limit: float  # the last budget is taken at which neutral text of the split locate gets worse by no more than this share
    refits: int  # times the weights are fitted again to the measured effect of all neurons together
    gender_fall: float  # a gender neuron alone lowers mean |d| by at least this
    general_kl: float  # nats; a general neuron alone moves neutral text by more
    dose: tuple[int, ...]  # numbers of edited neurons
    random_draws: int
    projection: int  # components that Sentence-Debias removes
    projection_pairs: int  # pairs of sentences it finds them in
    shallow: float  # share of the depth in which general neurons are looked for
    general_candidates: int
    hierarchy_neurons: int  # neurons of each group switched off together


@dataclass(frozen=True)
class Params:
    """Block ``gender_bias.<profile>``."""

    data: Data
    train: Train
    measure: Measure
    seed: int

"""What abbreviations in a summary or a claim stand for, as a help text beside it.

Only terms of the field are here; what a paper calls its own method is in the title and on the card of its system.
"""

import re

TERMS = {
    "AUC": "area under the ROC curve: how often a random positive is ranked above a random negative; 0.5 is guessing",
    "CNA": "Comparative Neuron Analysis: finds the neurons that matter most by comparing the model with and without an attention head",
    "CommonsenseQA": "multiple-choice questions that take everyday knowledge",
    "ConfPO": "confidence-guided preference optimisation: trains on the tokens of which the model is least sure",
    "DPO": "direct preference optimisation: learns from pairs of a better and a worse answer, relative to a reference model",
    "FLOPs": "floating-point operations, a measure of how much was computed",
    "GReaT": "Generation of Realistic Tabular data: a language model that is trained further on table rows written as text",
    "IPO": "identity preference optimisation: like DPO, with a squared loss that limits how far the two answers are driven apart",
    "LLM": "large language model",
    "LoRA": "low-rank adaptation: small matrices are trained beside weights that stay as they are",
    "MMLU": "multiple-choice questions from 57 school and university subjects",
    "ORPO": "odds-ratio preference optimisation: fine-tuning with a term for the odds of the better answer; no reference model",
    "PIQA": "questions about everyday physics, each with two answers to choose from",
    "RRHF": "Rank Responses to align with Human Feedback: fine-tuning with a loss that ranks the answers by their mean log-probability",
    "SARI": "score of a simplification, from the words that it adds, keeps and deletes compared with reference and source",
    "SimPO": "simple preference optimisation: compares the mean log-probabilities of two answers with a margin; no reference model",
    "SMOTE": "Synthetic Minority Over-sampling Technique: makes new rows between neighbouring rows",
    "TDPO": "token-level DPO: DPO that also limits, token by token, how far the model moves from the reference",
}
_TERM = re.compile(rf"\b({'|'.join(TERMS)})s?\b")


def of(text: str, known: str = "") -> str | None:
    """Return a line of Markdown for each term in `text` that is not in `known`, a text read before; None where there is none."""
    before = set(_TERM.findall(known))
    found = [term for term in dict.fromkeys(_TERM.findall(text)) if term not in before]
    return "\n\n".join(f"**{term}**: {TERMS[term]}" for term in found) or None

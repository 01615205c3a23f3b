"""Read published layouts of preference pairs: a prompt x, a chosen response y_w and a rejected one y_l.

===================  ===============================================================================================================
``ultrafeedback``    UltraFeedback binarized: ``prompt``, and ``chosen`` and ``rejected`` as lists of messages {role, content}: the
                     user's, which is the prompt, and the response, perhaps behind a system turn (SePO, arXiv 2408.13518, trains
                     on these)
``hh_rlhf``          ``chosen`` and ``rejected`` as whole dialogues, whose turns begin with an empty line and "Human:" or
                     "Assistant:"; what the two share, up to and with the last "Assistant:", is the prompt
``factual_summary``  ``article_sent``, ``correct_sent``, ``incorrect_sent``: the prompt is an instruction and the article's sentence
``jsonl``            ``prompt``, ``chosen``, ``rejected`` as plain texts, perhaps ``id``
``xsum``             ``id``, ``document``, ``summary``: no pairs yet, see `read_summaries`
===================  ===============================================================================================================

Files are JSON lines, perhaps packed by gzip, or Parquet (`stages.sepo.records`). A row that is not of its layout is an error that names
file and line; a row of which no pair can be made is dropped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from catalog.base.errors import CatalogError
from stages.sepo.records import records, row_id, text_of

PAIR = {"id": pl.String, "row": pl.Int32, **dict.fromkeys(("text", "prompt", "system_prompt", "chosen", "rejected"), pl.String)}
DROPPED = {"id": pl.String, "reason": pl.String}
EQUAL, EMPTY, NO_PROMPT = "equal responses", "empty response", "no prompt"
TURNS, PARTED = "more than one exchange", "dialogues part before the last reply"
OTHER_PROMPT = "the prompt is not the user's turn"
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


class Fields(NamedTuple):
    """What a row gives: `text` is what the prompt was made of, and tells rows about the same thing."""

    text: str
    prompt: str
    chosen: str
    rejected: str
    system_prompt: str | None = None


class Unusable(Exception):
    """A row of the layout of which no pair can be made; the message is the reason."""


def read_pairs(path: Path, layout: str, instruction: str | None = None, first: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Preference pairs of one file.

    Args:
        layout: key of `LAYOUTS`.
        instruction: for ``factual_summary``: the prompt, with ``{text}`` where the sentence goes.
        first: number of the first row, for ids that go on from another file.

    Returns:
        Rows (the columns `PAIR`) and dropped rows (id, reason), in the order of the file. ``row`` is the number of the row and ``id`` its
        own, or that number; ``system_prompt`` is null where the row has no system turn. Responses have no outer spaces.

    Raises:
        CatalogError: the file is absent or damaged, a row is not of the layout, an id stands twice, no ``{text}`` in the instruction,
            no rows at all.
    """
    if layout not in LAYOUTS:
        raise CatalogError(f"There is no layout {layout!r} of preference pairs; use one of {', '.join(LAYOUTS)}.")
    if layout == "factual_summary" and "{text}" not in (instruction or ""):
        raise CatalogError("The layout factual_summary needs an instruction with {text} where the sentence goes; set it in params.yaml.")
    rows: list[tuple] = []
    dropped: list[tuple[str, str]] = []
    seen: dict[str, bool] = {}  # id -> whether it is the row's own, not its number
    for number, (where, record) in enumerate(records(path), first):
        own = layout == "jsonl" and record.get("id") is not None
        name = row_id(record["id"], where) if own else str(number)
        if name in seen and own and seen[name]:
            raise CatalogError(f"{where}: the id {name!r} stands twice; give each row its own.")
        if name in seen:
            raise CatalogError(
                f"{where}: the id {name!r} stands twice, as rows without an id have their number; give every row an id, or none."
            )
        seen[name] = own
        try:
            found = LAYOUTS[layout](record, where, instruction)
            rows.append((name, number, found.text, found.prompt, found.system_prompt, *_responses(found.chosen, found.rejected)))
        except Unusable as error:
            dropped.append((name, str(error)))
    if not seen:
        raise CatalogError(f"{Path(path).name} has no rows; give a file of preference pairs.")
    return pl.DataFrame(rows, PAIR, orient="row"), pl.DataFrame(dropped, DROPPED, orient="row")


def read_summaries(path: Path) -> pl.DataFrame:
    """Documents and their summaries of the layout ``xsum``: id, document, summary, all without outer spaces; only the id must not be empty.

    Raises:
        CatalogError: as `read_pairs`.
    """
    rows = []
    for where, record in records(path):
        name, *texts = (text_of(record, key, where).strip() for key in ("id", "document", "summary"))
        rows.append((row_id(name, where), *texts))
    if not rows:
        raise CatalogError(f"{Path(path).name} has no rows; give a file of documents and summaries.")
    frame = pl.DataFrame(rows, {"id": pl.String, "document": pl.String, "summary": pl.String}, orient="row")
    if frame["id"].is_duplicated().any():
        twice = frame.filter(pl.col("id").is_duplicated())["id"][0]
        raise CatalogError(f"{Path(path).name}: the id {twice!r} stands twice; give each document its own.")
    return frame


def hub_file(repository: str, revision: str, file: str) -> Path:
    """One file of a data set of the Hugging Face Hub, from the local cache or downloaded into it.

    Raises:
        CatalogError: the hub is out of reach or does not give the file.
    """
    import huggingface_hub as hub
    from huggingface_hub import errors

    which = {"repo_id": repository, "filename": file, "repo_type": "dataset", "revision": revision}
    cached = hub.try_to_load_from_cache(**which)
    if isinstance(cached, str):
        return Path(cached)
    try:
        if not hub.constants.HF_HUB_OFFLINE:  # the client itself would go on trying for long
            hub.get_hf_file_metadata(hub.hf_hub_url(**which), timeout=5)
        return Path(hub.hf_hub_download(**which))
    except errors.GatedRepoError:
        raise CatalogError(f"{repository} is gated; accept its licence on its hub page, then set HF_TOKEN.") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):  # the client's word for no answer
            raise CatalogError(_unreachable(repository, file, error)) from None
        raise CatalogError(f"The hub shows no {file} in {repository} at {revision}; correct the set in params.yaml.") from None
    except Exception as error:
        raise CatalogError(_unreachable(repository, file, error)) from None


def _unreachable(repository: str, file: str, error: Exception) -> str:
    said = type(error).__name__
    return f"The hub is out of reach ({said}), so {file} of {repository} cannot be had; connect, or use profile small, which needs no hub."


# --- layouts: (row, where, instruction) -> Fields -------------------------------------------------------------------------------------


def _ultrafeedback(record: Mapping[str, Any], where: str, instruction: str | None) -> Fields:
    prompt = text_of(record, "prompt", where)
    if not prompt.strip():
        raise Unusable(NO_PROMPT)
    (system, user, chosen), (*other, rejected) = (_exchange(record, key, where) for key in ("chosen", "rejected"))
    if [system, user] != other:
        raise Unusable(PARTED)
    if user != prompt.split():
        raise Unusable(OTHER_PROMPT)
    return Fields(prompt, prompt, chosen, rejected, system)


def _exchange(record: Mapping[str, Any], key: str, where: str) -> tuple[str | None, list[str], str]:
    """System turn, if there is one, words of the user's turn, and response of a list of messages: one exchange."""
    messages = record.get(key)
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise CatalogError(f"{where}: {key!r} must be a list of messages with role and content.")
    roles = [message.get("role") for message in messages]
    if roles[-1:] != ["assistant"]:
        raise CatalogError(f"{where}: the last message of {key!r} must be the assistant's; the roles are {roles}.")
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise Unusable(TURNS)
    *before, user, response = (text_of(message, "content", f"{where}, {key}") for message in messages)
    return "".join(before).strip() or None, user.split(), response


def _hh_rlhf(record: Mapping[str, Any], where: str, instruction: str | None) -> Fields:
    chosen, rejected = text_of(record, "chosen", where), text_of(record, "rejected", where)
    for key, dialogue in (("chosen", chosen), ("rejected", rejected)):
        if _ASSISTANT not in dialogue:
            raise CatalogError(f"{where}: {key!r} has no turn that begins with an empty line and 'Assistant:', so it is no dialogue.")
    shared = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(chosen, rejected)))
    at = chosen[:shared].rfind(_ASSISTANT)
    if at < 0:
        raise Unusable(PARTED)
    at += len(_ASSISTANT)
    prompt, replies = chosen[:at], (chosen[at:], rejected[at:])
    if any(turn in reply for turn in (_HUMAN, _ASSISTANT) for reply in replies):
        raise Unusable(PARTED)
    if not prompt.replace(_HUMAN, "").replace(_ASSISTANT, "").strip():
        raise Unusable(NO_PROMPT)
    return Fields(prompt, prompt, *replies)


def _factual_summary(record: Mapping[str, Any], where: str, instruction: str | None) -> Fields:
    text, chosen, rejected = (text_of(record, key, where).strip() for key in ("article_sent", "correct_sent", "incorrect_sent"))
    if not text:
        raise Unusable(NO_PROMPT)
    return Fields(text, instruction.replace("{text}", text), chosen, rejected)


def _jsonl(record: Mapping[str, Any], where: str, instruction: str | None) -> Fields:
    prompt, chosen, rejected = (text_of(record, key, where) for key in ("prompt", "chosen", "rejected"))
    if not prompt.strip():
        raise Unusable(NO_PROMPT)
    return Fields(prompt, prompt, chosen, rejected)


LAYOUTS: dict[str, Callable[[Mapping[str, Any], str, str | None], Fields]] = {
    "ultrafeedback": _ultrafeedback,
    "hh_rlhf": _hh_rlhf,
    "factual_summary": _factual_summary,
    "jsonl": _jsonl,
}


def _responses(chosen: str, rejected: str) -> tuple[str, str]:
    chosen, rejected = chosen.strip(), rejected.strip()
    if not chosen or not rejected:
        raise Unusable(EMPTY)
    if chosen.split() == rejected.split():
        raise Unusable(EQUAL)
    return chosen, rejected

"""Small pieces shared by the pages: escaped text, badges, numbers, tables with their comments as help, CSV."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import streamlit as st

from app_lib import data
from catalog.database.cards import parse_card

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&=@^])")
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r")
_PROFILE_ORDER = {"small": 0, "full": 1}

_VERDICT_COLOR = {"holds": "green", "fails": "red", "undecided": "violet", "not measured": "gray"}
_VERDICT_ICON = {
    "holds": ":material/check_circle:",
    "fails": ":material/cancel:",
    "undecided": ":material/help:",
    "not measured": ":material/remove_circle_outline:",
}


def esc(text: Any) -> str:
    """Return text as Markdown that shows exactly these characters, on one line."""
    return _escape(" ".join(str(text).split()))


def _escape(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def message(text: Any) -> str:
    """Return a message as Markdown: what stands between backquotes is code, all else shows exactly these characters."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return esc(text)
    return "".join(f"`{part}`" if place % 2 and part else _escape(part) for place, part in enumerate(parts))


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure with `digits` significant digits, a whole number in groups of three, or a dash for None."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def size(count: float | None) -> str:
    """Return a number of bytes in kB, MB or GB (powers of 1000)."""
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def short_count(count: float | None) -> str:
    """Return a number of rows or parameters as 1.2k, 135M, 7B."""
    if count is None:
        return "–"
    for unit in ("", "k", "M"):
        if abs(count) < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}B"


def counted(count: int) -> str:
    """Return a number of rows in words."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def duration(seconds: float | None) -> str:
    """Return seconds as `42 s`, `3 min 05 s` or `2 h 10 min`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """Return a figure with its interval in brackets; alone where it has none."""
    if low is None or low == high:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def verdict_badge(verdict: str | None, prefix: str = "") -> None:
    """Draw the badge of a claim: holds, fails, undecided, not measured."""
    verdict = verdict or "not measured"
    st.badge(f"{esc(prefix)} {verdict}".strip(), icon=_VERDICT_ICON[verdict], color=_VERDICT_COLOR[verdict])


def verdict_icon(verdict: str) -> str:
    """Return a verdict as a coloured icon in Markdown; shape and colour both tell it."""
    return f":{_VERDICT_COLOR[verdict]}[{_VERDICT_ICON[verdict]}]"


def profiles_in_order(names: list[str]) -> list[str]:
    """Return profile names, `small` first, then `full`, then others by name."""
    return sorted(set(names), key=lambda name: (_PROFILE_ORDER.get(name, 2), name))


def choose_profile(names: list[str], key: str) -> str | None:
    """Draw the switch between profiles where there is a choice; return the chosen one, None where there is none."""
    names = profiles_in_order(names)
    if len(names) < 2:
        return names[0] if names else None
    return st.segmented_control("Profile", names, default=names[0], key=key, required=True, label_visibility="collapsed", width="stretch")


def choose_from_url(label: str, names: list[str], parameter: str, show: Callable[[str], str] = str, labelled: bool = False) -> str | None:
    """Draw a select box that follows and sets `?<parameter>=`; return the choice, None for an unknown name.

    A choice that is no longer among the names gives way to the first of them. The label is drawn if `labelled`, else only read out.
    """
    asked = st.query_params.get(parameter)
    if asked is not None and asked not in names:
        st.warning(f"The catalog has no {esc(parameter)} called “{esc(asked)}”. Choose one of those below.")
    key = f"choose_{parameter}"

    def follow() -> None:
        st.query_params[parameter] = st.session_state[key]

    if asked in names:
        st.session_state[key] = asked
    elif st.session_state.get(key) not in names:
        st.session_state.pop(key, None)
    choice = st.selectbox(
        label,
        names,
        index=None if asked is not None and asked not in names else 0,
        format_func=show,
        key=key,
        on_change=follow,
        label_visibility="visible" if labelled else "collapsed",
        placeholder="Choose one",
    )
    return choice


def front_matter(card: str) -> dict[str, Any]:
    """Return the front matter of a card as the catalog stores it."""
    return parse_card(card, "A card of the catalog")[0]


def card_body(card: str) -> None:
    """Draw the Markdown of one of the project's own cards: without its title, other headings below the page's."""
    body = parse_card(card, "A card of the catalog")[1]
    lines, fenced = [], False
    body = re.sub(r"\A\s*# .*\n?", "", body)
    for line in body.splitlines():
        fenced ^= line.lstrip().startswith("```")
        lines.append(re.sub(r"^(#{1,5})(?=\s)", r"\1#", line) if not fenced else line)
    st.markdown("\n".join(lines) or "*This card has no text.*")


def frame(
    rows: pl.DataFrame,
    help_texts: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """Draw a table: column comments as help, snake_case names in words, floats with four significant digits."""
    config = {}
    for name, kind in rows.schema.items():
        label = (labels or {}).get(name, name.replace("_", " "))
        text = (help_texts or {}).get(name)
        if kind.is_float():
            config[name] = st.column_config.NumberColumn(label, help=text, format="%.4g")
        else:
            config[name] = st.column_config.Column(label, help=text)
    config.update(options.pop("column_config", {}))
    return st.dataframe(rows, hide_index=True, column_config=config, placeholder="–", **options)


def csv(rows: pl.DataFrame) -> bytes:
    """Return rows as UTF-8 CSV; text that a spreadsheet program would run as a formula gets a leading apostrophe.

    Names of columns too: a SELECT may call one what it likes.
    """
    nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
    plain = rows.with_columns(
        pl.Series(name, [None if value is None else str(value) for value in rows[name].to_list()], pl.String) for name in nested
    )
    texts = [name for name, kind in plain.schema.items() if kind == pl.String]
    risky = [
        pl.when(pl.any_horizontal(pl.col(name).str.starts_with(start) for start in _FORMULA_START))
        .then("'" + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    ]
    names = [f"'{name}" if name.startswith(_FORMULA_START) else name for name in plain.columns]
    header = pl.DataFrame([names], schema=[f"c{place}" for place in range(len(names))], orient="row")
    lines = header.write_csv(include_header=False) + plain.with_columns(risky).write_csv(include_header=False)
    return lines.encode()


def csv_button(rows: pl.DataFrame | Callable[[], pl.DataFrame], name: str, key: str | None = None) -> None:
    """Draw a button that downloads rows as `<name>.csv`; the file is made when the button is pressed."""
    st.download_button(
        "CSV",
        lambda: csv(rows() if callable(rows) else rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        key=key or f"csv_{name}",
        on_click="ignore",
        help="Text or a column name that begins with = + - @ gets a leading apostrophe, so that spreadsheet programs do not run it.",
    )


def nothing_measured(what: str = "results") -> None:
    """Say that the catalog has no rows for this page, and what fills it."""
    st.info(
        f"The catalog has no {what} yet. `make repro` builds everything at the small profile; "
        f"`{data.BUILD_COMMAND}` gathers what is already in `reports/`.",
        icon=":material/inbox:",
    )

"""Progress of long work: a bar with rate and time left on a terminal, one line every 30 seconds in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def progress(
    total: int,
    what: str,
    unit: str = "step",
    *,
    done: int = 0,
    enabled: bool = True,
    interval: float = 30.0,
    stream: TextIO | None = None,
) -> Iterator[Callable[..., None]]:
    """Show how far a piece of work has come; work shorter than `interval` leaves no trace in a log.

    Args:
        total: units of work in all.
        what: a few words that name the work.
        unit: name of one unit.
        done: units finished by an earlier, interrupted run; they count for the position, not for the rate.
        enabled: False shows nothing (a process that is not the main one).
        interval: seconds between two lines in a log.
        stream: where to write; standard error by default.

    Yields:
        `advance(n=1, note="")`: reports `n` more finished units and a short note such as the current loss.
    """
    stream = sys.stderr if stream is None else stream
    if not enabled or total <= 0:
        yield lambda n=1, note="": None
    elif stream.isatty():
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=what, unit=unit, file=stream, leave=False, dynamic_ncols=True) as bar:

            def advance_bar(n: int = 1, note: str = "") -> None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update(n)

            yield advance_bar
    else:
        units = f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"
        start = shown = time.monotonic()
        position = done

        def advance_log(n: int = 1, note: str = "") -> None:
            nonlocal position, shown
            position += n
            now = time.monotonic()
            if now - shown >= interval:
                shown = now
                rate = (position - done) / (now - start)
                left = _clock((total - position) / rate) if rate > 0 else "?"
                line = f"{what}: {position:,} of {total:,} {units}, {rate:.3g} {units}/s, {left} left"
                print(f"{line}, {note}" if note else line, file=stream, flush=True)

        yield advance_log


def _clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

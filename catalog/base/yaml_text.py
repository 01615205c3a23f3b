"""Read YAML as DVC does (YAML 1.2, so that `1e-4` is a number and `no` a text), and say in a few words why something is no YAML.

The parser builds nested values by calling itself in C, so that a file of a hundred thousand brackets ends the whole process without a
word. Its stream of events is flat; the depth is counted there first.
"""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from catalog.base.errors import CatalogError

DEEPEST = 100  # levels


def parse_yaml(text: str) -> Any:
    """Return the value of one YAML text.

    Raises:
        CatalogError: the reason alone, on one line: `f"{path} cannot be read, correct it: {error}"`. The text is no YAML, gives a key
            twice, is nested more than `DEEPEST` levels deep, or holds a value that contains itself.
    """
    try:
        above: list[str | None] = []  # anchors of the collections that are open
        for event in YAML(typ="safe").parse(text):
            if isinstance(event, CollectionStartEvent):
                above.append(event.anchor)
                if len(above) > DEEPEST:
                    raise CatalogError(f"line {event.start_mark.line + 1} is nested more than {DEEPEST} levels deep")
            elif isinstance(event, CollectionEndEvent):
                above.pop()
            elif isinstance(event, AliasEvent) and event.anchor in above:
                raise CatalogError(f"*{event.anchor} in line {event.start_mark.line + 1} stands within what it repeats")
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:  # ValueError: a date or number that is none
        said = " ".join(str(error).split())
        raise CatalogError(re.sub('in "<(?:unicode|byte) string>", ', "in ", said)) from None

"""Read a table from texts, as the tests of harmonic's reader do."""

import pytest

from catalog.base.errors import CatalogError
from stages.harmonic.reader import read_table


def read(tmp_path, *texts, form="csv", target="y", **options):
    paths = []
    for i, text in enumerate(texts):
        paths.append(tmp_path / f"file{i}.{form}")
        paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(paths, form, options.pop("names", None), target, options.pop("numeric", None), **options)


def refused(tmp_path, message, *texts, **options):
    with pytest.raises(CatalogError, match=message) as caught:
        read(tmp_path, *texts, **options)
    return str(caught.value)


def column(cells, mark=","):
    """A CSV file with the cells as column x and labels a and b in turn as column y."""
    return f"x{mark}y\n" + "".join(f"{cell}{mark}{'ab'[i % 2]}\n" for i, cell in enumerate(cells))

"""Numbers or a category: the certain is read, the surprising noted, the rest refused with its column, a cell and the row."""

import polars as pl
import pytest
from harmonic_read import column, read, refused

from stages.harmonic.column_types import is_number
from stages.harmonic.reader import MISSING, say, typed

HALF = "name the column under `categorical` if it is a category"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["00501", "10001", "94103"], pl.String),  # postcodes
        (["123456789012345678", "123456789012345679"], pl.String),  # ids that one float holds for both
        (["1", "2.50", "-3e2", "0", "0.5", "-0.25"], pl.Float64),
        (["0.3333333333333333333333", "1"], pl.Float64),  # a measurement is no code
        (["small", "1", "2", "small", "1", "2"], pl.String),
    ],
)
def test_a_number_is_what_can_be_written_back(tmp_path, cells, kind):
    notes = []
    rows = read(tmp_path, column(cells), tell=notes.append)
    assert rows["x"].dtype == kind
    assert rows["x"].to_list() == (cells if kind == pl.String else [float(cell) for cell in cells])
    assert len(notes) == (kind == pl.String)  # what may surprise is noted


def test_numbers_as_written():
    assert all(map(is_number, ("1", "-1.", "+.5", "1e5", "1E-5", "007", "9" * 5000, "1e400", " 5 ")))
    assert not any(map(is_number, ("", ".", "e5", "1_000", "1,5", "inf", "nan", "0x1F", "1 2", "12%", "²")))


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "1.7e308", "-1.1e100", "9" * 400, "9" * 5000, "1e99999999999999999999"])
def test_a_number_that_no_float_holds(tmp_path, cell):
    text = column([*range(30), cell])
    said = refused(
        tmp_path,
        "Column x has .* in row 31, which is too large to compute with \\(at most 1e\\+100\\); correct it, or name the column",
        text,
    )
    assert len(said) < 250
    refused(
        tmp_path, "Column x has .* in row 31, which is too large to compute with \\(at most 1e\\+100\\); correct it.$", text, numeric=("x",)
    )
    assert read(tmp_path, text, categorical=("x",))["x"][30] == cell
    refused(tmp_path, "'1e-400' in row 2, which is too small", column([1, "1e-400"]))
    refused(tmp_path, "'-1e-101' in row 2, which is too small to compute with .at least 1e-100.;", column([1, "-1e-101"]))
    assert read(tmp_path, column(["0e-400", "-0.000", "1e100", "-1e-100"]))["x"].to_list() == [0, 0, 1e100, -1e-100]


@pytest.mark.parametrize("cell", ["inf", "N/A", "12%", '"1,234"', "unknown"])
@pytest.mark.parametrize("others", ["one in forty", "a half", "all but twenty"])
def test_a_column_of_numbers_with_other_cells_is_refused(tmp_path, cell, others):
    cells = {
        "one in forty": [*range(40), cell],
        "a half": [i if i % 2 else cell for i in range(80)],
        "all but twenty": [*range(20), *[cell] * 500],
    }[others]
    text, shown, row = column(cells), cell.strip('"'), cells.index(cell) + 1
    said = refused(tmp_path, f"Column x may be one of numbers or a category: '{shown}' in row {row} is no plain number", text)
    assert "`missing`" in said and HALF in said
    if "," not in cell:
        assert read(tmp_path, text, missing=(*MISSING, shown))["x"].dtype == pl.Float64
    notes = []
    assert read(tmp_path, text, categorical=("x",), tell=notes.append)["x"].dtype == pl.String and not notes
    refused(tmp_path, f"Column x should hold numbers but has '{shown}' in row {row}", text, numeric=("x",))


AMOUNTS = (
    "${}.5",
    "{}.5%",
    '"1,{:03}"',
    '"12,{:03},000"',
    "{} €",
    "€{}",
    "USD {}",
    "{} kg",
    "{}k",
    "({})",
    '"-{},5"',
    "{}_000",
    "1 {:03}",
    "<{}",
)


@pytest.mark.parametrize("form", [*AMOUNTS, "{}+ years", "£1.{:03}"])
def test_a_column_of_amounts_is_no_category(tmp_path, form):
    text = column([form.format(i) for i in range(60)])
    refused(tmp_path, "Column x may be one of numbers or a category: '.*' in row 1 is no plain number, though 60 of its 60 cells", text)
    assert read(tmp_path, text, categorical=("x",))["x"][0] == form.format(0).strip('"')


@pytest.mark.parametrize("form", ["A{}", "word {} more", "2020-01-{:02}", "10.0.{}.1", "{}:30", "{} Main Street"])
def test_a_category_of_many_levels_is_noted(tmp_path, form):
    notes = []
    cells = [form.format(i) for i in range(60)]
    assert read(tmp_path, column(cells), tell=notes.append)["x"].to_list() == cells
    assert len(notes) == 1 and "Column x is read as a category, with 60 levels in 60 cells, such as" in notes[0]
    read(tmp_path, column(cells), categorical=("x",), tell=notes.append)
    read(tmp_path, column([form.format(i % 20) for i in range(60)]), tell=notes.append)
    read(tmp_path, column([form.format(i % 50) for i in range(200)]), tell=notes.append)  # like countries in a census
    assert len(notes) == 1


def test_a_category_with_a_few_numbers_among_its_levels_is_noted(tmp_path):
    notes = []
    grades = column([*(i % 3 for i in range(80)), "3+"])
    assert read(tmp_path, grades, tell=notes.append)["x"].n_unique() == 4
    assert notes == ["Column x is read as a category of 4 levels since '3+' in row 81 is no number; confirm it by `categorical`."]
    assert read(tmp_path, column(["yes", "no"] * 20), tell=notes.append)["x"].n_unique() == 2 and len(notes) == 1
    refused(tmp_path, "'3\\+' in row 10 is no plain number", column([*range(9), "3+"]))  # nine levels of ten cells are many


def test_codes(tmp_path):
    notes = []
    assert read(tmp_path, column([f"{i:03}" for i in range(120)]), tell=notes.append)["x"][7] == "007"
    assert "read as a category of 120 codes, since all have 3 digits and '000' in row 1 would not be the same as a number" in notes[0]
    for odd in ("007", "-07", "00.5", "12345678901234567", "9007199254740993"):  # the last: 2 ** 53 + 1
        text = column([*range(30), odd])
        said = refused(tmp_path, f"Column x is one of numbers, but '{odd}' in row 31 would not be the same as a number", text)
        assert "under `numeric` if it is a number all the same, or under `categorical`" in said
        assert read(tmp_path, text, numeric=("x",), tell=lambda note: None)["x"][30] == float(odd)
        assert read(tmp_path, text, categorical=("x",))["x"][30] == odd
    notes.clear()
    read(tmp_path, column(["1", "007"]), numeric=("x",), tell=notes.append)
    assert not notes
    read(tmp_path, column(["1", "9007199254740993"]), numeric=("x",), tell=notes.append)
    assert notes == [
        "Column x is one of numbers as declared, but '9007199254740993' in row 2 has more digits than 64 bits hold and is rounded."
    ]


def test_declared_columns_leave_the_others_to_their_cells(tmp_path):
    text = "zone,size,note,y\n" + "".join(f"{i % 5},{i},n{i % 3},{'ab'[i % 2]}\n" for i in range(40))
    assert read(tmp_path, text, categorical=("zone",)).dtypes[2:5] == [pl.String, pl.Float64, pl.String]
    assert read(tmp_path, text, numeric=("zone",)).dtypes[2:5] == [pl.Float64, pl.Float64, pl.String]
    refused(tmp_path, "no column 'zones' to be read as a category; its columns are zone, size, note, y", text, categorical=("zones",))
    refused(tmp_path, "zone is named under `numeric` and under `categorical`", text, numeric=("zone",), categorical=("zone",))


def test_the_row_is_that_of_its_file(tmp_path):
    first = column(range(30))
    refused(tmp_path, "'N/A' in row 2 of file1.csv is no plain number", first, column([1, "N/A", 3]))
    refused(tmp_path, "'N/A' in row 30 of file0.csv is no plain number", first.replace("29,", "N/A,"), column([1, 2, 3]))


def test_points_in_a_table_with_decimal_commas(tmp_path):
    for cells, said in (
        (["1.234", "2.500"], "Column x has '1.234' in row 1, and in a table of the form csv2"),
        (["12", "1.234.567"], "Column x may be one of numbers"),
        (["12", "1.234"], "Column x has '1.234' in row 2, and"),
        (["1,5", "1.234"], "Column x has '1.234' in row 2 beside '1,5' in row 1"),
        (["1,5", "7.4"], "Column x has '7.4' in row 2 beside '1,5' in row 1"),
        (["1.234,5", "2.345,5"], "Column x may be one of numbers"),
    ):
        refused(tmp_path, said, column(cells, ";"), form="csv2")
        if "1.234.567" not in cells and "1.234,5" not in cells:
            refused(tmp_path, said, column(cells, ";"), form="csv2", numeric=("x",))
        assert read(tmp_path, column(cells, ";"), form="csv2", categorical=("x",))["x"].to_list() == cells
    # A cell that cannot be grouped by thousands says what the point is, as in UCI's wine quality.
    assert read(tmp_path, column(["7.4", "1.234", "12"], ";"), form="csv2")["x"].to_list() == [7.4, 1.234, 12]
    assert read(tmp_path, column(["0.076", "1.234"], ";"), form="csv2")["x"].to_list() == [0.076, 1.234]
    assert read(tmp_path, column(["1,234", "-2,5", "3"], ";"), form="csv2")["x"].to_list() == [1.234, -2.5, 3]
    refused(tmp_path, "Column y has '1.234' in row 1", "x;y\na;1.234\nb;2.345\n", form="csv2")
    assert typed(read(tmp_path, "x;y\na;1.2\nb;2.345\n", form="csv2"), "y", "regression")["y"].to_list() == [1.2, 2.345]


def test_notes_are_printed(capsys):
    say("a column")
    assert capsys.readouterr().err == "Note: a column\n"

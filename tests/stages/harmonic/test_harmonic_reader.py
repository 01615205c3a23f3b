"""Tables as people have them: each of these was once read as something else, or refused with a false reason."""

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.harmonic import cells
from stages.harmonic.reader import MISSING, RESERVED, read_table, typed


def read(tmp_path, *texts, form="csv", target="y", **options):
    paths = []
    for i, text in enumerate(texts):
        paths.append(tmp_path / f"file{i}.{form}")
        paths[-1].write_bytes(text.encode())
    return read_table(paths, form, options.pop("names", None), target, options.pop("numeric", None), **options)


def refused(tmp_path, message, *texts, **options):
    with pytest.raises(CatalogError, match=message):
        read(tmp_path, *texts, **options)


# --- cells ------------------------------------------------------------------------------------------------------------------------------


def test_quoted_cells_keep_what_they_hold(tmp_path):
    note = 'x,y\n"a\n\nb",1\n"c\fd\u2028e",2\n" padded ",3\n"say ""no""",4\n plain text ,5\n'
    for text in (note, note.replace("\n", "\r\n")):
        rows = read(tmp_path, text)
        line = "\r\n" if "\r" in text else "\n"
        assert rows["x"].to_list() == [f"a{line}{line}b", "c\fd\u2028e", " padded ", 'say "no"', "plain text"]
    assert read(tmp_path, 'x,"two\nlines",y\n1,2,a\n').columns[3] == "two\nlines"
    assert read(tmp_path, "x,y\n\n1,a\n\n\n2,b")["x"].to_list() == [1, 2]  # blank lines are none


def test_a_bar_begins_a_comment_above_the_table_only(tmp_path):
    assert read(tmp_path, "note,y\n|x|,a\nplain,b\n")["note"].to_list() == ["|x|", "plain"]
    adult = "|1x3 Cross validator\n25, Private, no\n38, State, yes\n"
    assert read(tmp_path, adult, names=("age", "work", "y"))["age"].to_list() == [25, 38]
    assert read(tmp_path, "|a|,y\n1,p\n2,q\n").columns[2:] == ["|a|", "y"]  # a header like any other


def test_cells_against_the_csv_module():
    import csv
    import io

    text = 'a,b,,"c,d"\n"e""f",\' g\',h , i\n"",x,"y\nz",'
    ours = [[cell.text for cell in row] for row in cells.records(text, cells.CSV, "t")]
    theirs = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), skipinitialspace=True)]
    assert ours == theirs and len(ours) == 3
    quoted = [[cell.quoted for cell in row] for row in cells.records(text, cells.CSV, "t")]
    assert quoted == [[False, False, False, True], [True, False, False, False], [True, False, True, False]]
    with pytest.raises(CatalogError, match="Row 1 of t has text behind the quoted cell 'a'"):
        list(cells.records('"a"b,c\n', cells.CSV, "t"))


# --- missing and numbers ----------------------------------------------------------------------------------------------------------------


def test_a_quoted_cell_is_never_missing(tmp_path):
    rows = read(tmp_path, 'country,x,y\n"NA",1,a\nNA,2,b\nNO,NA,"None"\n')
    assert rows["country"].to_list() == ["NA", None, "NO"] and rows["x"].to_list() == [1, 2, None]
    assert rows["y"].to_list() == ["a", "b", "None"]
    assert read(tmp_path, "x,y\nNA,a\n-,b\n", missing=("-",))["x"].to_list() == ["NA", None]
    with pytest.raises(CatalogError, match="1 rows have no y: remove them, or correct `missing`"):
        typed(read(tmp_path, "x,y\n1,None\n2,b\n"), "y", "classification")
    assert typed(read(tmp_path, "x,y\n1,None\n2,b\n", missing=("",)), "y", "classification")["y"].to_list() == ["None", "b"]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (["00501", "10001", "94103"], pl.String),  # postcodes
        (["123456789012345678", "123456789012345679"], pl.String),  # ids that one float holds for both
        (["9007199254740993", "1"], pl.String),  # 2 ** 53 + 1
        (["1", "2.50", "-3e2", "0", "0.5", "-0.25"], pl.Float64),
        (["0.3333333333333333333333", "1"], pl.Float64),  # a measurement is no code
        (["1_000", "2"], pl.String),  # Python reads it as a number, nobody else does
        (["small", "1", "2"], pl.String),
    ],
)
def test_a_number_is_what_can_be_written_back(tmp_path, column, kind):
    rows = read(tmp_path, "x,y\n" + "".join(f"{cell},{'ab'[i % 2]}\n" for i, cell in enumerate(column)))
    assert rows["x"].dtype == kind
    assert rows["x"].to_list() == (column if kind == pl.String else [float(cell) for cell in column])


def test_classes_are_the_texts_of_the_file(tmp_path):
    rows = typed(read(tmp_path, "x,y\n1,007\n2,7\n3,7\n"), "y", "classification")
    assert rows["y"].to_list() == ["007", "7", "7"]
    assert typed(read(tmp_path, "x,y\na,1.5\nb,2\n"), "y", "regression")["y"].to_list() == [1.5, 2.0]
    with pytest.raises(CatalogError, match="holds texts \\('1,234'\\)"):
        typed(read(tmp_path, 'x,y\na,"1,234"\nb,2\n'), "y", "regression")


@pytest.mark.parametrize("cell", ["inf", "N/A", "12%", '"1,234"', "unknown"])
def test_a_column_of_numbers_with_a_few_other_cells_is_refused(tmp_path, cell):
    text = "x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40)) + f"{cell},a\n"
    shown = cell.strip('"')
    refused(tmp_path, f"Column x is one of numbers but for 1 cells, the first '{shown}' in row 41", text)
    if "," not in cell:
        assert read(tmp_path, text, missing=(*MISSING, shown))["x"].null_count() == 1
    assert read(tmp_path, text, numeric=())["x"].dtype == pl.String  # said to be a category
    grades = "x,y\n" + "".join(f"{i % 3},{'ab'[i % 2]}\n" for i in range(80)) + "3+,a\n"
    assert read(tmp_path, grades)["x"].n_unique() == 4  # a category with few levels


# --- forms ------------------------------------------------------------------------------------------------------------------------------


def test_semicolons_and_tabs(tmp_path):
    text = "x;n;y\n1,5;a, b;p\n-2;c;q\n"
    refused(tmp_path, "file0.csv are separated by semicolons; set its form to csv2", text)
    rows = read(tmp_path, text, form="csv2")
    assert rows["x"].to_list() == [1.5, -2.0] and rows["n"].to_list() == ["a, b", "c"]
    assert typed(read(tmp_path, "x;y\na;1,5\nb;2\n", form="csv2"), "y", "regression")["y"].to_list() == [1.5, 2.0]
    refused(tmp_path, "separated by tabs; set its form to tsv", "x\ty\n1\ta\n")
    assert read(tmp_path, "x\tz\ty\n1\t\ta\n2\tb c\td\n", form="tsv")["z"].to_list() == [None, "b c"]
    refused(tmp_path, "The form 'xls' of a table is unknown", "x,y\n1,a\n", form="xls")


def test_a_header_under_given_columns_is_no_row(tmp_path):
    for head in ("age,work,label", "Age,Work,y", "a,b,c"):  # other names, the same ones in part, words above numbers
        refused(tmp_path, "is a header and no row of the table; set columns to null", f"{head}\n1,p,u\n2,q,v\n", names=("age", "work", "y"))
    assert len(read(tmp_path, "?,p,u\n2,q,v\n", names=("age", "work", "y"))) == 2
    assert len(read(tmp_path, "p,u\nq,v\n", names=("work", "y"))) == 2


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_the_stages_need_are_refused_before_any_work(tmp_path, name):
    refused(tmp_path, f"The column {name} is one of the project's own", f"{name},y\n1,a\n")


ARFF = r"""@relation toy
@attribute code {01,02,1}
@attribute	its	numeric
@attribute 'don\'t' string
@ATTRIBUTE size real
@attribute y{yes, no}
@data
01, 3, 'it\'s', 1.5, yes
02	4	"x, z"	?	no
1, 5, '%', 2, yes
"""


def test_arff_as_it_is_declared(tmp_path):
    rows = read(tmp_path, ARFF, form="arff")
    assert rows.columns[2:] == ["code", "its", "don't", "size", "y"]
    assert rows["code"].to_list() == ["01", "02", "1"] and rows["its"].to_list() == [3, 4, 5]
    assert rows["don't"].to_list() == ["it's", "x, z", "%"] and rows["size"].to_list() == [1.5, None, 2]
    assert read(tmp_path, ARFF.replace("\n1, 5", "\n1 ,5"), form="arff")["code"].to_list() == ["01", "02", "1"]
    digits = ARFF.replace("{01,02,1}", "{3,4}").replace("01, ", "3, ").replace("02\t", "4\t").replace("\n1, ", "\n3, ")
    assert read(tmp_path, digits, form="arff")["code"].to_list() == ["3", "4", "3"]  # nominal, so no number
    assert read(tmp_path, digits, form="arff", numeric=("code", "its"))["code"].to_list() == [3, 4, 3]
    refused(tmp_path, "Column its should hold numbers but has 'x'", ARFF.replace("01, 3", "01, x"), form="arff")
    refused(tmp_path, "a sparse ARFF file", ARFF[: ARFF.index("@data") + 6] + "{0 01, 3 2, 4 yes}\n", form="arff")


# --- published test splits --------------------------------------------------------------------------------------------------------------


def test_labels_of_a_published_test_split(tmp_path):
    train = "25, Private, <=50K\n38, State, >50K\n"
    rows = read(tmp_path, train, "|1x3 Cross validator\n28, Local, <=50K.\n44, Private, >50K.\n", names=("age", "work", "y"))
    assert rows["y"].to_list() == ["<=50K", ">50K", "<=50K", ">50K"] and rows["file"].to_list() == [0, 0, 1, 1]
    refused(tmp_path, "The test file has none of the labels of y", train, "28, Local, low\n", names=("age", "work", "y"))
    more = read(tmp_path, train, "28, Local, <=50K\n29, Local, unknown\n", names=("age", "work", "y"))
    assert more["y"].to_list()[2:] == ["<=50K", "unknown"]  # a class that the training rows lack is one
    dots = read(tmp_path, "1,a.\n2,b.\n", "3,a.\n", names=("age", "y"))
    assert dots["y"].to_list() == ["a.", "b.", "a."]  # written alike in both
    assert typed(read(tmp_path, "x,1\nz,2\n", "v,3\n", names=("x", "y")), "y", "regression")["y"].to_list() == [1, 2, 3]

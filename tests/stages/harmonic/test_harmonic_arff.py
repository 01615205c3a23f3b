"""ARFF files: types and values as they are declared, and nothing that Weka would read as something else."""

import pytest
from harmonic_read import read, refused

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
    refused(tmp_path, "Column its should hold numbers but has 'x' in row 1", ARFF.replace("01, 3", "01, x"), form="arff")
    refused(tmp_path, "a sparse ARFF file", ARFF[: ARFF.index("@data") + 6] + "{0 01, 3 2, 4 yes}\n", form="arff")


def table(values, cells):
    return f"@attribute x {values}\n@attribute y {{p, q}}\n@data\n" + "".join(f"{cell}, {'pq'[i % 2]}\n" for i, cell in enumerate(cells))


def test_a_declared_value_is_never_missing(tmp_path):
    notes = []
    rows = read(tmp_path, table("{None, NA, z}", ["None", "NA", "?", "z", "'NA'"]), form="arff", tell=notes.append)
    assert rows["x"].to_list() == ["None", "NA", None, "z", "NA"] and not notes
    rows = read(tmp_path, table("{z, '?'}", ["NA", "z", "?", "'?'"]), form="arff", tell=notes.append)
    assert rows["x"].to_list() == [None, "z", None, "?"]
    assert notes == ["file0.arff has cells that are missing by `missing`, though in ARFF only ? is: 'NA' in 1 cells."]
    assert read(tmp_path, table("real", ["1", "?", "2"]), form="arff", missing=("<null>",))["x"].to_list() == [1, None, 2]
    assert read(tmp_path, table("real", ["1", "<null>", "2"]), form="arff", missing=("<null>",), tell=notes.append)["x"].null_count() == 1


def test_an_undeclared_value_is_refused_with_its_row(tmp_path):
    refused(
        tmp_path,
        r"Column x has 'c' in row 3 of file0.arff, which its @attribute line does not declare \(a, b\)",
        table("{a,b}", "abc"),
        form="arff",
    )
    refused(tmp_path, "Column x has 'A' in row 1", table("{a,b}", "Ab"), form="arff")  # as in Weka, case counts
    refused(tmp_path, "Column x has 'NA' in row 2", table("{a,b}", ["a", "NA"]), form="arff", missing=("",))
    refused(tmp_path, "Column x has 'NA' in row 2", table("{a,b}", ["a", "'NA'"]), form="arff")
    refused(tmp_path, "Column y has 'r' in row 2", table("{a,b}", "ab").replace("b, q", "b, r"), form="arff")
    many = "{" + ",".join(f"v{i}" for i in range(500)) + "}"
    assert len(refused(tmp_path, "and 480 more", table(many, "a"), form="arff")) < 300


@pytest.mark.parametrize(
    ("values", "read_as"),
    [
        ("{a,b}", ["a", "b"]),
        ("{ a ,\tb , }", ["a", "b"]),
        (r"""{'it\'s', "c, {d}", '5%', don't}""", ["it's", "c, {d}", "5%", "don't"]),
        ("{no job, b} % a comment with }", ["no job", "b"]),
        ("{<0, 0<=X<200}", ["<0", "0<=X<200"]),
    ],
)
def test_declared_values(tmp_path, values, read_as):
    quoted = ['"' + value + '"' for value in read_as]
    assert read(tmp_path, table(values, quoted), form="arff")["x"].to_list() == read_as
    other = table(values, [*quoted, "other"])
    refused(tmp_path, "Column x has 'other'", other, form="arff")


@pytest.mark.parametrize("values", ["{a, b", "{5%, b}", "{a} b", "{}", "{a, {b}}"])
def test_declared_values_that_cannot_be_read(tmp_path, values):
    refused(tmp_path, "The values that file0.arff declares for x cannot be read", table(values, "ab"), form="arff")


def test_a_percent_sign_outside_quotes_is_refused(tmp_path):
    text = table("{a, 'b % note', '5%'}", ["a", "a", "'5%'"])
    assert read(tmp_path, "% c\n" + text.replace("@data\n", "@data % c\n  % c\n"), form="arff")["x"].to_list() == ["a", "a", "5%"]
    refused(tmp_path, "The cell 'q % note' of y in row 4 of file0.arff has a % outside quotes", text + "a, q % note\n", form="arff")
    refused(tmp_path, "The cell 'b % note' of x in row 4", text + "b % note, p\n", form="arff")  # even where it is declared
    refused(tmp_path, "The cell '5%' of x in row 1", table("string", ["5%", "a"]), form="arff")


def test_types(tmp_path):
    assert read(tmp_path, table("INTEGER [1, 9]", "12"), form="arff")["x"].to_list() == [1, 2]  # as in KEEL
    assert read(tmp_path, table("numeric % years", "12"), form="arff")["x"].to_list() == [1, 2]
    assert read(tmp_path, table('date "yyyy"', "12"), form="arff")["x"].to_list() == ["1", "2"]
    refused(tmp_path, "file0.arff declares x as 'reals', which is no type that can be read", table("reals", "12"), form="arff")
    refused(tmp_path, "Column x has '1e400' in row 2, which is too large", table("real", ["1", "1e400"]), form="arff")
    refused(tmp_path, "declares x as ''", table("", "12"), form="arff")

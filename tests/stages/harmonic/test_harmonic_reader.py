"""Tables as people have them: each of these was once read as something else, or refused with a false reason."""

import pytest
from harmonic_read import read, refused

from catalog.base.errors import CatalogError
from stages.harmonic import cells
from stages.harmonic.reader import RESERVED, WIDEST, read_table, typed

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


def test_classes_are_the_texts_of_the_file(tmp_path):
    rows = typed(read(tmp_path, "x,y\n1,007\n2,7\n3,7\n"), "y", "classification")
    assert rows["y"].to_list() == ["007", "7", "7"]
    assert typed(read(tmp_path, "x,y\na,1.5\nb,2\n"), "y", "regression")["y"].to_list() == [1.5, 2.0]
    with pytest.raises(CatalogError, match="holds texts \\('1,234' in row 1\\)"):
        typed(read(tmp_path, 'x,y\na,"1,234"\nb,2\n'), "y", "regression")


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


# --- files ------------------------------------------------------------------------------------------------------------------------------


def test_what_is_no_readable_text_is_one_sentence(tmp_path):
    with pytest.raises(CatalogError, match="has no files; name at least one under `files`"):
        read_table([], "csv", None, "y", None)
    with pytest.raises(CatalogError, match="a.csv is named twice under `files`, where a second file is the test split"):
        read_table([tmp_path / "a.csv", tmp_path / "a.csv"], "csv", None, "y", None)
    with pytest.raises(CatalogError, match="is a folder; give the path of a text file"):
        read_table([tmp_path], "csv", None, "y", None)
    (tmp_path / "file").write_text("x,y\n1,a\n")
    for path in (tmp_path / "file" / "inner.csv", tmp_path / ("n" * 5000), tmp_path / "a\0b"):
        with pytest.raises(CatalogError, match="cannot be read \\(.*or the path of a text file"):
            read_table([path], "csv", None, "y", None)
    text = "x,y\n1,a\n2,b\n"
    (tmp_path / "wide.csv").write_bytes(text.encode("utf-16"))  # with its mark, as spreadsheets write it
    assert read_table([tmp_path / "wide.csv"], "csv", None, "y", None)["x"].to_list() == [1.0, 2.0]
    refused(tmp_path, "holds zero bytes or many control characters", text.encode("utf-16-le"))
    refused(tmp_path, "holds zero bytes or many control characters", text.replace("1", "1\0"))
    refused(tmp_path, "is a ZIP archive, perhaps a document or table of an office program", b"PK\x03\x04" + bytes(20))
    refused(tmp_path, "has no rows", "x,y\n")
    refused(tmp_path, "is an ARFF file; set its form to arff", "@relation r\n@attribute y {a,b}\n@data\na\n")


def test_a_file_without_access_is_one_sentence(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)  # a file's mode does not stop root
    refused(tmp_path, r"file0.csv cannot be read \(Permission denied\); give yourself access", "x,y\n1,a\n")


def test_more_columns_than_a_prompt_has_room_for(tmp_path):
    names = [f"c{i}" for i in range(WIDEST)]
    said = refused(tmp_path, "The table has 2,001 columns", ",".join([*names, "y"]) + "\n" + "1," * WIDEST + "a\n")
    assert len(said) < 200
    said = refused(tmp_path, "its columns are c0, c1, .* and 1980 more", ",".join(names) + "\n" + ",".join("1" * WIDEST) + "\n")
    assert len(said) < 200


def test_a_number_of_the_target_that_no_float_holds(tmp_path):
    for cell in ("1e400", "9" * 5000):
        rows = read(tmp_path, f"x,y\na,1\nb,2\nc,{cell}\n")
        with pytest.raises(
            CatalogError, match="Column y has .* in row 3, which is too large to compute with \\(at most 1e\\+100\\); correct it.$"
        ):
            typed(rows, "y", "regression")
    rows = read(tmp_path, "a,1\nb,2\n", "c,1e400\n", names=("x", "y"))
    with pytest.raises(CatalogError, match="in row 1 of file 2, which is too large"):
        typed(rows, "y", "regression")


# --- properties -------------------------------------------------------------------------------------------------------------------------


def test_order_and_reading_what_was_read_change_no_row(tmp_path):
    rows = [f'{i / 8},"a, {i % 3}",{"?" if i == 4 else i % 5},{"pq"[i % 2]}' for i in range(12)]

    def cells_of(order):
        return read(tmp_path, "x,word,code,y\n" + "".join(f"{rows[i]}\n" for i in order)).drop("id", "file")

    one, order = cells_of(range(12)), [7, 0, 11, 3, 5, 1, 9, 4, 2, 10, 8, 6]
    assert cells_of(order).equals(one[order]) and one["code"].null_count() == 1
    assert read(tmp_path, one.write_csv()).drop("id", "file").equals(one)
    assert cells_of([*range(12), 0]).head(12).equals(one)

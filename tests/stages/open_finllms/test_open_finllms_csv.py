"""A user's CSV of prices: what is read, what is recorded and what is refused, on files written out here."""

import gzip
import random
from datetime import date

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms import csv_prices
from stages.open_finllms.prices import read_csv

JAN = [date(2024, 1, day) for day in (2, 3, 4, 5, 8, 9, 10, 11, 12)]  # Tuesday to the Friday of the next week


def write(folder, text, name="prices.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def table(*closes, days=JAN):
    return "Date,Close\n" + "".join(f"{day},{close}\n" for day, close in zip(days, closes))


def read(folder, text, **options):
    """The days and what was noted of them."""
    found = csv_prices.read(write(folder, text), **options)
    return found.days, found.notes.select("date", "kind", "what").rows()


def dropped(notes):
    return [(day, what) for day, kind, what in notes if kind == "dropped"]


def refused(folder, text, said, **options):
    with pytest.raises(CatalogError, match=said) as caught:
        csv_prices.read(write(folder, text), **options)
    assert "\n" not in str(caught.value)


# Columns


def test_a_plain_file(tmp_path):
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,10.2,11,10,10.5,9.5,900\n2024-01-03,10.5,12,10.5,12,10.86,800\n"
    days, notes = read(tmp_path, text)
    assert days.rows() == [
        (date(2024, 1, 2), 10.2, 11.0, 10.0, 10.5, 9.5, 900.0, None),
        (date(2024, 1, 3), 10.5, 12.0, 10.5, 12.0, 10.86, 800.0, None),
    ]
    assert days.schema == csv_prices.DAYS and notes == []


@pytest.mark.parametrize(
    "first", ["Price,Close,High,Low,Open,Volume\nTicker,ZZ,ZZ,ZZ,ZZ,ZZ", "Ticker,ZZ,ZZ,ZZ,ZZ,ZZ\nPrice,Close,High,Low,Open,Volume"]
)
def test_three_header_lines_and_another_order_of_columns(tmp_path, first):
    days, notes = read(tmp_path, f"{first}\nDate,,,,,\n2024-01-02,10.5,11,10,10.2,900\n", min_days=1)
    assert days.rows() == [(date(2024, 1, 2), 10.2, 11.0, 10.0, 10.5, 10.5, 900.0, None)]
    assert (None, "file", "three header lines taken as one, of ZZ") in notes
    marked = f"\ufeff{first}\nDate,,,,,\n2024-01-02,10.5,11,10,10.2,900\n"
    assert read(tmp_path, marked, min_days=1)[0].equals(days)
    refused(tmp_path, first.replace("ZZ", "YY", 1) + "\nDate,,,,,\n2024-01-02,1,1,1,1,1\n", r"holds several shares \(YY, ZZ\)")


def test_columns_are_found_by_name_in_any_case_and_order(tmp_path):
    expected = read(tmp_path, "Date,Open,High,Low,Close,Volume\n2024-01-02,2,4,1,3,9\n2024-01-03,3,4,1,2,8\n")[0]
    for header in ("VOLUME,close,LOW,high,Open,date", "Vol.,Close/Last,Low,High,1. open,timestamp", "Volume,Adj Close*,Low,High,Open,Day"):
        days, _ = read(tmp_path, header + "\n9,3,1,4,2,2024-01-02\n8,2,1,4,3,2024-01-03\n")
        assert days.drop("close").equals(expected.drop("close"))
    assert days["close"].null_count() == 2  # the last header has an adjusted close alone


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Date,AAPL,MSFT\n2024-01-02,1,2\n", "has no column Close; its columns are Date, AAPL, MSFT; give one share a file"),
        ("Day of trade,Close\n2024-01-02,1\n", "has no column Date; its columns are Day of trade, Close"),
        ("Date,Close,Last\n2024-01-02,1,2\n", "two columns that may be the close, Close and Last; leave one"),
        ("Date,Close,Close\n2024-01-02,1,2\n", "two columns Close; leave one"),
        ("Date,Ticker,Close\n2024-01-02,A,1\n2024-01-02,B,2\n", r"holds 2 shares \(A, B\)"),
        ("Date,Close\n2024-01-02,1,2\n", "line 2 has 3 cells but the header has 2"),
        ("日期,收盤價\n2024-01-02,1\n", "has no column Date; its columns are 日期, 收盤價"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("Date,Close\n", "has 0 days with a price, but at least 2 are needed"),
        (table(5), "has 1 days with a price, but at least 2 are needed"),
        ('Date,Close\n2024-01-02,"1\n', "is no CSV"),
        ("Date,Close\n2024-01-02,1\n".encode("utf-16"), "holds zero bytes, as UTF-16"),
        (b"\x1f\x8b\x08\x00damaged", "damaged gzip"),
    ],
)
def test_layouts_that_are_refused_by_name(tmp_path, text, said):
    refused(tmp_path, text, said)


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(CatalogError, match=r"none.csv does not exist"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(CatalogError, match="is a folder"):
        read_csv(tmp_path)


def test_other_forms_of_the_same_file(tmp_path):
    text = table(10.5, 11.25, 11)
    plain, _ = read(tmp_path, text)
    assert plain["adj_close"].to_list() == [10.5, 11.25, 11]
    for other in (
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n"),
        "\n" + text + "\n,\n",
        gzip.compress(text.encode(), mtime=0),
    ):
        assert read(tmp_path, other)[0].equals(plain)
    days, notes = read(tmp_path, text.replace(",", ";"))
    assert days.equals(plain) and (None, "file", "cells are separated by semicolons") in notes
    assert (None, "file", "columns not read: unnamed 1, Dividends") in read(
        tmp_path, ",Date,Close,Dividends\n0,2024-01-02,1,0\n1,2024-01-03,1,0\n"
    )[1]


# Dates


@pytest.mark.parametrize(
    "day", ["31/12/2020", "12/31/2020", "01/02/2020", "20201231", "2020/12/31", "31.12.2020", "113/01/02", "Dec 31, 2020", "44196", ""]
)
def test_a_date_of_another_form_is_refused_with_the_remedy(tmp_path, day):
    refused(
        tmp_path,
        f'Date,Close\n2020-12-30,1\n"{day}",1\n',
        f"line 3: the date is '{day}', which is not of the form 2020-12-31; .*%d/%m/%Y day first",
    )


def test_a_declared_form_of_dates(tmp_path):
    text = "Date,Close\n1/2/2020,1\n3/2/2020,1.1\n"
    days, _ = read(tmp_path, text.replace("1/2/2020", "4/2/2020"), date_format="%d/%m/%Y")  # the 1st was a Saturday
    assert days["date"].to_list() == [date(2020, 2, 3), date(2020, 2, 4)]
    days, _ = read(tmp_path, text, date_format="%m/%d/%Y")
    assert days["date"].to_list() == [date(2020, 1, 2), date(2020, 3, 2)]
    for form in ("%d/%m", "%Y", "%m/%Y", "%H:%M", "%d/%m/", "day", "%Q"):  # would put all days in 1900, or on the first
        refused(tmp_path, text, f"date_format {form} does not give year, month and day", date_format=form)
    refused(
        tmp_path,
        "Date,Close\n1/2/2020,1\n1/13/2020,1\n",
        "line 3: the date is '1/13/2020', which does not fit .* %d/%m/%Y",
        date_format="%d/%m/%Y",
    )


def test_a_time_of_day_is_left_out_and_the_written_day_kept(tmp_path):
    for clock in (" 00:00:00", "T16:00:00", " 23:30:00-05:00", "T00:00:00Z"):
        days, _ = read(tmp_path, f"Date,Close\n2024-01-02{clock},1\n2024-01-03{clock},1.1\n")
        assert days["date"].to_list() == JAN[:2]
    refused(
        tmp_path, "Date,Close\n2024-01-02 09:30:00,1\n2024-01-02 09:31:00,1.1\n", "different prices for 2024-01-02 in the lines 2 and 3"
    )
    refused(tmp_path, "Date,Close\n2023-02-29,1\n", "'2023-02-29', which is no day of the calendar")


def test_rows_out_of_order(tmp_path):
    text = table(10, 11, 10, 12, 11, 10, 11, 12, 13)
    days, notes = read(tmp_path, text)
    header, *lines = text.splitlines()
    turned, turned_notes = read(tmp_path, "\n".join([header, *reversed(lines)]))
    assert turned.equals(days) and set(turned_notes) - set(notes) == {(None, "file", "rows put in order of date; the newest came first")}
    random.Random(0).shuffle(lines)
    mixed, mixed_notes = read(tmp_path, "\n".join([header, *lines]))
    assert mixed.equals(days) and (None, "file", "rows put in order of date; they were mixed") in mixed_notes


def test_a_day_twice(tmp_path):
    text = table(10, 11, 12)
    days, notes = read(tmp_path, text + "2024-01-03,11.0\n2024-01-03,11\n")
    assert days.equals(read(tmp_path, text)[0]) and dropped(notes) == [(JAN[1], "same row again")] * 2
    refused(tmp_path, text + "2024-01-03,11.5\n", "different prices for 2024-01-03 in the lines 3 and 5; leave one row a day")


# Numbers


def test_thousands_only_where_a_point_elsewhere_stands_before_decimals(tmp_path):
    days, _ = read(tmp_path, 'Date,Close,Volume\n2024-01-02,"1,234.5","12,345,678"\n2024-01-03,1240.75,"1,000"\n')
    assert days.select("close", "volume").rows() == [(1234.5, 12345678.0), (1240.75, 1000.0)]
    for cells in ('"1,234"', '"10,5"', '"1.234,5"', '"1,23.5"'):
        refused(
            tmp_path, f"Date,Close\n2024-01-02,{cells}\n2024-01-03,{cells}\n", "line 2: the close is .* in which the comma may stand for"
        )
    # Decimal commas with three digits beside points between thousands must not be taken the other way round.
    refused(tmp_path, "Date;Close;Volume\n2024-01-02;10,512;1.234\n2024-01-03;10,612;1.300\n", "the close is '10,512', in which the comma")


@pytest.mark.parametrize("cell", ["$10", "10 USD", "(10)", "1e999", "inf", "1_000", "12.5M", "ten", "1 000", "10.5.1", "１０", "١٠"])
def test_what_is_no_number_is_refused(tmp_path, cell):
    refused(tmp_path, f"Date,Close\n2024-01-02,9\n2024-01-03,{cell}\n", "line 3: the close is .*, which is no number")


def test_utf_16_old_line_ends_and_long_cells(tmp_path):
    text = table(10, 11, 12)
    refused(tmp_path, text.encode("utf-16-le"), "holds zero bytes, as UTF-16 and binary files do; save it as CSV in UTF-8")
    assert read(tmp_path, text.replace("\n", "\r"))[0].equals(read(tmp_path, text)[0])
    semicolons = "Date;Close\r2024-01-02;1,5\r2024-01-03;1,6\r"  # the separator is that of the header, whatever ends its line
    refused(tmp_path, semicolons, "the close is '1,5', in which the comma")
    long = "x" * 200_000
    days, notes = read(tmp_path, f"Date,Close,Why\n2024-01-02,1,{long}\n2024-01-03,2,\n".replace(",2,", ",1.2,"))
    assert days["close"].to_list() == [1, 1.2] and any("columns not read: Why" in what for _, _, what in notes)


def test_a_missing_close_is_no_trading_day(tmp_path):
    for cell in ("", "NaN", "null", "N/A"):
        days, notes = read(tmp_path, table(100, cell, 110, 121))
        assert dropped(notes) == [(JAN[1], "no price")]
        returns = days["adj_close"].pct_change().drop_nulls()
        assert returns.to_list() == pytest.approx([0.1, 0.1]) and returns.std() == pytest.approx(0)
    assert (None, "gap", "1 weekdays without a row between 2024-01-02 and 2024-01-05, holidays among them") in notes


def test_zero_and_negative_prices(tmp_path):
    assert dropped(read(tmp_path, table(10, 0, 11))[1]) == [(JAN[1], "price of 0")]
    refused(tmp_path, table(10, -11, 11), "line 3: the close of 2024-01-03 is -11, below 0")
    text = "Date,Open,Close,Volume\n2024-01-02,0,10,5\n2024-01-03,10,11,-5\n"
    refused(tmp_path, text, "the volume of 2024-01-03 is -5, below 0")
    days, notes = read(tmp_path, text.replace("-5", "5"))
    assert days["open"].to_list() == [None, 10.0] and (JAN[0], "missing", "open of 0 taken as unknown") in notes


# Days


def test_weekend_rows_that_repeat_friday_are_left_out(tmp_path):
    friday, monday = date(2024, 1, 5), date(2024, 1, 8)
    weekend = [date(2024, 1, 6), date(2024, 1, 7)]
    days, notes = read(tmp_path, table(10, 11, 11, 11, 12, days=[JAN[2], friday, *weekend, monday]))
    assert days["date"].to_list() == [JAN[2], friday, monday] and dropped(notes) == [(day, "weekend") for day in weekend]
    own = table(10, 11, 11.5, 11.5, 12, days=[JAN[2], friday, *weekend, monday])
    refused(tmp_path, own, "price of its own on Saturday, 2024-01-06: .*weekend_trading")
    assert len(read(tmp_path, own, weekend_trading=True)[0]) == 5
    # Dates shifted by a time zone: Monday's row is dated Sunday.
    refused(tmp_path, table(10, 11, 12, days=[JAN[2], friday, weekend[1]]), "on Sunday, 2024-01-07: .*dates may be shifted by one")


def test_repeated_rows_and_days_without_trade_are_left_out_where_there_is_a_volume(tmp_path):
    rows = ["10,500", "11,700", "11,700", "11,0", "11,400", "12,0"]
    text = "Date,Close,Volume\n" + "".join(f"{day},{row}\n" for day, row in zip(JAN, rows))
    days, notes = read(tmp_path, text)
    assert days["date"].to_list() == [JAN[0], JAN[1], JAN[4], JAN[5]]  # the last has a new price
    assert dropped(notes) == [(JAN[3], "no trade: volume of 0, price of the day before"), (JAN[2], "repeats the day before")]
    assert len(read(tmp_path, table(10, 11, 11, 11))[0]) == 4  # without a volume equal closes are days like others
    days, notes = read(tmp_path, "Date,Close,Volume\n2024-01-02,10,0\n2024-01-03,10,0\n2024-01-04,11,0\n")
    assert len(days) == 3 and days["volume"].null_count() == 3  # an index whose file has no volumes
    assert [kind for _, kind, _ in notes].count("missing") == 3


def test_gaps_are_counted_in_weekdays(tmp_path):
    days = [date(2024, 1, 5), date(2024, 1, 8), date(2024, 1, 15), date(2024, 1, 24)]  # 4 and 6 weekdays between
    _, notes = read(tmp_path, table(10, 11, 12, 13, days=days))
    assert [note for note in notes if note[1] == "gap"] == [
        (None, "gap", "10 weekdays without a row between 2024-01-05 and 2024-01-24, holidays among them"),
        (days[3], "gap", "6 weekdays without a row before it"),
    ]


# Columns that belong together, splits


def test_columns_that_do_not_belong_together(tmp_path):
    head = "Date,Open,High,Low,Close\n"
    refused(tmp_path, head + "2024-01-02,10,9,11,10\n2024-01-03,10,11,9,10\n", "the high of 2024-01-02 is below its low")
    refused(tmp_path, head + "2024-01-02,10,11,9,5\n2024-01-03,10,11,9,5\n", "outside the range from low to high on 2 of 2 days")
    good = "".join(
        f"{day},10,11,9,10.{i}\n"
        for i, day in enumerate(pl.date_range(date(2024, 1, 1), date(2024, 2, 9), "1d", eager=True))
        if day.weekday() < 5
    )
    text = head + good.replace("2024-01-02,10,", "2024-01-02,12,")
    assert (date(2024, 1, 2), "range", "open or close outside the range from low to high") in read(tmp_path, text)[1]


def test_a_split_is_recorded_where_the_adjusted_close_does_not_jump(tmp_path):
    def adjusted(*rows):
        return "Date,Close,Adj Close\n" + "".join(f"{day},{close},{adj}\n" for day, (close, adj) in zip(JAN, rows))

    days, notes = read(tmp_path, adjusted((100, 50), (102, 51), (52, 52), (52, 52.0)))
    assert days["split"].to_list() == [None, None, 2.0, None] and (JAN[2], "split", "2 for 1") in notes
    assert read(tmp_path, adjusted((90, 60), (60, 60), (66, 66)))[0]["split"].to_list() == [None, 1.5, None]  # 3 for 2
    assert read(tmp_path, adjusted((1, 10), (10, 10), (11, 11)))[0]["split"].to_list() == [None, 0.1, None]  # 1 for 10
    assert read(tmp_path, adjusted((100, 90), (90, 90), (91, 91)))[0]["split"].null_count() == 3  # a dividend of a tenth
    days, _ = read(tmp_path, adjusted((100, 50), ("", 51), (52, 52)))  # no close on the day before
    assert days["split"].to_list() == [None, None, 2.0]
    days, notes = read(tmp_path, adjusted((100, 100), (45, 45), (46, 46)))  # both fall: a loss, and no split
    assert days["split"].null_count() == 3 and (JAN[1], "move", "-55.0% in a day") in notes
    refused(tmp_path, adjusted((100, 100), (101, 50), (102, 51)), "on 2024-01-03 the adjusted close moves by -50% but the close by [+]1%")


def test_a_jump_in_the_only_price_is_refused(tmp_path):
    refused(tmp_path, table(100, 50, 51), "the close moves by -50% on 2024-01-03, which is probably a split; add a column Adj Close")
    refused(tmp_path, table(10, 15, 15), "the close moves by [+]50% on 2024-01-03")
    assert (JAN[1], "move", "-30.0% in a day") in read(tmp_path, table(100, 70, 71))[1]
    days, _ = read(tmp_path, "Date,Close,Adj Close\n2024-01-02,100,100\n2024-01-03,50,50\n")  # the remedy of the message
    assert days["adj_close"].to_list() == [100, 50]


# Kinds of fault that no single case shows

LONG = "Date,Open,High,Low,Close,Volume\n" + "".join(
    f"{day},{p - 1},{p + 2},{p - 2},{p}.25,{1000 + i}\n"
    for i, (day, p) in enumerate(
        (day, 50 + (i * 7) % 11)
        for i, day in enumerate(pl.date_range(date(2023, 11, 1), date(2024, 2, 29), "1d", eager=True))
        if day.weekday() < 5
    )
)


def test_reading_what_was_read_changes_nothing(tmp_path):
    days, _ = read(tmp_path, LONG)
    again, notes = read(tmp_path, days.drop("split").write_csv())
    assert again.equals(days) and not dropped(notes)


def test_a_later_row_changes_no_earlier_one(tmp_path):
    days, _ = read(tmp_path, LONG)
    lines = LONG.splitlines()
    assert read(tmp_path, "\n".join(lines[:40]))[0].equals(days.head(39))
    changed = [line if i <= 40 else line.replace(".25,", ".75,") for i, line in enumerate(lines)]
    assert read(tmp_path, "\n".join(changed))[0].head(40).equals(days.head(40))


def test_nothing_is_lost_without_a_note(tmp_path):
    """Every line of a bad file is a day of the result or a row that was dropped."""
    lines = LONG.splitlines()
    friday = next(line for line in lines if line.startswith("2024-01-05"))
    cells = lines[10].split(",")
    lines[10] = ",".join([*cells[:4], "", cells[5]])  # a day without a close
    lines += [lines[3], friday.replace("2024-01-05", "2024-01-06")]  # a row again, a Friday carried over
    days, notes = read(tmp_path, "\n".join(lines))
    assert sorted(what for _, what in dropped(notes)) == ["no price", "same row again", "weekend"]
    assert len(days) + 3 == len(lines) - 1


def test_what_was_recorded_is_told(tmp_path, capsys):
    path = write(tmp_path, table(10, "", 11, 12) + "2024-01-06,12\n2024-01-07,12\n")
    days = read_csv(path)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{path}: dropped: no price (2024-01-03)"
    assert f"{path}: dropped: weekend (2 rows, the first 2024-01-06)" in said
    told = []
    assert read_csv(path, tell=told.append).equals(days) and [f"{path}: {line}" for line in told] == said
    assert capsys.readouterr().err == ""

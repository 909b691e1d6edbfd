"""Tables of text: what their form is, is asked for or seen and said; no row and no value is lost in silence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from jensen.inference.errors import ConfigurationError, DataError
from jensen.studies.data.sources import load_source
from jensen.studies.data.table_file import Table, read_table
from jensen.studies.data.table_format import TableOptions, is_number


@pytest.fixture
def read(tmp_path):
    def table(content: str | bytes, **options: Any) -> Table:
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, TableOptions(**options))

    return table


SEEN = {
    "names": ("a,b\n1,2\n3,4.5\n", "separator comma, names on line 1", [[1, 2], [3, 4.5]]),
    "numbers above numbers": ("1.5,2\n3,4\n", "separator comma, no line of names", [[1.5, 2], [3, 4]]),
    "one row": ("1,2,3\n", "separator comma, no line of names", [[1, 2, 3]]),
    "semicolon and decimal comma": (
        "a;b\n1,5;2\n3,25;4\n",
        "separator semicolon, decimal comma, names on line 1",
        [[1.5, 2], [3.25, 4]],
    ),
    "decimal comma without names": (
        "1,5;2,5\n3,25;4\n",
        "separator semicolon, decimal comma, no line of names",
        [[1.5, 2.5], [3.25, 4]],
    ),
    "quoted": (
        '"a","b"\n"1,5","2,5"\n"3,1","2"\n',
        "separator comma, decimal comma, names on line 1",
        [[1.5, 2.5], [3.1, 2]],
    ),
    "tab": ("a\tb\n1\t2\n3\t4\n", "separator tab, names on line 1", [[1, 2], [3, 4]]),
    "bar": ("a|b\n1|2\n3|4\n", "separator bar, names on line 1", [[1, 2], [3, 4]]),
    "spaces": (" 1.0  2.0\n 3.0   4.0\n", "separator space, no line of names", [[1, 2], [3, 4]]),
    "byte order mark": ("\ufeffa,b\n1,2\n3,4\n", "separator comma, names on line 1", [[1, 2], [3, 4]]),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "separator comma, names on line 1, UTF-16", [[1, 2]]),
    "line ends": ("a,b\r\n1,2\r\n\r\n3,4\r\n", "separator comma, names on line 1", [[1, 2], [3, 4]]),
    "one column": ("value\n1\n2.5\n", "one column, names on line 1", [[1], [2.5]]),
    "comma in a text": ("a;b\n1;2\n3;4\n", "separator semicolon, names on line 1", [[1, 2], [3, 4]]),
    "truths": ("a,b\nTrue,1\nFalse,2\n", "separator comma, names on line 1", [[1, 1], [0, 2]]),
    "exponents": ("1e3,-2E-1\n.5,+4\n", "separator comma, no line of names", [[1000, -0.2], [0.5, 4]]),
}


@pytest.mark.parametrize(("content", "form", "values"), SEEN.values(), ids=SEEN)
def test_the_form_is_seen_and_said_and_no_row_is_lost(read, content, form, values):
    table = read(content)
    assert str(table.form) == form
    assert [[float(table.numbers(name)[row]) for name in table.frame] for row in range(len(values))] == values
    assert len(table.frame) == len(values)


ASKED = {
    "0, 1, 2": ("0,1,2\n1.5,2,3\n3,4,5\n", "the first line, `0, 1, 2`, may be names of columns or data"),
    "years": ("2019,2020\n1.5,2\n3,4\n", "say which with --header or --no-header"),
    "text beside a year": ("name,2019\nann,1\nbob,2\n", "say which with --header or --no-header"),
    "the same text again": ("a,b\na,c\nd,e\n", "say which with --header or --no-header"),
    "thousands": ("a;b\n1,234;2,345\n3,250;4,000\n", "`1,234`, which may be a thousand: say with --decimal"),
    "point and comma": ("a;b\n1,5;2.5\n3,2;4.0\n", r"`1,5`, `2.5` too: say with --decimal"),
    "two separators": ("a;b|c\n1;2|3\n4;5|6\n", "can be read with semicolon and bar .* say which with --sep"),
}


@pytest.mark.parametrize(("content", "message"), ASKED.values(), ids=ASKED)
def test_what_can_be_read_in_two_ways_is_asked_for(read, content, message):
    with pytest.raises(ConfigurationError, match=message):
        read(content)


def test_the_options_decide(read):
    assert read("0,1\n1.5,2\n", header=True).frame.shape == (1, 2)
    assert read("0,1\n1.5,2\n", header=False).frame.shape == (2, 2)
    assert read("a;b\n1,234;5\n", decimal=",").numbers("a")[0] == 1.234
    assert read("value\n1,5\n2,5\n", decimal=",").numbers("value").tolist() == [1.5, 2.5]
    assert list(read("a;b|c\n1;2|3\n", sep="bar").frame) == ["a;b", "c"]
    assert list(read("a\tb\n1\t2\n", sep="\\t").frame) == ["a", "b"]
    assert read("ann,1\nbob,2\n", header=False).frame.shape == (2, 2)


def test_an_index_is_no_data(read):
    seen = read(",a,b\n7,1,2\n8,3,4\n")
    assert list(seen.frame) == ["a", "b"] and seen.index == ("7", "8")
    assert "--index none to keep it" in seen.notes[0]
    assert list(read(",a,b\n7,1,2\n8,3,4\n", index="none").frame) == ["0", "a", "b"]
    assert read("id,a\nx,1\ny,2\n", index="id").index == ("x", "y")
    assert read("a,id\n1,x\n2,y\n", index="-1").index == ("x", "y")
    assert read("a b\nr1 1 2\nr2 3 4\n", index="0").index == ("r1", "r2")  # as R writes it
    counted = read("id,a\n1,5\n2,7\n3,6\n")
    assert counted.notes == ("column `id` numbers the rows; --index id leaves it out",)
    with pytest.raises(ConfigurationError, match=r"`--index ida` is not a column of .*Did you mean `id`"):
        read("id,a\n1,5\n", index="ida")
    with pytest.raises(DataError, match="expected a column besides the index"):
        read("id\n1\n2\n", index="id")


BROKEN = {
    "nothing": ("", "got an empty file"),
    "blank lines": ("\n \n", "got an empty file"),
    "names alone": ("a,b\n", "expected at least one row, got none"),
    "long line": ("a,b\n1,2\n3,4,5\n", "line 3: expected 2 fields between separators .comma., as in .* got 3"),
    "short line": ("a,b\n1,2\n3\n4,5\n", "line 3: expected 2 fields"),
    "short line far on": ("a,b\n" + "1,2\n" * 300 + "3\n", "line 302: expected 2 fields, got 1"),
    "long line far on": ("a,b\n" + "1,2\n" * 300 + "3,4,5\n", "Expected 2 fields in line 302, saw 3"),
    "decimal comma of one column": ("value\n1,5\n2,5\n", "line 1: expected 2 fields .* or --sep or --decimal"),
    "R's names": ("a,b\nr1,1,2\nr2,3,4\n", "say --index 0 if the first holds names of the rows"),
    "same names": ("a,a\n1,2\n", "two columns are called `a`"),
    "Latin-1": ("a,b\né,2\n".encode("latin-1"), "line 2: expected text in UTF-8"),
    "binary": (bytes(100), "got a binary file"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_says_where(read, content, message):
    with pytest.raises(DataError, match=message):
        read(content)


@pytest.mark.parametrize(
    "options", [{"decimal": ";"}, {"sep": "ab"}, {"sep": "3"}, {"sep": '"'}, {"sep": ",", "decimal": ","}, {"sep": ""}]
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(ConfigurationError, match=r"`--(sep|decimal)"):
        TableOptions(**options)


def test_what_is_a_number():
    assert all(map(is_number, ["1", "-1.5", "1e5", " 2 ", ".5", "True"]))
    assert not any(map(is_number, ["", "NA", "nan", "1_000", "a", "1,5", "1.2.3"]))
    assert is_number("1,5", ",") and not is_number("1.5", ",")


def test_columns_become_arguments(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,kind,w\n1,2,yes,1\n3,,no,2\n5,6,,3\n")
    source = load_source(str(path), columns={"y": "kind", "weight": "-1"})
    assert source.features == ("a", "b")
    assert source.arrays["weight"].tolist() == [1, 2, 3]
    assert list(source.texts["y"]) == ["yes", "no", None]
    assert math.isnan(source.arrays["x"][1, 1]) and source.arrays["x"].dtype == torch.float64
    assert source.place("x", 1, 1) == f"`{path}`, line 3, column `b`"
    with pytest.raises(DataError, match=r"expected numbers in column `kind`, got `yes` in line 2\. Is it the --target"):
        load_source(str(path))
    with pytest.raises(ConfigurationError, match=r"`--target kid` is not a column of .*Did you mean `kind`"):
        load_source(str(path), columns={"y": "kid"})
    with pytest.raises(ConfigurationError, match="one column is given to two arguments"):
        load_source(str(path), columns={"y": "w", "weight": "w"})
    path.write_text("a,b\n1,2\n?,3\n4,5\n")
    with pytest.raises(DataError, match=r"column `a`, got `\?` in line 3"):
        load_source(str(path))

"""Files of users to import: rows, validation, and files that cannot be read."""

from pathlib import Path

import pytest

from graph.exchange.reading import MAX_LINE, Rejection, Row, UnreadableFile, read, validate

HEADER = "externalId,username,email,displayName,status\n"
NOT_JSON = "The line is not a JSON object."
SUPPORTED = (
    "Unknown field. Supported fields: "
    "displayName, email, externalId, status, statusReason, username."
)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_csv_and_ndjson_give_the_same_rows(tmp_path: Path) -> None:
    csv = (
        HEADER
        + 'A1,ada,ada@example.com,"Ada ""L""\nLovelace",DEACTIVATED\n\nA2,bob,b@example.com,,\n'
    )
    ndjson = (
        '{"externalId": "A1", "username": "ada", "email": "ada@example.com",'
        ' "displayName": "Ada \\"L\\"\\nLovelace", "status": "DEACTIVATED"}\n\n \n'
        '{"externalId": "A2", "username": "bob", "email": "b@example.com", "displayName": null}'
    )
    found = {
        name: [
            (row.line, row.user.external_id, row.user.fields, row.user.status)
            for row in read(written(tmp_path, name, text))
            if isinstance(row, Row)
        ]
        for name, text in (("a.csv", "\ufeff" + csv), ("a.ndjson", "\ufeff" + ndjson))
    }
    ada = {"username": "ada", "email": "ada@example.com", "display_name": 'Ada "L"\nLovelace'}
    bob = {"username": "bob", "email": "b@example.com", "display_name": None}
    assert found == {
        "a.csv": [(2, "A1", ada, "DEACTIVATED"), (5, "A2", bob, None)],
        "a.ndjson": [(1, "A1", ada, "DEACTIVATED"), (4, "A2", bob, None)],
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_every_line_end_and_a_byte_order_mark_are_accepted(
    tmp_path: Path, begin: str, end: str
) -> None:
    lines = ["externalId,displayName", "A1,Ö", "", 'A2,"two', 'lines"', "A3,x"]
    found = list(read(written(tmp_path, "a.csv", begin + end.join(lines))))
    assert [(row.line, row.user.external_id) for row in found if isinstance(row, Row)] == [
        (2, "A1"),
        (4, "A2"),
        (6, "A3"),
    ]


def test_name_of_an_unknown_field_is_shown_only_if_it_is_printable(tmp_path: Path) -> None:
    text = '{"externalId": "A1", "\\u001b[31m": 1}\n{"externalId": "A2", "%s": 1}' % ("x" * 41)
    found = validate(read(written(tmp_path, "a.ndjson", text))).rejections
    assert [(r.line, r.field, r.message) for r in found] == [
        (1, "?", SUPPORTED),
        (2, "?", SUPPORTED),
    ]


def test_columns_that_are_not_given_are_unchanged_and_those_of_an_export_are_ignored(
    tmp_path: Path,
) -> None:
    text = '{"externalId": "A1", "id": 7, "version": 3, "createdAt": "x", "statusChangedAt": null}'
    [row] = read(written(tmp_path, "a.jsonl", text))
    assert isinstance(row, Row)
    assert (row.user.fields, row.user.status) == ({}, None)


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("{", "", NOT_JSON),
        ('{"externalId": "A1", "nam": 1}', "nam", SUPPORTED),
        ('{"username": "ada"}', "externalId", "This field is required."),
        ('{"externalId": null}', "externalId", "This field is required."),
        ('{"externalId": 5}', "externalId", "Must be a text."),
        ('{"externalId": "A1", "status": "DELETED"}', "status", "Must be ACTIVE or DEACTIVATED."),
        ('{"externalId": "A1", "username": "x y"}', "username", None),
        ('{"externalId": "A1", "email": "nowhere"}', "email", None),
        ('{"externalId": "A1", "email": null}', "email", "This field is required."),
        ('{"externalId": "A1", "statusReason": "x y\\u0000"}', "statusReason", None),
        ('{"externalId": "A1", "statusReason": 5}', "statusReason", "Must be a text."),
        ('{"externalId": ""}', "externalId", None),
        ("[]", "", NOT_JSON),
        ("null", "", NOT_JSON),
        (b'{"externalId": "\xff"}', "", NOT_JSON),
    ],
)
def test_invalid_row_is_rejected_with_its_line_and_without_its_values(
    tmp_path: Path, line: str | bytes, field: str, message: str | None
) -> None:
    encoded = line if isinstance(line, bytes) else line.encode()
    path = written(tmp_path, "a.ndjson", b'{"externalId": "ok"}\n' + encoded)
    checked = validate(read(path))
    [rejection] = checked.rejections
    assert (checked.rows, rejection.line, rejection.field) == (2, 2, field)
    assert rejection.message == message or message is None
    assert not {"A1", "x y", "nowhere"} & set(rejection.message.split())


def test_all_problems_of_a_row_are_reported(tmp_path: Path) -> None:
    lines = [
        '{"username": 5, "nam": "x", "status": "x"}',
        '{"externalId": "A", "username": "a b", "email": "x"}',
        '{"externalId": "", "status": "x", "email": "x", "displayName": null, "statusReason": ""}',
    ]
    checked = validate(read(written(tmp_path, "a.ndjson", "\n".join(lines))))
    assert checked.rows == 3
    assert [(r.line, r.field) for r in checked.rejections] == [
        (1, "externalId"),
        (1, "username"),
        (1, "status"),
        (1, "nam"),
        (2, "username"),
        (2, "email"),
        (3, "status"),
        (3, "email"),
        (3, "externalId"),
        (3, "statusReason"),
    ]


def test_empty_cells_and_rows_of_a_spreadsheet_are_ignored(tmp_path: Path) -> None:
    text = "\ufeff,,\r\nexternalId,username,,\r\nA1,ada,,\r\n,,,\r\nA2,bob\r\n"
    assert [
        (row.line, row.user.external_id, row.user.fields)
        for row in read(written(tmp_path, "a.csv", text))
        if isinstance(row, Row)
    ] == [(3, "A1", {"username": "ada"}), (5, "A2", {"username": "bob"})]


def test_each_repeated_key_is_rejected_with_the_line_of_the_first(tmp_path: Path) -> None:
    text = HEADER + "A1,ada,a@example.com,,\nA2,ADA,b@example.com,,\nA1,carl,B@example.com,,\n"
    assert validate(read(written(tmp_path, "a.csv", text))).rejections == [
        Rejection(3, "username", "Line 2 has the same value."),
        Rejection(4, "externalId", "Line 2 has the same value."),
        Rejection(4, "email", "Line 3 has the same value."),
    ]


def test_csv_row_with_another_number_of_cells_is_rejected(tmp_path: Path) -> None:
    text = "externalId,username\nA1\nA2,b,c\n"
    assert validate(read(written(tmp_path, "a.csv", text))).rejections == [
        Rejection(2, "", "The row has 1 cells, and the first line has 2."),
        Rejection(3, "", "The row has 3 cells, and the first line has 2."),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "the name must end with .csv, .ndjson or .jsonl"),
        ("a.csv", "", "the first line must name externalId, and may name"),
        ("a.csv", "username\n", "the first line must name externalId, and may name"),
        ("a.csv", "externalId,email,email\n", "the first line names a column twice"),
        ("a.csv", b"externalId\nA1\n\xff\n", "line 3 is not encoded in UTF-8"),
        ("a.csv", b'externalId\n"A1\n\n\xc3"\n', "line 4 is not encoded in UTF-8"),
        ("a.csv", "externalId\n".encode("utf-16"), "line 1 is not encoded in UTF-8"),
        ("a.csv", "externalId,name\n", "the first line has an unknown name in column 2"),
        ("a.csv", "externalId,,email\n", "the first line has an unknown name in column 2"),
        ("a.csv", "externalId;email\n", "the columns must be separated by commas"),
        ("a.csv", "externalId\temail\n", "the columns must be separated by commas"),
        ("a.csv", "externalId\n" + "x" * MAX_LINE, f"line 2 has more than {MAX_LINE} characters"),
        ("a.csv", 'externalId\n"A1\n', "line 2: unexpected end of data"),
        ("a.csv", 'externalId\nA1\n"A2\nA3\n', "lines 3 to 4: unexpected end of data"),
        ("a.ndjson", "{}\n" + " " * MAX_LINE, f"line 2 has more than {MAX_LINE} bytes"),
    ],
)
def test_file_that_cannot_be_read_is_rejected_as_a_whole(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(UnreadableFile) as refused:
        list(read(written(tmp_path, name, content)))
    assert str(refused.value).startswith(message)

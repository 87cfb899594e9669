"""Durations, sizes, times and names: what is read is exact, what is doubtful is refused, what is shown is safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import UsageError
from indexer.units import (
    LONGEST,
    format_duration,
    format_size,
    format_time,
    parse_duration,
    parse_size,
    parse_time,
    show_name,
    text_of,
)

NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("12h", 43_200),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
        ("1 day, 12 hours", 129_600),
        ("0s", 0),
    ],
)
def test_a_duration_is_whole_seconds(text: str, seconds: int) -> None:
    """Every documented form reads as documented."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "7",
            "d",
            "7x",
            "-3d",
            "+3d",
            "1:30",
            "1.5h",
            "3M",
            "7D",
            " 7d",
            "7d ",
            "7d\n",
            "1y",
            "1mo",
            "٣d",
            "7d 7d",
        ),
        *("99999999999d", 7, 7.0, True, None, ["7d"], {"days": 7}),
    ],
)
def test_a_doubtful_duration_is_refused_with_a_remedy(value: object) -> None:
    """A unit must be named, and nothing is rounded, guessed or read as months."""
    with pytest.raises(UsageError) as refused:
        parse_duration(value)
    assert refused.value.remedy


@given(st.integers(0, LONGEST))
def test_a_duration_is_read_back_as_it_is_shown(seconds: int) -> None:
    """`format_duration` loses nothing."""
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("10GiB", 10 * 1024**3),
        ("5GB", 5 * 1000**3),
        ("5 GB", 5 * 1000**3),
        ("1.5TiB", 3 * 1024**4 // 2),
        ("7.999999999EiB", 7_999_999_999 * 1024**6 // 10**9),
        ("4096B", 4096),
        ("4096", 4096),
        (4096, 4096),
        (0, 0),
    ],
)
def test_a_size_is_whole_bytes(value: object, size: int) -> None:
    """Binary and decimal units differ, and large sizes are exact."""
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    [
        *("", "G", "10G", "10g", "10gb", "5kB", "-1", "1e3", "10 GiB ", "1,5GiB", "9" * 5000, "9" * 5000 + "B"),
        *(-1, 1.5, True, None, 2**63, "8EiB", "99999999EB"),
    ],
)
def test_a_doubtful_size_is_refused_with_a_remedy(value: object) -> None:
    """`10G` is 7 % less or more, depending on whom one asks."""
    with pytest.raises(UsageError) as refused:
        parse_size(value)
    assert refused.value.remedy


def test_the_remedy_for_a_size_with_two_readings_names_both() -> None:
    """The user can copy the one that was meant."""
    with pytest.raises(UsageError) as refused:
        parse_size("10g")
    assert "10GiB" in refused.value.remedy
    assert "10GB" in refused.value.remedy


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("2026-11-22T13:00:00Z", 1_795_352_400),
        ("2026-11-22T15:00:00+02:00", 1_795_352_400),
        ("2026-11-22T13:00:00", 1_795_352_400),
        ("2026-11-22 13:00", 1_795_352_400),
        ("2026-11-22", 1_795_305_600),
        ("@1795352400", 1_795_352_400),
        ("@-1", -1),
        ("+3d", NOW + 259_200),
        ("-90s", NOW - 90),
    ],
)
def test_a_time_is_unix_seconds(text: str, unix: int) -> None:
    """ISO 8601 (UTC without a zone), @epoch, and a distance from now."""
    assert parse_time(text, NOW + 0.75) == unix


@pytest.mark.parametrize(
    "text", ["", "@", "@x", "@1.5", "+", "+3", "3d", "1795352400", "tomorrow", "2026-13-01", "@" * 99]
)
def test_a_doubtful_time_is_refused_with_a_remedy(text: str) -> None:
    """A bare number is neither a year nor an epoch."""
    with pytest.raises(UsageError) as refused:
        parse_time(text, NOW)
    assert refused.value.remedy


def test_times_are_shown_in_utc() -> None:
    """Also those that no calendar has a name for."""
    assert format_time(1_795_352_400.9) == "2026-11-22T13:00:00Z"
    assert format_time(-1) == "1969-12-31T23:59:59Z"
    assert format_time(2**62) == f"@{2**62}"


def test_sizes_are_shown_in_powers_of_1024() -> None:
    """One decimal."""
    assert [format_size(size) for size in (0, 512, 10 * 1024**3)] == ["0 Bytes", "512 Bytes", "10.0 GiB"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name.jpg", "plain name.jpg"),
        ("Übung 写真.jpg".encode(), "Übung 写真.jpg"),
        (b"a\nb\t", r"a\nb\t"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\u202egpj.exe".encode(), r"\u202egpj.exe"),
        ("a\u2028b\u00a0c\U000e0041".encode(), r"a\u2028b\xa0c\U000e0041"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
    ],
)
def test_a_name_cannot_upset_a_terminal_or_a_log(name: bytes, shown: str) -> None:
    """Printable text stays; controls, bidirectional and odd characters and undecodable bytes are escaped."""
    assert show_name(name) == shown


@given(st.binary())
def test_every_name_is_valid_text(name: bytes) -> None:
    """For SQL and JSON: UTF-8 is unchanged, whatever it says; everything else becomes valid."""
    text = text_of(name)
    text.encode("utf-8")
    try:
        assert text == name.decode()
    except UnicodeDecodeError:
        assert "\\x" in text
    assert show_name(name).isprintable()

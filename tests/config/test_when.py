"""Crontab lines and phrases: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from indexer.config import read_config
from indexer.config.when import When, read_when
from indexer.errors import ConfigError, UsageError

EVERY_DAY_AT_TWO = When(fields=("0", "2", "*", "*", "*"))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("every 10 minutes", When(every=600)),
        ("every minute", When(every=60)),
        ("Every  2 Hours", When(every=7200)),
        ("every 1 week", When(every=604_800)),
        ("every day at 02:00", EVERY_DAY_AT_TWO),
        ("0 2 * * *", EVERY_DAY_AT_TWO),
        ("@midnight", When(fields=("0", "0", "*", "*", "*"))),
        ("every sunday at 3:30", When(fields=("30", "3", "*", "*", "sun"))),
        ("*/15 0-6/2,23 1 jan,12 *", When(fields=("0,15,30,45", "0,2,4,6,23", "1", "1,12", "*"))),
        # crontab(5): 0 and 7 are Sunday; APScheduler would take 0 for Monday
        ("0 0 * * 0", When(fields=("0", "0", "*", "*", "sun"))),
        ("0 0 * * 7", When(fields=("0", "0", "*", "*", "sun"))),
        ("0 0 * * 5-7", When(fields=("0", "0", "*", "*", "fri,sat,sun"))),
        ("0 0 * * fri-sun", When(fields=("0", "0", "*", "*", "fri,sat,sun"))),
        ("0 0 * * */1", When(fields=("0", "0", "*", "*", "*"))),
        ("5/20 * * * *", When(fields=("5,25,45", "*", "*", "*", "*"))),
    ],
)
def test_what_is_written_is_what_is_meant(text: str, meaning: When) -> None:
    """Phrases and crontab lines come out as the same plain fields."""
    assert read_when(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        *("sometimes", "every", "every 0 minutes", "every day at 24:00", "every day at 02:60", "2 * * *"),
        *("60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "9-3 * * * *", "*/0 * * * *"),
        *("*-3 * * * *", "x * * * *", "1,,2 * * * *", "* * * * * *", "@reboot"),
    ],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    """A remedy with examples, never a guess."""
    with pytest.raises(UsageError) as caught:
        read_when(text)
    assert caught.value.remedy


def test_the_table_arrives_and_its_mistakes_are_named() -> None:
    """Values as written; each wrong key with a problem of its own."""
    whole = (
        b'[schedule]\ncleanup = "0 2 * * *"\nreconcile = "every day at 03:30"\n'
        b'timezone = "Europe/Berlin"\njitter = "5m"\n'
    )
    schedule = read_config(whole, path=None, environ={}).schedule
    assert schedule.jobs() == {"cleanup": "0 2 * * *", "reconcile": "every day at 03:30"}
    assert (schedule.timezone, schedule.jitter, schedule.jobstore) == ("Europe/Berlin", 300, None)
    wrong = b'[schedule]\ncleanup = "at night"\ntimezone = "Mars/Base"\njobstore = "memory"'
    with pytest.raises(ConfigError) as caught:
        read_config(wrong, path=None, environ={})
    assert [problem["key"] for problem in caught.value.problems] == [
        *("schedule.cleanup", "schedule.timezone", "schedule.jobstore"),
    ]

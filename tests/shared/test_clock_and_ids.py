"""Time as BSON and the API keep it, and identifiers that sort by it (RFC 3339, RFC 9562)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import SystemClock, parse_rfc3339, rfc3339, to_milliseconds
from shared.ids import new_id

pytestmark = pytest.mark.unit


def test_a_moment_is_rendered_in_utc_with_three_decimals_cut_and_never_rounded() -> None:
    moment = datetime(2026, 11, 22, 13, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-11-22T12:00:00.999Z"
    assert to_milliseconds(moment) == datetime(2026, 11, 22, 12, 0, 0, 999_000, UTC)
    assert rfc3339(datetime(2026, 11, 22, tzinfo=UTC)) == "2026-11-22T00:00:00.000Z"


# The examples of RFC 3339, section 5.8, with the moment that the section says they name.
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1985-04-12T23:20:50.52Z", datetime(1985, 4, 12, 23, 20, 50, 520_000, UTC)),
        ("1996-12-19T16:39:57-08:00", datetime(1996, 12, 20, 0, 39, 57, tzinfo=UTC)),
        ("1937-01-01T12:00:27.87+00:20", datetime(1937, 1, 1, 11, 40, 27, 870_000, UTC)),
        ("1985-04-12t23:20:50.52z", datetime(1985, 4, 12, 23, 20, 50, 520_000, UTC)),
    ],
)
def test_the_examples_of_the_rfc_are_read(text: str, moment: datetime) -> None:
    assert parse_rfc3339(text) == moment
    assert parse_rfc3339(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T12:00:00",
        "2026-11-22",
        "20261122T120000Z",
        "2026-W47-7T12:00:00Z",
        "2026-11-22T12Z",
        "2026-11-22T12:00:00+01",
        "2026-11-22T12:00:00,5Z",
        "2026-02-30T12:00:00Z",
        "2026-11-22T24:00:01Z",
        "٢٠٢٦-11-22T12:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "2026-11-22T12:00:00Z\n",
        "",
    ],
)
def test_what_is_no_date_time_of_the_rfc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it as|out of range|must be in"):
        parse_rfc3339(text)


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_moment_of_the_clock_survives_bson_and_the_wire(moment: datetime) -> None:
    kept = to_milliseconds(moment)
    options = bson.CodecOptions(tz_aware=True)  # type: ignore[var-annotated]
    assert bson.decode(bson.encode({"at": kept}), codec_options=options)["at"] == kept
    assert parse_rfc3339(rfc3339(kept)) == kept


def test_the_systems_clock_is_aware_utc_in_milliseconds() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_ids_are_uuids_of_version_7_that_sort_in_the_order_of_their_making() -> None:
    made = [new_id() for _ in range(5_000)]
    assert made == sorted(set(made))
    parsed = uuid.UUID(made[0])
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, made[0])
    milliseconds = parsed.int >> 80
    assert abs(milliseconds / 1000 - datetime.now(UTC).timestamp()) < 60

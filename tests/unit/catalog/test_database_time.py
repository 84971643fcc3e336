"""The clock that rows go by: it follows what the database told, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog.database.database_time import DatabaseTime

SECOND = 1_000_000
#: In microseconds, as everything here.
START = 1_800_000_000 * SECOND


class Machine:
    """The two clocks of a machine, which tests set."""

    def __init__(self, wall: int = START) -> None:
        self.wall = wall
        self.steady = 77 * SECOND
        self.time = DatabaseTime(lambda: self.wall, lambda: self.steady)

    def passes(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND)
        self.steady += round(seconds * SECOND)

    def hears(self, server: int, round_trip_seconds: float = 0.0) -> None:
        self.time.measure(moment(server), self.steady - round(round_trip_seconds * SECOND))


def moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_before_a_measurement_it_is_the_wall_clock(machine: Machine) -> None:
    assert machine.time.microseconds() == START
    machine.wall -= 5 * SECOND
    assert machine.time.microseconds() == START - 5 * SECOND
    assert machine.time.offset_seconds() == 0


def test_a_wall_clock_that_agrees_is_kept_to_the_microsecond(machine: Machine) -> None:
    machine.wall = START + 700
    machine.hears(START, 0.004)
    assert machine.time.microseconds() == START + 700


@pytest.mark.parametrize("seconds", [-25, -0.01, 0.01, 3600])
def test_a_wall_clock_apart_has_no_part_in_it(machine: Machine, seconds: float) -> None:
    machine.hears(START + round(seconds * SECOND), 0.002)
    expected = START + seconds * SECOND
    assert machine.time.microseconds() == pytest.approx(expected, abs=0.002 * SECOND)
    assert machine.time.offset_seconds() == pytest.approx(-seconds, abs=0.002)


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_wall_clock_that_is_set_changes_nothing(machine: Machine, step: int) -> None:
    machine.hears(START)
    machine.passes(5)
    machine.wall += step * SECOND
    assert machine.time.microseconds() == START + 5 * SECOND
    assert machine.time.offset_seconds() == step


def test_the_middle_of_the_round_trip_is_taken(machine: Machine) -> None:
    machine.hears(START + 100 * SECOND, 2.0)
    assert machine.time.microseconds() == pytest.approx(START + 101 * SECOND, abs=1000)


@pytest.mark.parametrize("drift", [-0.3, 0.0, 0.3])
def test_a_slow_answer_that_agrees_moves_nothing(machine: Machine, drift: float) -> None:
    machine.hears(START + SECOND)
    machine.passes(10)
    before = machine.time.microseconds()
    machine.hears(before + round((drift - 0.5) * SECOND), 1.0)
    assert machine.time.microseconds() == before


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_database_whose_clock_is_set_is_followed(machine: Machine, step: int) -> None:
    machine.hears(START, 0.001)
    machine.passes(10)
    machine.hears(START + (10 + step) * SECOND, 0.001)
    expected = START + (10 + step) * SECOND
    assert machine.time.microseconds() == pytest.approx(expected, abs=0.001 * SECOND)


def test_a_process_that_was_suspended_with_the_answer_in_its_hands_keeps_its_time(
    machine: Machine,
) -> None:
    machine.hears(START)
    machine.passes(10)
    asked_at, told = machine.steady, moment(machine.time.microseconds())
    machine.passes(8)
    before = machine.time.microseconds()
    machine.time.measure(told, asked_at)
    assert machine.time.microseconds() == before


def test_a_time_without_a_zone_is_that_of_utc(machine: Machine) -> None:
    machine.time.measure(moment(START + 60 * SECOND).replace(tzinfo=None), machine.steady)
    assert machine.time.microseconds() == pytest.approx(START + 60 * SECOND, abs=1000)


class Answering:
    """A client that answers `hello` with this."""

    def __init__(self, **answer: Any) -> None:
        self._answer = answer
        self.admin = self

    def command(self, name: str) -> dict[str, Any]:
        assert name == "hello"
        return self._answer


AN_HOUR_ON = moment(START + 3600 * SECOND)


@pytest.mark.parametrize("field", ["isWritablePrimary", "ismaster"])
def test_the_server_that_takes_the_writes_is_followed(machine: Machine, field: str) -> None:
    client: Any = Answering(localTime=AN_HOUR_ON, **{field: True})
    machine.time.ask(client)
    assert machine.time.offset_seconds() == pytest.approx(-3600, abs=1)


@pytest.mark.parametrize(
    "answer",
    [
        {"localTime": AN_HOUR_ON, "isWritablePrimary": False, "secondary": True},
        {"localTime": AN_HOUR_ON, "ismaster": False},
        {"localTime": AN_HOUR_ON},
        {"isWritablePrimary": True},
    ],
)
def test_no_other_server_is_followed(machine: Machine, answer: dict[str, Any]) -> None:
    client: Any = Answering(**answer)
    machine.time.ask(client)
    assert machine.time.microseconds() == START

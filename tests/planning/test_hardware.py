"""Rates come back from measurements that follow the model; assumed ones come from the file."""

import random
from dataclasses import replace

import pytest

from wegeft.errors import UserError
from wegeft.planning.hardware import Machine, Point, assumed, fitted
from wegeft.planning.work import Work

TRUE = Machine("CPU, threads: 1", 16e9, flops=40e9, bandwidth=8e9, kernel=1e-5, overhead=7e8)


def points(count: int, noise: float = 0.0) -> list[Point]:
    source = random.Random(0)
    found = []
    for _ in range(count):
        amounts = (source.uniform(1e9, 9e9), source.uniform(1e8, 3e9), source.uniform(500, 20_000))
        work = Work(flops=amounts[0], bytes=amounts[1], kernels=amounts[2])
        seconds = TRUE.seconds(work) * (1 + source.uniform(-noise, noise))
        found.append(Point(work, seconds, 1e8, 1e8 + TRUE.overhead))
    return found


def test_rates_are_found_again() -> None:
    machine = fitted(assumed("CPU, threads: 1", "float32", measured=True), points(30))
    for one in points(30):
        assert machine.seconds(one.work) == pytest.approx(one.seconds, rel=0.05)
    assert machine.overhead == TRUE.overhead
    assert machine.points == 30


def test_noise_moves_the_estimate_by_no_more_than_the_noise() -> None:
    machine = fitted(assumed("CPU, threads: 1", "float32", measured=True), points(30, noise=0.2))
    for one in points(30):
        assert machine.seconds(one.work) == pytest.approx(one.seconds, rel=0.2)


def test_one_measurement_scales_all_rates() -> None:
    start = assumed("h100", "bfloat16")
    (one,) = points(1)
    slow = replace(one, seconds=3 * start.seconds(one.work))
    machine = fitted(start, [slow])
    assert machine.seconds(one.work * 2.0) == pytest.approx(2 * slow.seconds)
    assert machine.flops == pytest.approx(start.flops / 3)


def test_rates_are_never_negative() -> None:
    odd = [replace(one, seconds=one.work.flops / 1e9) for one in points(10)]
    machine = fitted(assumed("CPU, threads: 1", "float32", measured=True), odd)
    assert min(machine.flops, machine.bandwidth, machine.kernel) > 0


def test_names() -> None:
    assert assumed("NVIDIA H100 80GB HBM3", "bfloat16").flops == assumed("h100", "bfloat16").flops
    assert assumed("Some GPU", "bfloat16", measured=True).name == "Some GPU"
    with pytest.raises(UserError, match=r"plan\.hardware=h10 is not one of .* \(did you mean h100\?\)"):
        assumed("h10", "bfloat16")

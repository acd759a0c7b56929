"""What a worker offers, by what it measures."""

from dataclasses import dataclass, field

import pytest

from worker.headroom import memory_reader
from worker.load import CALM_S, Judged, Load, Memory, Pressure, judge, offered, pressure_of

LIMIT_S = 0.1
ROOM = Memory(2000, 500)


@pytest.mark.parametrize(
    ("lag_s", "memory", "pressure"),
    [
        (0.0, ROOM, Pressure.NONE),
        (0.049, ROOM, Pressure.NONE),
        (0.05, ROOM, Pressure.SOME),
        (0.1, ROOM, Pressure.HIGH),
        (0.0, Memory(2000, 1799), Pressure.NONE),
        (0.0, Memory(2000, 1801), Pressure.HIGH),
        (0.0, Memory(64_000, 60_000), Pressure.NONE),  # 4 GB are left of 64: no reason to stop
        (0.0, Memory(64_000, 63_600), Pressure.HIGH),
        (0.2, None, Pressure.HIGH),
        (0.0, None, Pressure.NONE),
    ],
)
def test_pressure_is_the_worse_of_lag_and_memory(lag_s, memory, pressure):
    assert pressure_of(lag_s, LIMIT_S, memory) is pressure


def test_without_a_limit_lag_does_not_count():
    assert pressure_of(9.0, 0, ROOM) is Pressure.NONE


@pytest.mark.parametrize(
    ("pressure", "calls", "offers"),
    [
        (Pressure.NONE, 4, 10),
        (Pressure.SOME, 4, 7),
        (Pressure.SOME, 9, 10),  # the last free slot is half of what is free, too
        (Pressure.SOME, 10, 10),
        (Pressure.HIGH, 4, 4),
        (Pressure.HIGH, 0, 0),
        (Pressure.HIGH, 11, 11),
    ],
)
def test_the_offer_is_all_half_of_what_is_free_or_what_is_there(pressure, calls, offers):
    assert offered(pressure, calls, 10) == offers


def test_pressure_rises_at_once_and_falls_when_it_has_been_lower_for_a_while():
    judged = judge(Judged(), Pressure.HIGH, 0.0)
    assert judged.pressure is Pressure.HIGH
    judged = judge(judged, Pressure.NONE, 1.0)
    assert judge(judged, Pressure.NONE, 1.0 + CALM_S - 0.01).pressure is Pressure.HIGH
    assert judge(judged, Pressure.NONE, 1.0 + CALM_S).pressure is Pressure.NONE


def test_it_falls_to_the_worst_since_it_began_to_be_calmer():
    judged = judge(Judged(Pressure.HIGH), Pressure.NONE, 0.0)
    judged = judge(judged, Pressure.SOME, 1.0)
    judged = judge(judged, Pressure.NONE, CALM_S)
    assert judged == Judged(Pressure.SOME)


def test_a_pressure_that_comes_back_meanwhile_begins_the_wait_anew():
    judged = judge(Judged(Pressure.HIGH), Pressure.NONE, 0.0)
    judged = judge(judged, Pressure.HIGH, CALM_S - 0.1)
    judged = judge(judged, Pressure.NONE, CALM_S)
    assert judge(judged, Pressure.NONE, CALM_S + 0.1).pressure is Pressure.HIGH


@dataclass
class Told:
    """Who hears of changes."""

    changes: list[Pressure] = field(default_factory=list)

    def __call__(self, pressure: Pressure, lag_s: float) -> None:
        self.changes.append(pressure)


def test_one_late_moment_is_no_load_and_a_late_second_is():
    told = Told()
    load = Load(LIMIT_S, lambda: ROOM, told)
    for n, late_s in enumerate([0.0] * 5 + [0.3] + [0.0] * 9):
        load.saw_lag(late_s, n / 10)
    assert told.changes == []
    assert load.offers(3, 10) == 10
    load.saw_lag(1.0, 2.0)
    assert told.changes == [Pressure.HIGH], "at once, with the first sample after it"
    assert load.offers(3, 10) == 3
    for n in range(45):
        load.saw_lag(0.0, 2.1 + n / 10)
    assert told.changes == [Pressure.HIGH, Pressure.NONE]
    assert load.offers(3, 10) == 10


def test_memory_that_runs_out_is_seen_within_a_second():
    told, memory = Told(), [ROOM]
    load = Load(LIMIT_S, lambda: memory[0], told)
    load.saw_lag(0.0, 0.0)
    memory[0] = Memory(2000, 1990)
    for n in range(10):
        load.saw_lag(0.0, n / 10)
    assert told.changes == [Pressure.HIGH]


# -- where memory is read

MB = 1024 * 1024


def machine(tmp_path, files):
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


WHOLE = {"proc/meminfo": "MemTotal: 4096000 kB\nMemFree: 1 kB\nMemAvailable: 1024000 kB\n"}
V2 = {
    "memory.max": f"{1000 * MB}\n",
    "memory.current": f"{600 * MB}\n",
    "memory.stat": f"anon 1\ninactive_file {100 * MB}\n",
}


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        (WHOLE, Memory(4000, 3000)),
        ({}, None),
        (
            {"proc/self/cgroup": "0::/\n", **{f"sys/fs/cgroup/{k}": v for k, v in V2.items()}, **WHOLE},
            Memory(1000, 500),
        ),
        (
            {"proc/self/cgroup": "0::/a.slice/b\n", **{f"sys/fs/cgroup/a.slice/b/{k}": v for k, v in V2.items()}},
            Memory(1000, 500),
        ),
        (
            {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n", **WHOLE},
            Memory(4000, 3000),
        ),
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/x\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(800 * MB),
                "sys/fs/cgroup/memory/memory.usage_in_bytes": str(300 * MB),
                "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {50 * MB}",
            },
            Memory(800, 250),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                **WHOLE,
            },
            Memory(4000, 3000),
        ),
    ],
    ids=["machine", "unknown", "v2", "v2 at its own path", "v2 without a limit", "v1", "v1 without a limit"],
)
def test_memory_is_the_containers_or_the_machines(tmp_path, files, memory):
    assert memory_reader(0, machine(tmp_path, files))() == memory


def test_with_a_limit_of_its_own_it_is_the_process(tmp_path):
    root = machine(tmp_path, {"proc/self/status": "Name: x\nVmRSS:\t  307200 kB\n", **WHOLE})
    assert memory_reader(512, root)() == Memory(512, 300)


def test_this_machine_can_be_read():
    memory = memory_reader(0)()
    assert memory is None or 0 < memory.used_mb < memory.limit_mb

"""What a real worker died of, as its watchdog writes it down: which call its event loop was in, and by whose hand."""

import asyncio
import os
import signal

import pytest

from tests.worker_process import worker_process

POISON = """
import asyncio, ctypes, functools, os, re, signal, socket, sys, threading, time

import numpy as np

from calm import run


def refuses():
    listener = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(listener.getsockname()).recv(1)


def locked():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def multiplies():
    square = np.ones((4000, 4000))
    while True:
        square @ square


def overflows():
    sys.setrecursionlimit(10**9)
    deep = functools.partial(lambda: None)
    for _ in range(10**6):
        deep = functools.partial(deep, deep)
    again = lambda _=None: sorted([0], key=again)
    again()


def spins():
    while True:
        pass


ACTS = {
    "sleep": lambda: time.sleep(60),
    "spin": spins,
    "recv": refuses,
    "lock": locked,
    "numpy": multiplies,
    "regex": lambda: re.match(r"(a+)+$", "a" * 60 + "b"),
    "subprocess": lambda: __import__("subprocess").run(["sleep", "60"]),
    "segv": lambda: ctypes.string_at(0),
    "raised": lambda: signal.raise_signal(signal.SIGSEGV),
    "abort": os.abort,
    "fpe": lambda: os.kill(os.getpid(), signal.SIGFPE),
    "exit": lambda: os._exit(3),
    "exit0": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "exec": lambda: os.execv("/bin/sleep", ["sleep", "60"]),
}


def of(act):
    async def bot(runner_args):
        async def does():
            ACTS[act]()

        await run(runner_args, does=does)

    return bot


for act in ACTS:
    globals()[act] = of(act)


async def later(runner_args):
    async def does():
        asyncio.get_running_loop().call_later(0.2, time.sleep, 60)

    await run(runner_args, does=does)


async def thread(runner_args):
    async def does():
        await asyncio.to_thread(ctypes.string_at, 0)

    await run(runner_args, does=does)


async def tool(runner_args):
    async def does():
        async def work():
            await asyncio.sleep(0.1)
            time.sleep(60)

        asyncio.create_task(work())

    await run(runner_args, does=does)
"""
FAST = {"SFVOPI_WATCHDOG_S": "1.2"}


@pytest.mark.parametrize(
    ("act", "cause", "detail"),
    [
        ("sleep", "frozen", "poison"),
        ("spin", "frozen", "spins"),
        ("recv", "frozen", "refuses"),
        ("lock", "frozen", "locked"),
        ("numpy", "frozen", "in "),
        ("regex", "frozen", "re"),
        ("subprocess", "frozen", "subprocess"),
        ("later", "frozen", ""),
        ("stop", "frozen", "stood still"),
        ("tool", "frozen", "work"),
        ("segv", "crashed", "SIGSEGV"),
        ("thread", "crashed", "SIGSEGV"),
        ("raised", "crashed", "SIGSEGV"),
        ("abort", "crashed", "SIGABRT"),
        ("fpe", "crashed", "SIGFPE"),
        ("exit", "crashed", "exit status 3"),
        ("exit0", "crashed", "exit status 0"),
        ("kill", "crashed", "SIGKILL"),
    ],
)
async def test_the_call_that_kills_its_worker_is_named(tmp_path, redis_url, act, cause, detail):
    async with worker_process(tmp_path, redis_url, {"poison": POISON}, **FAST) as worker:
        await worker.talk("healthy")
        await worker.started("healthy")
        await worker.talk("poisonous", f"poison:{act}")
        note = await worker.dies()
        assert note is not None
        assert (note.cause, note.call_id, note.bot) == (cause, "poisonous", f"poison:{act}")
        assert detail in note.detail
        told = next(line for line in worker.log() if line["event"] == "worker died")
        assert (told["cause"], told["call_id"], told["bot"]) == (cause, "poisonous", f"poison:{act}")


async def test_a_process_that_became_another_one_is_killed(tmp_path, redis_url):
    """Its pipe closes, and nothing else tells: the watchdog would wait for a stranger's end."""
    async with worker_process(tmp_path, redis_url, {"poison": POISON}, **FAST) as worker:
        await worker.talk("poisonous", "poison:exec")
        note = await worker.dies()
        assert note is not None
        assert note.cause == "crashed"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGHUP, signal.SIGQUIT])
async def test_a_worker_that_somebody_kills_accuses_nobody(tmp_path, redis_url, number):
    async with worker_process(tmp_path, redis_url, {}) as worker:
        await worker.talk("healthy")
        await worker.started("healthy")
        os.kill(worker.pid, number)
        note = await worker.dies()
        assert note is not None
        assert (note.cause, note.call_id, note.detail) == ("outside", "", number.name)


async def test_a_worker_that_somebody_stops_accuses_nobody(tmp_path, redis_url):
    async with worker_process(tmp_path, redis_url, {}, **FAST) as worker:
        await worker.talk("healthy")
        await worker.started("healthy")
        os.kill(worker.pid, signal.SIGSTOP)
        note = await worker.dies()
        assert note is not None
        assert (note.cause, note.call_id) == ("outside", "")
        assert note.detail.startswith("stopped for ")


async def test_a_worker_that_leaves_in_good_order_says_so(tmp_path, redis_url):
    async with worker_process(tmp_path, redis_url, {}) as worker:
        worker.process.terminate()
        note = await worker.dies()
        assert note is not None
        assert (note.cause, note.call_id) == ("ended", "")


HUNGRY = """
import asyncio, time

from calm import run

held = []


async def at_once(runner_args):
    async def does():
        for _ in range(400):
            held.append(b"x" * 10_000_000)
        time.sleep(60)

    await run(runner_args, does=does)


async def slowly(runner_args):
    async def does():
        for _ in range(100_000):
            held.append(b"x" * 10_000_000)
            await asyncio.sleep(0.01)

    await run(runner_args, does=does)
"""


@pytest.mark.parametrize(("bot", "call_id"), [("at_once", "hungry"), ("slowly", "")])
async def test_a_worker_far_beyond_its_memory_is_killed_and_names_whom_its_loop_is_in_for_long(
    tmp_path, redis_url, bot, call_id
):
    settings = {"SFVOPI_MEMORY_LIMIT_MB": "500", "SFVOPI_WATCHDOG_S": "10"}
    async with worker_process(tmp_path, redis_url, {"hungry": HUNGRY}, **settings) as worker:
        await worker.talk("hungry", f"hungry:{bot}")
        note = await worker.dies(60)
        assert note is not None
        assert (note.cause, note.call_id) == ("memory", call_id)
        assert note.detail.endswith(" MB of 500")


async def test_a_note_is_written_soon_after_the_death(tmp_path, redis_url):
    async with worker_process(tmp_path, redis_url, {}) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        began = asyncio.get_running_loop().time()
        while not await worker.registry.death_notes([worker.record.seat]):
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began < 2.0  # a quarter of a second on a core of its own

"""Bots that do to their process what programs of their own may do: the worker, and every other call, do not notice."""

import asyncio
import os
import signal

import pytest

from tests.worker_process import ID, worker_process

RUDE = """
import asyncio, atexit, contextlib, gc, io, logging, logging.config, multiprocessing, os, signal, socket, sys, threading
import time, warnings

import structlog
import uvloop
from dotenv import load_dotenv
from loguru import logger
from pipecat.workers.runner import WorkerRunner

from calm import run

HERE = os.path.dirname(__file__)


def cancels_all():
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


def forks():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.2)
    child.terminate()
    child.join(5)
    assert child.exitcode == -signal.SIGTERM, child.exitcode


def raises(error):
    raise error


def in_a_task(act):
    async def work():
        act()

    asyncio.create_task(work())


def later(act):
    asyncio.get_running_loop().call_later(0.05, act)


def debug_logs():
    logger.remove(0)
    logger.remove()
    logger.add(sys.stderr, level="DEBUG")
    logger.debug("a secret of loguru")


def own_log_file():
    logger.remove()
    logger.add(os.path.join(HERE, "own.log"), level="DEBUG")
    logger.debug("written to my file")


def basic_config():
    logging.basicConfig(level=logging.DEBUG, force=True)


def quiets_all():
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def dict_config():
    logging.config.dictConfig({"version": 1, "root": {"level": "DEBUG", "handlers": []}})


def dotenv():
    with open(os.path.join(HERE, "contradicts.env"), "w") as file:
        file.write("GIVEN=by the file\\nNEW=1\\n")
    load_dotenv(os.path.join(HERE, "contradicts.env"), override=True)
    assert os.environ["GIVEN"] == "by the operator" and os.environ["NEW"] == "1"


def another_ones_variable():
    os.environ["OWN_OF_SETS"] = "2"


def sets():
    os.environ["OWN_OF_SETS"] = "1"
    os.environ["OWN_OF_SETS"] = "1.1"


ACTS = {
    "sigterm": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "sigint": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    "loop_sigterm": lambda: asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print),
    "loop_removes": lambda: asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM),
    "wakeup": lambda: signal.set_wakeup_fd(-1),
    "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2}),
    "quiets_all": quiets_all,
    "root_disabled": lambda: setattr(logging.getLogger(), "disabled", True),
    "closes_stderr": lambda: sys.__stderr__.close(),
    "executor_down": lambda: asyncio.ensure_future(asyncio.get_running_loop().shutdown_default_executor()),
    "debug_logs": debug_logs,
    "own_log_file": own_log_file,
    "configures": lambda: logger.configure(handlers=[{"sink": sys.stdout, "level": "TRACE"}]),
    "basic_config": basic_config,
    "dict_config": dict_config,
    "disables_logging": lambda: logging.disable(logging.CRITICAL),
    "clears_handlers": lambda: logging.getLogger().handlers.clear(),
    "structlog_configured": lambda: structlog.configure(processors=[structlog.dev.ConsoleRenderer()]),
    "chdir": lambda: os.chdir("/"),
    "sys_path": lambda: sys.path.insert(0, "/nowhere/at/all"),
    "sys_path_cleared": lambda: sys.path.clear(),
    "stdout": lambda: setattr(sys, "stdout", io.StringIO()),
    "excepthook": lambda: setattr(sys, "excepthook", print),
    "gc": gc.disable,
    "recursion": lambda: sys.setrecursionlimit(100_000),
    "warnings_as_errors": lambda: warnings.simplefilter("error"),
    "exception_handler": lambda: asyncio.get_running_loop().set_exception_handler(print),
    "task_factory": lambda: asyncio.get_running_loop().set_task_factory(None),
    "executor": lambda: asyncio.get_running_loop().set_default_executor(None),
    "policy": uvloop.install,
    "stop": lambda: asyncio.get_running_loop().stop(),
    "cancels_all": cancels_all,
    "forks": forks,
    "dotenv": dotenv,
    "clears_environment": lambda: os.environ.clear(),
    "sets": sets,
    "another_ones_variable": another_ones_variable,
    "exits": lambda: sys.exit(3),
    "quits": lambda: quit(),
    "interrupts": lambda: raises(KeyboardInterrupt()),
    "no_memory": lambda: raises(MemoryError()),
    "exits_in_a_task": lambda: in_a_task(lambda: sys.exit(3)),
    "exits_in_a_callback": lambda: later(lambda: sys.exit(3)),
    "stops_in_a_callback": lambda: later(asyncio.get_running_loop().stop),
    "alarm": lambda: (signal.signal(signal.SIGALRM, lambda *_: raises(TimeoutError())), signal.setitimer(0, 0.05)),
    "atexit_hangs": lambda: atexit.register(time.sleep, 600),
    "thread": lambda: threading.Thread(target=time.sleep, args=(600,), name="a thread that stays").start(),
    "executor_busy": lambda: asyncio.get_running_loop().run_in_executor(None, time.sleep, 600),
}


def of(act):
    async def bot(runner_args):
        async def does():
            ACTS[act]()

        await run(runner_args, does=does)

    return bot


for act in ACTS:
    globals()[act] = of(act)


async def runner(runner_args):
    await run(runner_args, WorkerRunner())


async def runner_sigterm(runner_args):
    await run(runner_args, WorkerRunner(handle_sigterm=True))


async def cancels_itself(runner_args):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


async def returns_exit(runner_args):
    sys.exit("no more")
"""
ENDS = {  # acts that end their call
    "exits": "SystemExit",
    "quits": "SystemExit",
    "interrupts": "KeyboardInterrupt",
    "exits_in_a_task": "SystemExit",
    "returns_exit": "SystemExit",
    "cancels_itself": "the bot ended before its pipeline had begun",
}
SAID = {  # acts that the log names
    "sigterm": "signal.signal(SIGTERM)",
    "sigint": "signal.signal(SIGINT)",
    "loop_sigterm": "loop.add_signal_handler(SIGTERM)",
    "runner": "loop.add_signal_handler(SIGINT)",
    "runner_sigterm": "loop.add_signal_handler(SIGTERM)",
    "wakeup": "signal.set_wakeup_fd",
    "mask": "signal.pthread_sigmask",
    "quiets_all": "logging: levels",
    "root_disabled": "logging: levels",
    "closes_stderr": "logging: handlers",
    "executor_down": "loop.shutdown_default_executor",
    "debug_logs": "logger.add(sys.stderr)",
    "configures": "logger.add(sys.stderr)",
    "basic_config": "logging: handlers",
    "dict_config": "logging: levels",
    "disables_logging": "logging: levels",
    "clears_handlers": "logging: handlers",
    "structlog_configured": "structlog.configure",
    "chdir": "working folder",
    "sys_path": "sys.path",
    "sys_path_cleared": "sys.path",
    "stdout": "sys.stdout",
    "excepthook": "sys.excepthook",
    "gc": "gc.disable",
    "recursion": "sys.setrecursionlimit",
    "warnings_as_errors": "warnings as errors",
    "exception_handler": "loop.set_exception_handler",
    "task_factory": "loop.set_task_factory",
    "executor": "loop.set_default_executor",
    "policy": "asyncio.set_event_loop_policy",
    "stop": "loop.stop",
    "stops_in_a_callback": "loop.stop",
    "dotenv": "os.environ['GIVEN'] = …",
    "clears_environment": "os.environ.clear()",
    "another_ones_variable": "os.environ['OWN_OF_SETS'] = …",
}
UNNOTICED = (
    *("loop_removes", "own_log_file", "forks", "sets", "no_memory", "exits_in_a_callback", "alarm", "atexit_hangs"),
    *("thread", "executor_busy", "cancels_all"),
)


@pytest.fixture
async def worker(tmp_path, redis_url):
    settings = {"SFVOPI_CALLS_PER_WORKER": "100", "GIVEN": "by the operator", "SFVOPI_MEDIA_TIMEOUT_S": "300"}
    async with worker_process(tmp_path, redis_url, {"rude": RUDE}, **settings) as running:
        yield running


async def test_what_a_bot_does_to_the_process_holds_for_nobody_and_the_log_says_so(worker):
    await worker.talk("healthy")
    await worker.started("healthy")
    for act in dict.fromkeys((*UNNOTICED, *SAID)):  # one after another: each act is this bot's
        await worker.talk(act, f"rude:{act}")
        await worker.started(act)
        await asyncio.sleep(0.3)
        await worker.streams[act].close()
        assert (await worker.ended(act)).reason == "stream_closed", act
        assert worker.process.returncode is None, act
    for act in ENDS:  # each is heard to its end by an apology
        await worker.talk(act, f"rude:{act}")
    for act, detail in ENDS.items():
        call = await worker.ended(act)
        assert (call.reason, call.detail) == ("bot_error", detail), act
    healthy = await worker.registry.get("healthy")
    assert not healthy.is_over
    assert ID in [view.record.worker_id for view in await worker.registry.workers()]
    await worker.streams["healthy"].close()
    os.kill(worker.pid, signal.SIGTERM)
    log, took_s = await worker.ends(20)
    assert worker.process.returncode == 0
    assert took_s < 12
    said = [line for line in log if "what the worker owns" in line["event"]]
    told = {(bot, line["what"]) for line in said for bot in line["bot"].split(", ")}
    assert {(f"rude:{act}", what) for act, what in SAID.items()} <= told
    assert not {(bot, what) for bot, what in told if bot.partition(":")[2] in UNNOTICED}
    assert "a secret of loguru" not in worker.text()
    assert all(line.startswith("{") for line in worker.text().splitlines() if "call_id" in line)
    assert "a thread that stays" in next(line["threads"] for line in log if "keeps this process" in line["event"])
    asked = {line.get("call_id") for line in log if line["event"] == "the bot asked the process to exit"}
    assert asked == {*ENDS} - {"cancels_itself"}
    dead = [line for line in log if line["event"] == "side task died"]
    assert not dead


AT_IMPORT = """
import asyncio, gc, logging, os, signal, sys

from dotenv import load_dotenv
from loguru import logger
from pipecat.workers.runner import WorkerRunner

logger.remove(0)
logger.add(sys.stderr, level="DEBUG")
logger.debug("a secret of loguru")
logging.basicConfig(level=logging.DEBUG, force=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.default_int_handler)
asyncio.get_event_loop().add_signal_handler(signal.SIGINT, print)
with open("contradicts.env", "w") as file:
    file.write("GIVEN=by the file\\nNEW=1\\n")
load_dotenv(override=True, dotenv_path="contradicts.env")
os.chdir("/")
sys.path.insert(0, "/nowhere")
gc.disable()

from calm import run


async def bot(runner_args):
    os.chdir("/tmp")
    sys.excepthook = print
    await run(runner_args, WorkerRunner(handle_sigterm=True))
"""


async def test_after_an_import_and_a_rehearsal_the_process_is_the_workers_again(tmp_path, redis_url):
    settings = {"SFVOPI_BOT": "at_import:bot", "SFVOPI_REHEARSE": "on", "GIVEN": "by the operator"}
    async with worker_process(tmp_path, redis_url, {"at_import": AT_IMPORT}, **settings) as worker:
        assert os.path.samefile(f"/proc/{worker.pid}/cwd", tmp_path)
        os.kill(worker.pid, signal.SIGTERM)
        log, took_s = await worker.ends(10)
    assert worker.process.returncode == 0
    assert took_s < 5
    told = {
        line["what"] for line in log if line.get("bot") == "at_import:bot" and "what the worker owns" in line["event"]
    }
    assert told >= {
        *("logger.add(sys.stderr)", "logging: handlers", "logging: levels", "working folder", "sys.path", "gc.disable"),
        *("signal.signal(SIGTERM)", "signal.signal(SIGINT)", "os.environ['GIVEN'] = …", "sys.excepthook"),
        "loop.add_signal_handler(SIGTERM)",
    }
    assert "a secret of loguru" not in worker.text()


async def test_a_bot_that_exits_at_its_import_or_rehearsal_is_named_and_the_worker_says_why(tmp_path, redis_url):
    bots = {
        "gone": "import sys\nsys.exit('no key')\n",
        "going": "import sys\nasync def bot(_):\n    sys.exit('no key')\n",
    }
    numbers = '[default]\nbot = "calm:bot"\n["+918000000001"]\nbot = "gone:bot"\n["+918000000002"]\nbot = "going:bot"\n'
    (tmp_path / "bots.toml").write_text(numbers)
    settings = {"SFVOPI_BOTS": "bots.toml", "SFVOPI_REHEARSE": "on"}
    async with worker_process(tmp_path, redis_url, bots, is_ready=False, **settings) as worker:
        async with asyncio.timeout(30):
            while "going:bot" not in worker.text():
                await asyncio.sleep(0.1)
        assert worker.process.returncode is None
    said = [line for line in worker.log() if "SystemExit: no key" in str(line)]
    assert {line["bot"] for line in said} == {"gone:bot", "going:bot"}

"""
Forks and exits of processes that hold a publisher: prefork workers fork after they imported, some while they send.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

LIMIT = 30.0
"""Seconds that a process may take at most."""

BEGIN = """
import os, sys, threading, time, warnings
# From 3.12 on a fork says that there are threads: a publisher is what copes with it.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from ws_isolation import blocking_publisher, errors
from ws_isolation.backplanes.memory import MemoryBackplane
from ws_isolation.blocking_publisher import BlockingPublisher
from ws_isolation.events import Custom
from ws_isolation.testing import make_context

class Telling(MemoryBackplane):
    async def publish(self, identity, draft):
        envelope = await super().publish(identity, draft)
        say(draft.event.type, envelope.seq)
        return envelope

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def note():
    return Custom(name="test.note", value=1)

def in_a_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            say("child failed", repr(error))
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    say("child ended", status)

publisher = BlockingPublisher(MemoryBackplane, timeout=10)
"""


def run(script: str) -> list[str]:
    """
    Run *script* in a fresh interpreter, and return the lines that it and its children said.
    """
    source = BEGIN + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert "" == done.stderr
    assert 0 == done.returncode
    return done.stdout.splitlines()


def test_fork_before_use() -> None:
    """Made before a fork, as Celery's and RQ's tasks are, it starts in each child by itself."""
    assert ["child 1", "child ended 0", "child 1", "child ended 0", "parent False"] == run(
        """
        def work():
            say("child", publisher.create_manager(make_context()).send(note()).seq)
        in_a_child(work)
        in_a_child(work)
        say("parent", bool(blocking_publisher._RUNNING))
        """
    )


@pytest.mark.requirement("P3")
def test_fork_while_in_use() -> None:
    """A child of a process that sends begins anew with a backplane of its own; the parent goes on undisturbed."""
    assert ["parent 1", "child 1 1", "child closed", "child ended 0", "parent 2 1"] == run(
        """
        made = []
        def make():
            made.append(os.getpid())
            return MemoryBackplane()
        publisher = BlockingPublisher(make, timeout=10)
        manager = publisher.create_manager(make_context())
        say("parent", manager.send(note()).seq)
        def work():
            seq = publisher.create_manager(make_context()).send(note()).seq
            say("child", seq, made.count(os.getpid()))
            publisher.close()
            say("child closed")
        in_a_child(work)
        say("parent", manager.send(note()).seq, len(made))
        """
    )


def test_managers_do_not_cross_a_fork() -> None:
    """A manager and an open run of the parent refuse at once in the child; the run ends once, in the parent."""
    lines = run(
        """
        publisher = BlockingPublisher(Telling, timeout=10)
        manager = publisher.create_manager(make_context())
        run = manager.run("a")
        run.__enter__()
        leave = lambda: run.__exit__(None, None, None)
        def work():
            began = time.monotonic()
            for call in (lambda: manager.send(note()), lambda: run.thinking("x"), leave):
                try:
                    call()
                except errors.InvalidStateError as error:
                    say("was forked" in str(error))
            say("at once", time.monotonic() - began < 2)
        in_a_child(work)
        leave()
        """
    )
    assert ["agent_started 1", "True", "True", "True", "at once True", "child ended 0", "agent_completed 2"] == lines


def test_control_no_look_at_the_process() -> None:
    """The control: without the look at the process, a child waits for the parent's loop until its time is up."""
    assert ["child timed out", "child ended 0"] == run(
        """
        publisher = BlockingPublisher(MemoryBackplane, timeout=0.2)
        manager = publisher.create_manager(make_context())
        def work():
            runtime = manager._portal._factory._runtime
            runtime._process = os.getpid()
            try:
                manager.send(note())
            except TimeoutError:
                say("child timed out")
        in_a_child(work)
        """
    )


def test_control_what_is_the_parents() -> None:
    """The control: a child that kept what it inherited could not send."""
    assert ["child refused", "child ended 0"] == run(
        """
        manager = publisher.create_manager(make_context())
        def work():
            (node,) = blocking_publisher._INHERITED
            blocking_publisher._RUNNING[publisher] = node
            try:
                publisher.create_manager(make_context()).send(note())
            except errors.InvalidStateError:
                say("child refused")
            blocking_publisher._RUNNING.clear()
        in_a_child(work)
        """
    )


def test_fork_while_another_thread_starts_it() -> None:
    """A fork waits until another thread has started it, so no child inherits a lock that nobody will give back."""
    assert ["starting", "started", "child 1", "child ended 0"] == run(
        """
        is_starting, may_start = threading.Event(), threading.Event()
        parent = os.getpid()
        def make():
            if os.getpid() == parent:
                say("starting")
                is_starting.set()
                may_start.wait(10)
                say("started")
            return MemoryBackplane()
        publisher = BlockingPublisher(make, timeout=10)
        starter = threading.Thread(target=lambda: publisher.create_manager(make_context()))
        starter.start()
        is_starting.wait(10)
        threading.Timer(0.2, may_start.set).start()
        in_a_child(lambda: say("child", publisher.create_manager(make_context()).send(note()).seq))
        starter.join()
        """
    )


def test_multiprocessing() -> None:
    """Processes of multiprocessing, forked and spawned, send, and end without closing it."""
    assert ["fork 1 0", "spawn 1 0"] == run(
        """
        import multiprocessing
        SEND = (
            "from ws_isolation.backplanes.memory import MemoryBackplane;"
            "from ws_isolation.blocking_publisher import BlockingPublisher;"
            "from ws_isolation.events import Custom;"
            "from ws_isolation.testing import make_context;"
            "made = globals().get('publisher') or BlockingPublisher(MemoryBackplane);"
            "queue.put(made.create_manager(make_context()).send(Custom(name='test.note', value=1)).seq)"
        )
        publisher.create_manager(make_context())
        for method, given in (("fork", {"publisher": publisher}), ("spawn", {})):
            context = multiprocessing.get_context(method)
            queue = context.SimpleQueue()
            child = context.Process(target=exec, args=(SEND, {**given, "queue": queue}))
            child.start()
            said = queue.get()
            child.join(20)
            say(method, said, child.exitcode)
        """
    )


def test_exit_without_close() -> None:
    """A process that never closes it ends by itself; a run that a daemon thread has open ends as cancelled first."""
    assert ["custom 1", "agent_started 2", "leaving", "agent_cancelled 3"] == run(
        """
        publisher = BlockingPublisher(Telling, timeout=10)
        manager = publisher.create_manager(make_context())
        manager.send(note())
        is_open = threading.Event()
        def agent():
            with manager.run("a"):
                is_open.set()
                threading.Event().wait()
        threading.Thread(target=agent, daemon=True).start()
        is_open.wait(10)
        say("leaving")
        """
    )


def test_command_that_raises() -> None:
    """A command that fails in the middle of a run ends the run as failed, in its own words for the log only."""
    lines = run(
        """
        publisher = BlockingPublisher(Telling, timeout=10)
        import logging
        logging.getLogger("ws_isolation").addHandler(logging.NullHandler())
        try:
            with publisher, publisher.create_manager(make_context()).run("a"):
                raise LookupError
        except LookupError:
            say("raised")
        """
    )
    assert ["agent_started 1", "agent_error 2", "raised"] == lines

"""The process that owns the children: starts them, watches them, starts again what dies, stops them in order."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from infrastructure.local import state
from infrastructure.local.backoff import Backoff
from infrastructure.local.credentials import Credentials
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import ROOT, Place
from infrastructure.local.processes import PROCESSES, Process, minimal_environment, stop_order
from infrastructure.local.readiness import PREPARE, problem_of
from infrastructure.local.servers.child import ProcessId, spawn_async

log = logging.getLogger("supervisor")

STARTING_POLL_SECONDS = 0.1
STEADY_POLL_SECONDS = 2.0
_LOG_LIMIT_BYTES = 20 * 1024 * 1024


class Child:
    """One row of the table while the fleet is up: its present process, and the loop that keeps there being one."""

    def __init__(self, process: Process, place: Place, credentials: Credentials, changed: Callable[[], None]) -> None:
        self.process = process
        self._place = place
        self._credentials = credentials
        self._changed = changed
        self._running: asyncio.subprocess.Process | None = None
        self._loop: asyncio.Task[None] | None = None
        self.state = state.ProcessState(
            process.name, place.port(process.offset), process.required, None, state.STARTING, time.time()
        )

    def begin(self, task: asyncio.Task[None]) -> None:
        """Remembers the task that runs `keep_running`."""
        self._loop = task

    async def keep_running(self) -> None:
        """Starts the process, and again whenever it ends, until cancelled. Raises Obstacle."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            self._running = running = await self._spawn()
            watching = asyncio.create_task(self._watch(began))
            ended = asyncio.create_task(running.wait())
            try:
                await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    watching.result()  # the watch ends only with an Obstacle
            finally:
                watching.cancel()
                ended.cancel()
            pause = backoff.after_run_of(time.monotonic() - began)
            reason = _describe_exit(running.returncode)
            log.warning("process.ended name=%s %s restart_in=%.1fs", self.process.name, reason, pause)
            self.state.identity = None
            self.state.seconds = None
            self.state.restarts += 1
            self._become(state.RESTARTING, reason)
            await asyncio.sleep(pause)

    async def _spawn(self) -> asyncio.subprocess.Process:
        path = self._place.log(self.process.name)
        if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        environment = minimal_environment() | dict(self.process.environment(self._place, self._credentials))
        running = await spawn_async(
            self.process.command(self._place), log=path, environment=environment, directory=ROOT
        )
        self.state.identity = ProcessId.of(running.pid)
        self._become(state.STARTING)
        log.info("process.started name=%s pid=%d", self.process.name, running.pid)
        return running

    async def _watch(self, began: float) -> None:
        """Prepares the process as soon as it answers, then keeps its readiness up to date."""
        prepare = PREPARE.get(self.process.name)
        while True:
            problem = await problem_of(self.process, self._place)
            if not problem and prepare is not None:
                problem = await self._prepare()
                prepare = None if not problem else prepare
            if not problem and self.state.state != state.READY:
                if self.state.seconds is None:
                    self.state.seconds = time.monotonic() - began
                self._become(state.READY)
                log.info("process.ready name=%s seconds=%.1f", self.process.name, self.state.seconds)
            elif problem and self.state.state == state.READY:
                self._become(state.UNREADY, problem)
                log.warning("process.not_ready name=%s problem=%r", self.process.name, problem)
            elif problem != self.state.problem:
                self.state.problem = problem
                self._changed()
            steady = self.state.state == state.READY
            await asyncio.sleep(STEADY_POLL_SECONDS if steady else STARTING_POLL_SECONDS)

    async def _prepare(self) -> str:
        try:
            await PREPARE[self.process.name](self._place, self._credentials)
        except Obstacle:
            raise
        # Whatever a server that is still starting answers, the next attempt may succeed: the loop must survive.
        except Exception as failed:  # noqa: BLE001
            log.warning("process.prepare_failed name=%s error=%r", self.process.name, str(failed))
            return f"cannot be prepared: {failed}"
        return ""

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when the process is gone."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        running = self._running
        if running is not None and running.returncode is None:
            with suppress(ProcessLookupError):
                running.terminate()
            try:
                async with asyncio.timeout(self.process.grace_seconds):
                    await running.wait()
            except TimeoutError:
                log.warning("process.killed name=%s after=%.0fs", self.process.name, self.process.grace_seconds)
                running.kill()
                await running.wait()
        self.state.identity = None
        self._become(state.STOPPED)

    def _become(self, new: str, problem: str = "") -> None:
        if new != self.state.state:
            self.state.since = time.time()
        self.state.state = new
        self.state.problem = problem
        self._changed()


def _describe_exit(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exited with {status}"


class Supervisor:
    """All children of one fleet, and the file that says how they are."""

    def __init__(self, place: Place, credentials: Credentials, processes: tuple[Process, ...] = PROCESSES) -> None:
        self._place = place
        self._processes = processes
        self._children = {process.name: Child(process, place, credentials, self._save) for process in processes}
        identity = ProcessId.of(os.getpid())
        assert identity is not None
        self._state = state.FleetState(
            supervisor=identity,
            port_base=place.port_base,
            started=time.time(),
            processes=[child.state for child in self._children.values()],
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the fleet until `stop` is set or a child meets an obstacle, then ends it in order."""
        for child in self._children.values():
            task = asyncio.create_task(child.keep_running(), name=child.process.name)
            task.add_done_callback(partial(self._give_up, stop))
            child.begin(task)
        try:
            await stop.wait()
        finally:
            for group in stop_order(self._processes):
                await asyncio.gather(*(self._children[name].stop() for name in group))
            if not self._state.obstacle:  # otherwise `up` has still to read it
                state.forget(self._place)

    def _give_up(self, stop: asyncio.Event, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("fleet.given_up name=%s error=%r", task.get_name(), str(error))
            if not isinstance(error, Obstacle):
                where = self._place.log("supervisor")
                error = Obstacle(f"{task.get_name()} cannot be kept running: {error}", f"More is in {where}")
            self._state.obstacle, self._state.remedy = error.reason, error.remedy
            stop.set()

    def _save(self) -> None:
        self._state.save(self._place)


async def _run(place: Place, credentials: Credentials) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Supervisor(place, credentials).run(stop)


def main(place: Place, credentials: Credentials) -> int:
    """Supervises the fleet of `place` until SIGTERM. Returns 3 when another supervisor already does."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with state.only_one(place, "supervisor", wait=False) as mine:
        if not mine:
            return 3
        asyncio.run(_run(place, credentials))
    return 0

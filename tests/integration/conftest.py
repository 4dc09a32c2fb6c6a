"""Programs that tests talk to: real ones. Servers are private to a test module, on loopback, and end when it ends."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds; what is waited for takes one or two, unless the machine is very busy
TRIES = 5
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_libc = ctypes.CDLL(None)


def require(*programs: str) -> None:
    """Skip the test where one of *programs* is not installed; on a build server, where they must be, fail it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        reason = (
            f"{', '.join(missing)} not installed: make servers (apt install prometheus prometheus-alertmanager openssh-client)"
        )
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


def wait_until(look: Callable[[], object], what: str) -> object:
    """Return what *look* finds as soon as it is true of something."""
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < until, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    """A port nobody listens on now; somebody may take it before the server does, then the server is started again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A program that is ready when its page *ready* answers; it ends with this process, whatever ends that."""

    def __init__(self, folder: Path, command: Callable[[int], list[str]], ready: str) -> None:
        self._log = folder / "server.log"
        for _ in range(TRIES):
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            with self._log.open("ab") as log:
                options = {"cwd": folder, "stdout": log, "stderr": log, "preexec_fn": _end_with_us}
                self._process = subprocess.Popen(command(self.port), **options)
            wait_until(lambda: self._is_ready(ready) or self._process.poll() is not None, f"{command(0)[0]} answers")
            if self._process.poll() is None:
                return
            self._process.wait()
        raise AssertionError(self._log.read_text(errors="replace"))

    def _is_ready(self, page: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + page, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, page: str, **parameters: str) -> object:
        """The JSON of a page."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"{self.url}{page}{query}", timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{page} {parameters}: {error.read().decode(errors='replace')}") from error

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _end_with_us() -> None:
    _libc.prctl(_DIES_WITH_PARENT, signal.SIGKILL)


class Prometheus(Server):
    """A Prometheus with a configuration of its own, which keeps exemplars."""

    def __init__(self, folder: Path, configuration: str) -> None:
        (folder / "prometheus.yml").write_text(configuration)

        def command(port: int) -> list[str]:
            return [
                "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage",
                f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
            ]  # fmt: skip

        super().__init__(folder, command, "/-/ready")

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each series that *expression* gives now, or gave *at* a time."""
        answer = self.ask("/api/v1/query", query=expression, **({"time": f"{at:.3f}"} if at is not None else {}))
        result = answer["data"]["result"]  # type: ignore[index]
        return [(series["metric"], float(series["value"][1])) for series in result]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A function that starts a Prometheus with a configuration, in a folder of its own or a given one."""
    require("prometheus", "promtool")
    started = []

    def start(configuration: str, folder: Path | None = None) -> Prometheus:
        started.append(Prometheus(folder or tmp_path_factory.mktemp("prometheus"), configuration))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    """A function that starts an Alertmanager with a configuration."""
    require("prometheus-alertmanager")
    started = []

    def start(configuration: str) -> Server:
        folder = tmp_path_factory.mktemp("alertmanager")
        (folder / "am.yml").write_text(configuration)
        options = ["--config.file=am.yml", "--storage.path=data", "--cluster.listen-address=", "--log.level=warn"]
        started.append(
            Server(
                folder, lambda port: ["prometheus-alertmanager", *options, f"--web.listen-address=127.0.0.1:{port}"], "/-/ready"
            )
        )
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def ssh_keygen():
    """A function that runs ssh-keygen and returns its exit code, what it printed and what it said."""
    require("ssh-keygen", "ssh-agent", "ssh-add")

    def run(*arguments: str | Path, given: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run(["ssh-keygen", *arguments], input=given, capture_output=True, timeout=120, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture(scope="session")
def promtool():
    """A function that runs promtool and returns its exit code and all it said."""
    require("promtool")

    def run(*arguments: str, cwd: Path | None = None, given: str | None = None) -> tuple[int, str]:
        done = subprocess.run(
            ["promtool", *arguments], cwd=cwd, input=given, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run

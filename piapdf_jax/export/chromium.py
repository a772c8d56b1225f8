"""Controls headless Chromium through its DevTools protocol over pipes, using only the standard library."""

import contextlib
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from typing import Any, Self

from piapdf_jax.types import JsonObject

#: Seconds for one answer, and for a page to load. A loaded machine needs several.
TIMEOUT = 60.0
MISSING = "Chromium is missing; install it (Debian: apt install chromium)"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: No window, no sound, and none of the traffic that a browser has of its own.
_FLAGS = (
    *("--headless", "--disable-gpu", "--mute-audio", "--hide-scrollbars", "--no-first-run"),
    *("--no-default-browser-check", "--disable-extensions", "--disable-default-apps"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-domain-reliability", "--metrics-recording-only", "--no-pings"),
    *("--disable-breakpad", "--disable-crash-reporter", "--disable-dev-shm-usage"),
    *("--password-store=basic", "--use-mock-keychain", "--force-color-profile=srgb"),
)


class BrowserError(RuntimeError):
    """Chromium is missing, died, did not answer in time, or says that a command failed."""


def program() -> str | None:
    """Returns where Chromium or Chrome is installed, None where it is not."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """Headless Chromium with one page after another; a context manager that ends all its processes.

    Args:
        flags: of its command line, beside those that it always has.
    """

    def __init__(self, *flags: str) -> None:
        self._flags = flags

    def __enter__(self) -> Self:
        found = program()
        if found is None:
            raise BrowserError(MISSING)
        self._folder = tempfile.mkdtemp(prefix="page_browser_")
        its_read, self._write = map(_above_ten, os.pipe())
        self._read, its_write = map(_above_ten, os.pipe())
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        log = os.path.join(self._folder, "log")
        self.group = os.posix_spawn(
            found,
            [found, *_FLAGS, *self._flags, *sandbox, f"--user-data-dir={self._folder}/profile"]
            + ["--remote-debugging-pipe", "about:blank"],
            {**os.environ, "HOME": self._folder},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, its_read, 3),
                (os.POSIX_SPAWN_DUP2, its_write, 4),
            ],
            setpgroup=0,
        )
        os.close(its_read)
        os.close(its_write)
        self._buffer, self._number = b"", 0
        self.on_event: Callable[[JsonObject], None] = lambda message: None
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        os.waitpid(self.group, 0)
        os.close(self._write)
        os.close(self._read)
        _remove(self._folder)

    def call(self, method: str, session: str | None = None, **params: object) -> JsonObject:
        """Sends a command and returns its answer; what happens meanwhile goes to ``on_event``."""
        number = self.send(method, session, **params)
        deadline = time.monotonic() + TIMEOUT
        while (answer := self.receive(deadline, method)).get("id") != number:
            self.on_event(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def send(self, method: str, session: str | None = None, **params: object) -> int:
        """Sends a command and returns its number, without waiting."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._write, data) :]
        return self._number

    def receive(self, deadline: float, what: str) -> JsonObject:
        """Returns the next message; raises ``BrowserError`` where none is whole before ``deadline``."""
        while b"\0" not in self._buffer:
            wait = deadline - time.monotonic()
            if wait <= 0 or not select.select([self._read], [], [], wait)[0]:
                raise BrowserError(f"{what}: no answer in {TIMEOUT:g} s")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise BrowserError(f"{what}: Chromium ended: {self._last_words()}")
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _last_words(self) -> str:
        log = pathlib.Path(self._folder, "log").read_text(errors="replace")
        return log.strip()[-500:] or "without a word"


class Page:
    """A page from a file, in a tab of its own.

    Attributes:
        console: (level, text) of every message and uncaught exception.
        requests: address of whatever the page and its workers asked for, itself and data in it left out.
        dialogs: text of every dialog; each is dismissed.
    """

    def __init__(self, browser: Browser, path: str | os.PathLike[str]) -> None:
        self.console: list[tuple[str, str]] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.address = pathlib.Path(path).resolve().as_uri()
        self._browser, self._loaded = browser, False
        self._session = None
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._workers: set[str] = set()
        browser.on_event = self._happened
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True
        )

    def load(self, *, width: int = 1280, height: int = 900, phone: bool = False) -> Self:
        """Loads the page at a size in CSS pixels, on a phone where asked, and waits until it is drawn."""
        self.resize(width=width, height=height, phone=phone)
        self._loaded = False
        self.call("Page.navigate", url=self.address)
        deadline = time.monotonic() + TIMEOUT
        while not self._loaded:
            self._happened(self._browser.receive(deadline, f"loading {self.address}"))
        # Two frames later all is laid out, and what scripts do on loading is done.
        self.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        return self

    def resize(self, *, width: int, height: int, phone: bool = False) -> None:
        """Sets the size of the view in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def color_scheme(self, name: str) -> None:
        """Sets what ``prefers-color-scheme`` says: ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def evaluate(self, script: str) -> Any:
        """Returns a JavaScript expression's value, which must be one of JSON; waits for a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise BrowserError(_exception(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def call(self, method: str, **params: object) -> JsonObject:
        """Sends a command to the page and returns its answer."""
        return self._browser.call(method, self._session, **params)

    def _happened(self, message: JsonObject) -> None:
        method, params = message.get("method"), message.get("params", {})
        if message.get("sessionId") not in (self._session, *self._workers) or method is None:
            return
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.consoleAPICalled":
            words = (str(a.get("value", a.get("description", ""))) for a in params["args"])
            self.console.append((params["type"], " ".join(words)))
        elif method == "Runtime.exceptionThrown":
            self.console.append(("error", _exception(params["exceptionDetails"])))
        elif method == "Log.entryAdded":
            self.console.append((params["entry"]["level"], params["entry"]["text"]))
        elif method == "Target.attachedToTarget":
            self._watch(params["sessionId"])
        elif method in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            url = params.get("url") or params["request"]["url"]
            if not url.startswith(("data:", "blob:")) and url.split("#")[0] != self.address:
                self.requests.append(url)
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            # Its answer is not waited for: we may be in the middle of waiting for another.
            self._browser.send("Page.handleJavaScriptDialog", self._session, accept=False)

    def _watch(self, worker: str) -> None:
        """Listens to a worker from its first line on; nothing is waited for, as for a dialog."""
        self._workers.add(worker)
        for method in ("Runtime.enable", "Network.enable", "Runtime.runIfWaitingForDebugger"):
            self._browser.send(method, worker)


def _above_ten(descriptor: int) -> int:
    """Moves a descriptor out of the way of 3 and 4, which are Chromium's ends."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


def _exception(details: JsonObject) -> str:
    return details.get("exception", {}).get("description") or details["text"]


def _remove(folder: str) -> None:
    # Processes that were just killed may still be writing.
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.1)

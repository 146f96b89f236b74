"""The page in a browser, served as `jetprop explore` serves it; and the command without a browser.

The browser tests are skipped where there is no Chromium.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from jetprop.cli import app

pytestmark = pytest.mark.xdist_group("explore")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browser_test = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium from the system's packages; none was found")

PATIENCE = 150.0
"""Seconds to wait at most, on a machine that is busy with other things; the server alone takes five to start."""

#  The audit hook reports every address that the server's own code looks up or connects to.
SERVER = """
import sys
def watch(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        address = args[0] if event == "socket.getaddrinfo" else args[1]
        print("NETWORK", event, address, file=sys.stderr, flush=True)
sys.addaudithook(watch)
from jetprop.cli import app
app()
"""


class Served:
    """A running `jetprop explore`."""

    def __init__(self, folder: Path, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, "explore", str(folder), "--no-show", "--port", "0"],
            cwd=cwd,
            # NiceGUI has a mode of its own for being tested, which it knows by pytest's variables.
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")} | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        said: Queue[str] = Queue()
        assert self.process.stdout is not None and self.process.stderr is not None
        output, errors = self.process.stdout, self.process.stderr
        threading.Thread(target=lambda: [said.put(line) for line in output], daemon=True).start()
        self.listener = threading.Thread(target=lambda: self.errors.extend(errors), daemon=True)
        self.listener.start()
        try:
            self.address = said.get(timeout=PATIENCE).split()[0]
        except Empty:
            self.stop()
            raise AssertionError(f"no address was said:\n{''.join(self.errors)}") from None
        self.wait()

    def wait(self) -> None:
        port = urlsplit(self.address).port
        for _ in range(int(PATIENCE / 0.1)):
            with socket.socket() as probe:
                probe.settimeout(0.1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            threading.Event().wait(0.1)
        self.stop()
        raise AssertionError(f"nobody answers at {self.address}:\n{''.join(self.errors)}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.listener.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("nicegui", reason="needs the extra `explore`")
    server = Served(folder, tmp_path_factory.mktemp("cwd"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def window() -> Iterator[tuple[Any, list[str], list[str]]]:
    """A browser's page, what it asks for, and what fails in its scripts; one for all tests, since it caches."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync.sync_playwright() as driver:
        # Chromium refuses its sandbox to root, who runs tests in containers.
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        try:
            yield page, asked, faults
        finally:
            chromium.close()


@pytest.fixture
def tab(window: tuple[Any, list[str], list[str]], served: Served) -> Iterator[Any]:
    """The page; the test fails if a script of it fails, or if it asks another host for anything."""
    page, asked, faults = window
    asked.clear()
    faults.clear()
    page.set_viewport_size({"width": 1400, "height": 900})
    yield page
    assert not faults
    assert asked and all(url.startswith((served.address, "data:")) for url in asked), asked


def opened(tab: Any, served: Served, query: str = "") -> Any:
    tab.goto(served.address + query)
    tab.wait_for_selector(".scene path.true")
    tab.wait_for_selector(".gradients img")
    return tab


def wait_for_reading(tab: Any, name: str, text: str) -> None:
    tab.locator(f".knob:has(.{name}) .value", has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def drawn(tab: Any, kind: str = "true") -> str:
    return tab.locator(f".scene path.{kind}").get_attribute("d")


def wait_for_another_drawing(tab: Any, before: str, kind: str = "true") -> None:
    look = "([kind, before]) => document.querySelector('.scene path.' + kind).getAttribute('d') !== before"
    tab.wait_for_function(look, arg=[kind, before])


@browser_test
def test_it_shows_cubes_errors_and_gradients(tab: Any, served: Served) -> None:
    opened(tab, served, "?noise=0.1&turn_x=5")
    assert {drawn(tab, kind)[0] for kind in ("true", "oracle", "network")} == {"M"}
    rows = tab.locator(".comparison tbody tr")
    assert [rows.nth(k).locator("th").inner_text() for k in range(2)] == ["values only", "+ first derivatives"]
    assert re.fullmatch(r"[\d.]+ %", rows.nth(0).locator("td").nth(0).inner_text())
    assert tab.locator(".images img").count() == 4 and tab.locator(".gradients img").count() == 3
    assert tab.locator(".bars rect").count() == 18
    assert re.fullmatch(r"computed in \d+ ms", tab.locator(".took").inner_text())


@browser_test
def test_a_slider_turns_the_cube_and_the_address_says_so(tab: Any, served: Served) -> None:
    opened(tab, served)
    before = drawn(tab)
    tab.locator(".turn_x [tabindex]").press("ArrowRight")
    wait_for_reading(tab, "turn_x", "0.5°")
    wait_for_another_drawing(tab, before)
    tab.wait_for_function("() => location.search === '?turn_x=0.5'")
    again = drawn(tab)
    opened(tab, served, "?turn_x=0.5")
    assert drawn(tab) == again


@browser_test
def test_dragging_moves_the_cube_with_the_pointer_and_with_shift_turns_it(tab: Any, served: Served) -> None:
    opened(tab, served)
    before, box = drawn(tab), tab.locator(".scene").bounding_box()
    x, y, pixel = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] / 41
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 2 * pixel, y + pixel, steps=3)
    tab.mouse.move(x + 4 * pixel, y + 2 * pixel, steps=3)
    tab.mouse.up()
    wait_for_reading(tab, "shift_x", "−0.200")  # a pixel is 0.05, and the image is mirrored
    wait_for_reading(tab, "shift_y", "−0.100")
    wait_for_another_drawing(tab, before)
    tab.keyboard.down("Shift")
    tab.mouse.down()
    tab.mouse.move(x, y + 2 * pixel, steps=3)
    tab.mouse.up()
    tab.keyboard.up("Shift")
    wait_for_reading(tab, "turn_y", "14.3°")  # four pixels over twice the cube's side, in radians
    wait_for_reading(tab, "shift_x", "−0.200")


@browser_test
def test_an_attack_raises_the_error_of_the_network_chosen(tab: Any, served: Served) -> None:
    opened(tab, served, "?turn_y=5")

    def errors() -> list[float]:
        cells = tab.locator(".comparison tbody tr td:nth-child(2)").all_inner_texts()
        return [float(cell.split()[0]) for cell in cells]

    before, cube = errors(), drawn(tab, "network")
    tab.locator(".attack").click()
    tab.get_by_role("option", name="optimal").click()
    wait_for_another_drawing(tab, cube, "network")
    assert errors()[0] > 1.5 * before[0]
    cube = drawn(tab, "network")
    tab.locator(".network").first.click()
    tab.get_by_role("option", name="first derivatives").click()
    wait_for_another_drawing(tab, cube, "network")
    assert tab.locator("tr.chosen th").inner_text() == "+ first derivatives"


@browser_test
def test_buttons(tab: Any, served: Served) -> None:
    opened(tab, served, "?noise=0.1")
    before = drawn(tab)
    tab.get_by_role("button", name="random pose").click()
    wait_for_another_drawing(tab, before)
    tab.get_by_role("button", name="reset").click()
    tab.wait_for_function("(d) => document.querySelector('.scene path.true').getAttribute('d') === d", arg=before)
    oracle = drawn(tab, "oracle")
    tab.get_by_role("button", name="new noise").click()
    wait_for_another_drawing(tab, oracle, "oracle")
    tab.get_by_role("button", name="z₂").click()
    tab.get_by_text("network, ∇N of z₂").wait_for()
    whole = tab.locator(".scene svg").get_attribute("viewBox")
    tab.locator(".close-up").click()
    tab.wait_for_function("(b) => document.querySelector('.scene svg').getAttribute('viewBox') !== b", arg=whole)


@browser_test
def test_a_bad_address_is_complained_about(tab: Any, served: Served) -> None:
    opened(tab, served, "?noise=7")
    assert "noise lies between 0 and 0.3, got 7.0" in tab.locator(".notes .fault").inner_text()


@browser_test
@pytest.mark.parametrize("width", [1400, 1000, 400])
def test_nothing_is_cut_off(tab: Any, served: Served, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    opened(tab, served)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@browser_test
def test_only_this_machine_is_answered_and_asked(tab: Any, served: Served, folder: Path) -> None:
    opened(tab, served)
    port = str(urlsplit(served.address).port)
    assert urlsplit(served.address).hostname == "127.0.0.1"
    # A page of another site that has this machine's address under a name of its own is turned away.
    answer = tab.request.get(served.address, headers={"Host": f"elsewhere.example:{port}"})
    assert answer.status == 400
    network = [line for line in served.errors if line.startswith("NETWORK")]
    assert not [line for line in network if "127.0.0.1" not in line and "localhost" not in line], network
    taken = CliRunner().invoke(app, ["explore", str(folder), "--no-show", "--port", port])
    assert taken.exit_code == 1 and f"port {port}" in taken.stderr and "--port" in taken.stderr


def test_without_runs_the_command_says_how_to_make_some(tmp_path: Path) -> None:
    pytest.importorskip("nicegui", reason="needs the extra `explore`")
    done = CliRunner().invoke(app, ["explore", str(tmp_path / "none"), "--no-show"])
    assert done.exit_code == 1 and "jetprop demo" in done.stderr


def test_without_the_extra_the_command_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    monkeypatch.delitem(sys.modules, "jetprop.explore.page", raising=False)
    done = CliRunner().invoke(app, ["explore", str(tmp_path)])
    assert done.exit_code == 1 and "pip install 'jetprop[explore]'" in done.stderr

"""The page of `jetprop explore`: its layout, and what happens when something is moved.

One `Page` for each browser tab holds the visitor's `State`. Whatever is moved changes the state; a task computes the
view of the newest state in another thread and shows it, so however fast a slider goes, no view waits for an older one.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import get_args

from nicegui import app, background_tasks, run, ui
from nicegui.events import GenericEventArguments
from starlette.middleware.trustedhost import TrustedHostMiddleware

from jetprop.explore import drawing
from jetprop.explore.runs import Runs
from jetprop.explore.state import LIMITS, OUTPUTS, Attack, State
from jetprop.explore.view import View, look
from jetprop.training import CheckpointError

__all__ = ["serve"]

HOST = "127.0.0.1"
"""Nobody but this machine can open the page."""

TEST_POSES = range(97020, 97020 + 20160)
"""Poses of the paper's test set, from which random ones are taken."""

POSE = tuple(f"{kind}_{axis}" for kind in ("turn", "shift") for axis in "xyz")

ATTACKS: dict[Attack, str] = {
    "none": "none",
    "optimal": "optimal: the worst of all",
    "sensitivity": "sensitivity: the oracle stays",
    "invariance": "invariance: the network stays",
    "gradient": "gradient of the chosen output",
}
assert tuple(ATTACKS) == get_args(Attack)

POINTER = """(event) => {
    const box = event.currentTarget.getBoundingClientRect();
    if (event.type === 'pointerdown') event.currentTarget.setPointerCapture(event.pointerId);
    if (event.type === 'pointermove' && !(event.buttons & 1)) return;
    emit((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, event.shiftKey);
}"""
"""Where the pointer is, in parts of the picture; moves without a pressed button are not sent."""


def serve(runs: Runs, folder: Path, port: int, show: bool, say: Callable[[str], None]) -> None:
    """Serve the page on this machine until interrupted.

    Args:
        runs: what `find_runs` found.
        folder: where they are, for the title.
        port: 0 takes any that is free.
        show: open it in the browser.
        say: told the address.

    Raises:
        ValueError: the port is in use.
    """
    port = _free(port)
    # The server's library can export traces of requests if the environment asks for it. Not from here.
    os.environ["OTEL_SDK_DISABLED"] = "true"
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    say(f"http://{HOST}:{port}/")
    ui.run(
        lambda: Page(runs, folder).build(),
        host=HOST,
        port=port,
        title="jetprop explore",
        favicon="🧊",
        show=show,
        reload=False,
        tailwind=False,
        reconnect_timeout=30,  # a busy machine may not answer for seconds; the visitor's state must outlive that
        show_welcome_message=False,
    )


def _free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just been given up is free
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ValueError(f"port {port} of {HOST} cannot be used ({error}); choose another with --port") from error
        return probe.getsockname()[1]


class Page:
    """One visitor's page.

    Args:
        runs: the networks to choose from.
        folder: where they are.
    """

    def __init__(self, runs: Runs, folder: Path) -> None:
        self.runs, self.folder = runs, folder
        self.client = ui.context.client
        self.faults: list[str] = []
        self.state = self._asked()
        self.sliders: dict[str, ui.slider] = {}
        self.readings: dict[str, ui.label] = {}
        self.view: View | None = None
        self.held: tuple[State, float, float, drawing.Window] | None = None
        self.address = self.state.query()
        self.drawing = self.stale = False

    def _asked(self) -> State:
        """The state that the address names; the start, with a complaint, if it names none."""
        request = self.client.request
        try:
            state = State.of_query(dict(request.query_params) if request else {})
            self.runs.named(state.network)
            return state
        except ValueError as error:
            self.faults.append(str(error))
            return State()

    # ---- layout -----------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Lay the page out, and show the first view."""
        ui.add_css(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
        ui.colors(primary="#2f6f9f")
        with ui.element("header").classes("bar"):
            ui.html("<h1>jetprop explore</h1>", sanitize=False)
            ui.label(str(self.folder)).classes("folder")
            self.took = ui.label().classes("took")
        with ui.element("main").classes("board"):
            with ui.element("div").classes("column-of"):
                self._controls()
            with ui.element("div").classes("column-of"):
                self._images()
            with ui.element("div").classes("column-of"):
                self._figures()
        left_out = "; ".join(f"{name}: {reason}" for name, reason in self.runs.left_out.items())
        if left_out:
            ui.label(f"Runs that cannot be shown: {left_out}").classes("left-out")
        ui.timer(0.5, self._keep_address)
        self._sync()
        self._draw()

    def _controls(self) -> None:
        with _panel("Network"):
            names = {"" if place == 0 else one.name: one.name for place, one in enumerate(self.runs.found)}
            self.network = ui.select(names, value="", on_change=lambda e: self._set(network=e.value))
            self.network.props("dense outlined options-dense").style("width: 100%").classes("network")
        with _panel("Cube"):
            for name in POSE:
                kind, axis = name.split("_")
                self._slider(name, f"{'rotation' if kind == 'turn' else 'translation'} {axis}")
            with ui.element("div").classes("buttons"):
                _button("random pose", self._random_pose)
                _button("reset", lambda: self._set(**{name: 0.0 for name in POSE}))
        with _panel("Noise"):
            self._slider("noise", "σ, intensity")
            with ui.element("div").classes("buttons"):
                _button("new noise", lambda: self._set(seed=random.randrange(2**31)))
        with _panel("Attack"):
            self.attack = ui.select(dict(ATTACKS), value="none", on_change=lambda e: self._set(attack=e.value))
            self.attack.props("dense outlined options-dense").style("width: 100%").classes("attack")
            self._slider("strength", "ε, norm")
        with _panel("Output, for gradients"), ui.element("div").classes("nine"):
            self.outputs = [
                _button(name, lambda place=place: self._set(output=place)) for place, name in enumerate(OUTPUTS)
            ]

    def _images(self) -> None:
        with ui.element("section").classes("panel"):
            with ui.element("div").classes("head"):
                ui.html("<h2>Image given to the network</h2>", sanitize=False)
                self.close = ui.switch("close-up", on_change=self._draw).props("dense size=sm").classes("close-up")
            self.scene = ui.html(sanitize=False).classes("scene")
            self.scene.on("pointerdown", self._grab, js_handler=POINTER)
            self.scene.on("pointermove", self._pull, js_handler=POINTER, throttle=0.03)
            self.scene.on("pointerup", self._let_go, js_handler=POINTER)
            self.legend = ui.html(sanitize=False).classes("legend")
            ui.html("<p>Drag to move the cube, with shift to turn it.</p>", sanitize=False)
        with _panel("Where it comes from, intensity"):
            self.tiles = ui.html(sanitize=False).classes("tiles images")

    def _figures(self) -> None:
        self.notes = ui.html(sanitize=False).classes("notes")
        with _panel("Networks"):
            self.table = ui.html(sanitize=False).classes("comparison")
            ui.html(
                "<p><i>e</i>: mean deviation from the oracle’s cube, in percent of each output’s standard deviation, "
                "(3). <i>v</i>: how fast it grows along the optimal, the sensitivity and the invariance attack, for "
                "each unit of ε, (26). All networks see this image, which is attacked for the one chosen.</p>",
                sanitize=False,
            )
        with _panel("Deviation from the cube that was rendered, % of each output’s standard deviation"):
            self.bars = ui.html(sanitize=False).classes("figure bars")
        with ui.element("section").classes("panel"):
            with ui.element("div").classes("head"):
                ui.html("<h2>Gradients with respect to the image, length / intensity</h2>", sanitize=False)
                self.own_scales = ui.switch("own scales", on_change=self._draw).props("dense size=sm")
            self.gradients = ui.html(sanitize=False).classes("tiles three gradients")

    def _slider(self, name: str, label: str) -> None:
        least, most, step = LIMITS[name]
        with ui.element("div").classes("knob"):
            ui.label(label)
            slider = ui.slider(min=least, max=most, step=step, value=getattr(self.state, name))
            slider.on_value_change(lambda e: self._set(**{name: e.value})).props(f'aria-label="{label}"').classes(name)
            self.sliders[name] = slider
            self.readings[name] = ui.label().classes("value")

    # ---- events -----------------------------------------------------------------------------------------------------

    def _set(self, **values: object) -> None:
        self._show(self.state.changed(**values))

    def _show(self, state: State) -> None:
        if state != self.state:
            self.faults.clear()
            self.state = state
            self._sync()
            self._draw()

    def _random_pose(self) -> None:
        cube = self.runs.named(self.state.network).cube
        self._show(self.state.at(cube.poses(1, start=random.choice(TEST_POSES))))

    def _grab(self, event: GenericEventArguments) -> None:
        if self.view is not None:
            across, down, _ = event.args
            self.held = (self.state, across, down, self._window(self.view))

    def _pull(self, event: GenericEventArguments) -> None:
        if self.held is None:
            return
        (start, across, down, window), (x, y, turn) = self.held, event.args
        cube = self.runs.named(start.network).cube
        drag = start.turned if turn else start.dragged
        self._show(drag(cube, (x - across) * window.size, (y - down) * window.size))

    def _let_go(self, event: GenericEventArguments) -> None:
        self._pull(event)
        self.held = None
        if self.close.value:
            self._draw()

    # ---- showing ----------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        """Have every control say what the state says."""
        for name, slider in self.sliders.items():
            value = getattr(self.state, name)
            slider.set_value(value)
            reading = f"{value:.1f}°" if name.startswith("turn") else f"{value:.3f}"
            self.readings[name].set_text(reading.replace("-", "−"))
        self.network.set_value("" if self.state.network == self.runs.found[0].name else self.state.network)
        self.attack.set_value(self.state.attack)
        for place, button in enumerate(self.outputs):
            button.props("unelevated" if place == self.state.output else "outline", remove="unelevated outline")

    def _draw(self) -> None:
        self.stale = True
        if not self.drawing:
            self.drawing = True
            background_tasks.create(self._keep_drawing())

    async def _keep_drawing(self) -> None:
        """Show views until the last one shown is that of the present state."""
        try:
            while self.stale and not self.client.is_deleted:
                self.stale = False
                try:
                    done = await run.io_bound(self._rendered)
                    if done is None:  # the server is being stopped
                        return
                    self._put(*done)
                except (ValueError, CheckpointError) as error:
                    self._complain([*self.faults, str(error)], [])
                await asyncio.sleep(0)
        finally:
            self.drawing = False

    def _rendered(self) -> tuple[View, dict[ui.html, str]]:
        """The view of the state and what each part of the page then holds; runs beside the server."""
        state = self.state
        chosen = self.runs.named(state.network)
        family = self.runs.beside(chosen)
        view = look(state, family, family.index(chosen))
        return view, {
            self.scene: drawing.scene(view, chosen.cube, self._window(view)),
            self.legend: drawing.legend(view),
            self.tiles: drawing.image_tiles(view),
            self.table: drawing.comparison(view),
            self.bars: drawing.bars(view),
            self.gradients: drawing.gradient_tiles(view, state.output, bool(self.own_scales.value)),
        }

    def _window(self, view: View) -> drawing.Window:
        """What the large picture shows; while it is dragged, the picture stands still."""
        if self.held is not None:
            return self.held[3]
        cube = self.runs.named(self.state.network).cube
        return drawing.window_about(view, cube) if self.close.value else drawing.whole(cube)

    def _put(self, view: View, parts: dict[ui.html, str]) -> None:
        self.view = view
        for element, markup in parts.items():
            element.set_content(markup)
        self.took.set_text(f"computed in {1e3 * view.seconds:.0f} ms")
        self._complain(self.faults, view.notes)

    def _complain(self, faults: list[str], notes: list[str]) -> None:
        kinds = [("fault", fault) for fault in faults] + [("note", note) for note in notes]
        self.notes.set_content("".join(f'<div class="{kind}">{escape(text)}</div>' for kind, text in kinds))
        self.notes.set_visibility(bool(kinds))

    def _keep_address(self) -> None:
        """Let the browser's address name the state, so that it can be kept and sent; browsers allow it a few times."""
        query = self.state.query()
        if query != self.address:
            self.address = query
            ui.navigate.history.replace(f"/?{query}" if query else "/")


def _panel(title: str) -> ui.element:
    panel = ui.element("section").classes("panel")
    with panel:
        ui.html(f"<h2>{escape(title)}</h2>", sanitize=False)
    return panel


def _button(label: str, action: Callable[[], None]) -> ui.button:
    look = "outline dense no-caps size=13px padding='2px 10px'"
    return ui.button(label, on_click=action, color="primary").props(look)

import copy
import json
import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from jetprop.experiments import Context
from jetprop.experiments.recipes import METHODS
from jetprop.experiments.records import Figure, Record
from jetprop.manifolds import Cube
from jetprop.report import write_demo, write_experiment
from jetprop.report.curves import plots_of
from jetprop.report.demo import EXAMPLE, Network, story
from jetprop.report.drawing import write_whole
from report.synthetic import ERRORS, NAMES, POSES, demo_record, table_record

VOID = {"meta", "img", "br", "link", "input", "hr"}
FORBIDDEN = {"script", "link", "iframe", "object", "embed", "base", "form", "audio", "video"}


class Page(HTMLParser):
    """Checks on the way that tags are closed in order; gathers text, links, sources and identifiers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(self.raw)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", " ".join(self.words))

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def check(path, tmp_path):
    """What holds for every page."""
    page = Page(path)
    assert not FORBIDDEN & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "poster", "data"):
                assert value.startswith("data:"), (tag, value[:80])
            if name in ("href", "xlink:href"):
                assert value.startswith(("#", "data:")) or (tag == "a" and value.startswith("https://")), (
                    tag,
                    value[:80],
                )
    assert not re.search(r"@import|url\((?!#)", page.raw)
    for place in (str(tmp_path), str(Path.home()), str(Path(__file__).parents[2])):
        assert place not in page.raw
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    used = {u for u in re.findall(r'(?:url\(#|href="#)([^)"]+)', page.raw)}
    assert used <= set(identifiers)
    assert all(image.get("alt") for image in page.all("img"))
    assert all(image.get("aria-label") for image in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))
    assert page.all("html")[0]["lang"] == "en"
    assert "prefers-color-scheme: dark" in page.raw
    assert "@media print" in page.raw
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    return page


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    path = write_demo(demo_record(), folder / "new" / "demo.html")
    return check(path, folder)


def test_the_result_comes_first(demo_page):
    text = demo_page.text
    headline = "6.9 times more accurate with first and second derivatives, from the same images in the same time"
    assert 0 <= text.find(headline, text.find("where is the cube?")) < text.index("The task")
    for expected in ("7.4\u202f%", "1.9\u202f%", "1.1\u202f%", "3.8 times more accurate than with values only"):
        assert 0 <= text.index(expected) < text.index("The task")


def test_the_numbers_of_the_record_are_on_the_page(demo_page):
    for network in demo_record().data["networks"]:
        for value in (
            network["name"],
            f"{network['error']:.3g}",
            f"{network['steps']}",
            f"{network['train_error']:.3g}",
        ):
            assert value in demo_page.text
    for value in ("4096 images", "2048 images", "257\u202f161 parameters", "One seed.", "jetprop demo --seconds 60"):
        assert value in demo_page.text


def test_images_derivatives_and_cubes_are_shown(demo_page):
    descriptions = [image["alt"] for image in demo_page.all("img")]
    assert len(descriptions) == 1 + 6 + 7
    for name in Cube().degrees_of_freedom:
        assert any(name in text for text in descriptions[1:7])
    labels = [image["aria-label"] for image in demo_page.all("svg")]
    assert [pose for pose in POSES if any(f"cube {pose}" in label for label in labels)] == list(POSES)


def test_distances_are_those_of_the_outputs():
    record = demo_record()
    truth = torch.tensor(record.data["truth"])
    for place, case in enumerate(story(record, Cube()).cases):
        for name in NAMES:
            off = (torch.tensor(record.data["outputs"][name]) - truth)[place].view(3, 3).norm(dim=1).mean() / 0.4
            assert case.distances[name] == pytest.approx(100 * float(off), rel=1e-5)


def test_settings_are_split_into_what_is_common_and_what_differs(demo_page):
    text = demo_page.text
    common, differ = text.index("Settings in common"), text.index("Settings that differ")
    assert common < text.index("batch", common) < differ < text.index("order", differ)


def test_the_example_runs():
    code = EXAMPLE.replace("4096", "64").replace("1000", "2")
    names: dict = {}
    exec(code, names)
    assert names["prediction"].first.shape == (6, 64, 9)
    assert bool(names["loss"].isfinite())


@pytest.mark.parametrize(
    ("errors", "times", "expected"),
    [
        (
            (4.0, 2.0, 1.0),
            (60, 60, 61),
            "4.0 times more accurate with first and second derivatives, from the same images in the same time",
        ),
        (
            (4.0, 2.0, 1.0),
            (60, 60, 90),
            "4.0 times more accurate with first and second derivatives, from the same images",
        ),
        (
            (4.0, 4.1, 5.0),
            (60, 60, 60),
            "As accurate with derivatives as without, from the same images in the same time",
        ),
        (
            (4.0, 6.0, 8.0),
            (60, 60, 60),
            "1.5 times less accurate with first derivatives, from the same images in the same time",
        ),
        (
            (4.0, None, 2.0),
            (60, None, 60),
            "2.0 times more accurate with first and second derivatives, from the same images",
        ),
        ((None, 2.0, 1.0), (60, 60, 60), "An unfinished comparison of training with and without derivatives"),
    ],
)
def test_the_headline_says_what_was_found(errors, times, expected):
    networks = [
        {"name": name, "order": order, "error": error, "training_seconds": time}
        for order, (name, error, time) in enumerate(zip(NAMES, errors, times, strict=True))
    ]
    record = Record("demo", "demo", "jetprop demo", {}, environment={}, data={"networks": networks})
    assert story(record, Cube()).headline == expected


def without_outputs(record):
    del record.data["outputs"][NAMES[1]]


def unfinished(record):
    network = record.data["networks"][2]
    for key in list(network):
        if key not in ("name", "order"):
            del network[key]
    record.data["outputs"].pop(NAMES[2])


def nothing_but_names(record):
    record.data = {"networks": [{"name": n, "order": k} for k, n in enumerate(NAMES)]}
    record.environment, record.settings, record.seconds, record.notes = {}, {}, {}, []


def diverged(record):
    record.data["networks"][1] |= {"error": float("nan"), "ratio": float("nan"), "history": [[1.0, float("inf")]]}
    record.data["outputs"][NAMES[1]] = [[float("nan")] * 9] * len(POSES)


@pytest.mark.parametrize("change", [without_outputs, unfinished, nothing_but_names, diverged])
def test_what_is_missing_is_shown_as_missing(change, tmp_path):
    record = demo_record()
    change(record)
    text = check(write_demo(record, tmp_path / "demo.html"), tmp_path).text
    assert "nan" not in text.replace("resonance", "")
    assert "None" not in text
    if change is unfinished:
        assert "not finished" in text
        assert "no prediction" in text
    if change is nothing_but_names:
        assert "This run kept no predictions." in text
        assert "recorded no errors during training" in text


def wrong(key, value):
    record = demo_record()
    record.data[key] = value
    return record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (wrong("networks", []), "there are none"),
        (wrong("networks", [{"name": "a"}]), "needs a name and an order"),
        (wrong("poses", [1]), "1 poses and 2 true outputs"),
        (wrong("truth", [[0.0] * 8] * 2), "nine numbers"),
        (wrong("outputs", {"another": []}), "none of the networks"),
        (wrong("outputs", {NAMES[0]: [[0.0] * 9]}), "1 outputs for 2 poses"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(record, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_demo(record, tmp_path / "demo.html")
    assert list(tmp_path.iterdir()) == []


def test_paths_of_the_machine_stay_at_home(tmp_path):
    record = table_record()
    record.command = f"jetprop reproduce --results {tmp_path}/results/here --runs ~/a/b C:\\Users\\ada\\run"
    record.settings = {"out": "/var/data/set one/x.pt", "rate": "images/s/core", "link": "https://arxiv.org/abs/1"}
    record.notes = [f"see {tmp_path / 'log.txt'}"]
    page = check(write_experiment(record, tmp_path / "page.html"), tmp_path)
    assert "jetprop reproduce --results here --runs b run" in page.text
    assert "see log.txt" in page.text
    assert "images/s/core" in page.text
    assert "https://arxiv.org/abs/1" in page.text
    assert "/var" not in page.text


def test_text_is_escaped(tmp_path):
    record = table_record()
    record.notes = ["<script>alert(1)</script> & <b>"]
    record.figures[0] = Figure("<i>row", "0.6", 1.0, 2.0)
    text = check(write_experiment(record, tmp_path / "page.html"), tmp_path).text
    assert "<script>alert(1)</script> & <b>" in text
    assert "<i>row" in text


def test_an_experiment_shows_its_figures_beside_the_published_ones(tmp_path):
    page = check(write_experiment(table_record(), tmp_path / "page.html"), tmp_path)
    for expected in (
        "0.163",
        "paper 0.16",
        "×1.02",
        "not run",
        "paper 0.075",
        "–",
        "L = 2048 was not run.",
        "13 min 32 s",
    ):
        assert expected in page.text
    assert len(page.all("svg")) == 1


def test_an_experiment_shows_plots_and_images_of_its_record(tmp_path):
    record = table_record()
    record.figures = []
    record.data = {
        "plots": [{"title": "Error against time", "x": "s", "y": "%", "series": [{"name": "a", "x": [1], "y": [2]}]}],
        "images": [
            {
                "title": "Gradients",
                "caption": "Fig. 5.",
                "pictures": [
                    {"name": "oracle", "pixels": [[-1.0, 2.0]], "signed": True},
                    {"name": "image", "pixels": [[1.0]]},
                ],
            }
        ],
    }
    page = check(write_experiment(Record(**json.loads(json.dumps(vars(record)))), tmp_path / "page.html"), tmp_path)
    for expected in ("This run has no figures.", "Error against time", "Gradients", "Fig. 5.", "oracle", "±2.0"):
        assert expected in page.text
    assert [image["alt"] for image in page.all("img")] == ["oracle, signed, range ±2.0", "image, range 0 to 1"]


@pytest.mark.parametrize("images", [[{"title": "a"}], [{"title": "a", "pictures": [{"name": "b"}]}]])
def test_images_of_another_form_are_refused(images, tmp_path):
    record = table_record()
    record.data["images"] = images
    with pytest.raises(ValueError, match="images of a record are groups"):
        write_experiment(record, tmp_path / "page.html")


def test_a_record_that_was_saved_and_loaded_gives_the_same_page(tmp_path):
    record = demo_record()
    loaded = Record.load(record.save(tmp_path))
    first, second = (write_demo(r, tmp_path / f"{k}.html") for k, r in enumerate((record, loaded)))
    assert first.read_bytes() == second.read_bytes()


def test_a_record_is_not_changed(tmp_path):
    record = demo_record()
    before = copy.deepcopy(record)
    write_demo(record, tmp_path / "demo.html")
    assert record == before


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_whole(path, b"old")

    def fail(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_when_it_pays_is_drawn_over_images_and_over_time(tmp_path, monkeypatch):
    """Names are those that the experiment gives, so that a change there is seen here; only training is left out."""
    experiment = import_module("jetprop.experiments.when_it_pays")
    history = [{"seconds": 1.0, "test_error": 0.02}, {"seconds": 2.0, "test_error": 0.01}]

    def trained(context, name, recipe, until=None):
        error = 10 / (1 + recipe["data"]["images"])
        return SimpleNamespace(
            seconds={"total": 1.0}, history=history, metrics={"test_error": error}, finished=True, status="", message=""
        )

    monkeypatch.setattr(experiment, "train_ahead", lambda *_: None)
    monkeypatch.setattr(experiment, "train", trained)
    images, time = plots_of(experiment.when_it_pays(Context("cpu", tmp_path)))
    assert [one.name for one in images.series] == list(METHODS)
    assert all(list(one.x) == [256, 1024, 4096, 16384, 65536] for one in images.series)
    assert all(one.y[0] == pytest.approx(1e3 / 257) for one in images.series)
    assert "muon, 60 s" in images.caption
    assert [one.name for one in time.series][:2] == ["values only, 32768 images", "one random direction, 32768 images"]
    assert len({one.name for one in time.series}) == len(time.series) == 6
    assert all(list(one.y) == pytest.approx([2.0, 1.0]) for one in time.series)


def test_the_error_at_the_end_belongs_to_the_curve():
    network = Network("n", 1, error=1.0, training_seconds=60.0, history=((10.0, 5.0),))
    assert network.curve == [(10.0, 5.0), (60.0, 1.0)]
    assert Network("n", 1, error=1.0, training_seconds=60.0, history=((60.0, 1.1),)).curve == [(60.0, 1.1)]


def test_networks_know_their_rows():
    assert [Network("n", order).rows for order in (0, 1, 2)] == [1, 7, 28]
    assert len(ERRORS) == len(NAMES)

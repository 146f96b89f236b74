import math
import re
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Drawing

from jetprop.experiments.records import Figure
from jetprop.report import Plot, Series, comparison, lines, points, save
from jetprop.report.drawing import markup, number
from report.synthetic import table_record


def data(figure: Drawing):
    return [np.asarray(line.get_xydata()) for line in figure.axes[0].lines]


@given(st.floats(1e-4, 1e8), st.integers(1, 5))
def test_numbers_are_rounded_to_their_digits(value, digits):
    text = number(value, digits)
    assert "e" not in text
    assert abs(float(text) - value) <= 0.5000001 * 10.0 ** (math.floor(math.log10(value)) + 1 - digits)


def test_lines_draw_what_they_are_given_and_leave_gaps():
    plot = Plot("t", "x", "e, %", [Series("a", [1, 2, 3], [4.0, None, 0.5]), Series("b", [1, 3], [-1.0, 2.0])], "y")
    figure = lines(plot)
    first, second = data(figure)
    assert first[[0, 2]].tolist() == [[1, 4], [3, 0.5]]
    assert math.isnan(first[1][1])
    assert math.isnan(second[0][1])
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_ylabel() == "e, %"


def test_names_on_the_horizontal_axis_are_spaced_evenly():
    figure = lines(Plot("t", "", "", [Series("a", ["0.6", "12"], [1, 2]), Series("b", ["4", "0.6"], [3, 4])]))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0.6", "12", "4"]
    assert data(figure)[1].tolist() == [[2, 3], [0, 4]]
    with pytest.raises(ValueError, match="no logarithm"):
        lines(Plot("t", "", "", [Series("a", ["b"], [1])], "x"))


def test_a_plot_of_a_record_is_checked():
    plot = Plot.of({"title": "t", "x": "x", "y": "y", "series": [{"name": "a", "x": [1], "y": [2]}], "log": "xy"})
    assert plot.series[0] == Series("a", [1], [2])
    for wrong in ({"title": "t"}, {"title": "t", "x": "", "y": "", "colour": 1}):
        with pytest.raises(ValueError, match="fields of Plot and Series"):
            Plot.of(wrong)
    with pytest.raises(ValueError, match="same number"):
        Series("a", [1, 2], [1])
    with pytest.raises(ValueError, match='"xy"'):
        Plot("t", "", "", log="yes")


def test_points_show_what_is_known_and_say_what_is_not():
    figure = points(["a", "b"], {"test": [2.0, None], "training": [1.0, float("nan")]}, "e, %")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["2.00", "not measured"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_a_run_is_drawn_beside_the_paper():
    figure = comparison(table_record())
    assert figure is not None
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["training, this run", "training, paper", "test, this run", "test, paper"]
    assert data(figure)[3][:3, 1].tolist() == [0.17, 0.12, 0.075]


def test_nothing_is_drawn_where_there_is_nothing_to_compare():
    record = table_record()
    record.figures = [Figure("test", "0.6", 1.0, 2.0), Figure("test", "1.5", 1.0)]
    assert comparison(record) is None


def test_markup_takes_the_font_and_ink_of_its_page():
    text = markup(lines(Plot("t", "x", "y", [Series("a", [1, 2], [1, 2])])), 'says "what" <is> seen')
    assert text.startswith("<svg")
    assert 'role="img" aria-label="says &quot;what&quot; &lt;is&gt; seen"' in text
    assert "currentColor" in text
    assert "var(--font)" in text
    assert "DejaVu" not in text
    assert not re.search(r"<metadata|<!DOCTYPE|#1b1f24", text)


def test_identifiers_of_different_figures_differ():
    texts = [markup(lines(Plot("t", "x", "y", [Series("a", [1, 2], [1, k])])), "") for k in (2, 3)]
    found = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    assert found[0]
    assert not found[0] & found[1]
    for text, own in zip(texts, found, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) == own


def test_equal_figures_give_equal_markup():
    first, second = (markup(lines(Plot("t", "x", "y", [Series("a", [1, 2], [1, 2])])), "d") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_figures_are_saved_by_their_ending(name, start, tmp_path):
    path = save(lines(Plot("t", "x", "y", [Series("a", [1, 2], [1, 2])])), tmp_path / "new" / name)
    assert path.read_bytes().startswith(start)
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.svg, \.pdf or \.png"):
        save(Drawing(), tmp_path / "a.jpg")


def test_settings_of_matplotlib_are_put_back():
    import matplotlib

    before = dict(matplotlib.rcParams)
    lines(Plot("t", "x", "y")).savefig(BytesIO())
    assert dict(matplotlib.rcParams) == before

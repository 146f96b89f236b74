from io import StringIO

import pytest
from rich.console import Console

from jetprop.experiments.records import Figure, Record
from jetprop.report import bench_markdown, bench_table, cell, grid, markdown, table
from report.synthetic import table_record


def rendered(found, width=80):
    console = Console(file=StringIO(), width=width)
    console.print(found)
    return console.file.getvalue()  # type: ignore[attr-defined]


def with_figures(*figures):
    record = table_record()
    record.figures = list(figures)
    return record


def test_rows_and_columns_keep_the_order_in_which_they_came():
    found = grid(table_record())
    assert found.rows == ("training", "test")
    assert found.columns == ("0.6", "1.5", "4", "12")
    assert found.unit == "%"


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (Figure("a", "b", 0.1634, 0.16), "0.163 | paper 0.16 | ×1.02"),
        (Figure("a", "b", None, 0.11), "not run | paper 0.11"),
        (Figure("a", "b", 0.0801), "0.0801"),
        (Figure("a", "b", None), "not run"),
        (Figure("a", "b", 3.0, 0.0), "3.00 | paper 0"),
        (Figure("a", "b", float("nan"), 0.5), "not finite | paper 0.5"),
    ],
)
def test_a_cell_holds_what_there_is(figure, expected):
    assert cell(figure) == expected


def test_a_place_without_a_figure_is_shown_as_such():
    assert grid(table_record()).text("training", "12") == "–"


def test_units_stand_in_the_cells_where_they_differ():
    record = with_figures(Figure("error", "0.6", 0.2, 0.1), Figure("time", "0.6", 3.0, 1.5, "minutes"))
    found = grid(record)
    assert found.unit is None
    assert found.text("error", "0.6") == "0.200 % | paper 0.1 % | ×2.00"
    assert found.text("time", "0.6") == "3.00 minutes | paper 1.5 minutes | ×2.00"


def test_two_figures_in_one_place_are_refused():
    with pytest.raises(ValueError, match="row 'a', column 'b'"):
        grid(with_figures(Figure("a", "b", 1.0), Figure("a", "b", 2.0)))


def test_the_terminal_shows_every_figure_in_eighty_columns():
    text = rendered(table(table_record()))
    for expected in ("0.163", "paper 0.16", "×1.02", "0.0801", "not run", "paper 0.075", "–", "in %"):
        assert expected in text
    assert "…" not in text


def test_names_are_no_markup():
    assert "[bold]" in rendered(table(with_figures(Figure("[bold]", "[/x]", 1.0))))


def test_markdown_has_one_cell_for_each_column():
    lines = [line for line in markdown(table_record()).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.replace("\\|", "").count("|") for line in lines} == {6}
    assert "0.163 \\| paper 0.16 \\| ×1.02" in lines[2]


def test_a_record_without_figures_says_so():
    empty = Record("nothing", "smoke", "jetprop", {}, environment={})
    assert "no figures" in markdown(empty)
    assert "no figures" in rendered(table(empty))


def result(width, order):
    timing = {"seconds": 0.0235, "ratio": 1.104, "spread": 0.012, "turns": 9}
    return {
        "case": {"width": width, "order": order, "batch": 64},
        "rows": (1, 7, 28)[order],
        "threads": 2,
        "device": "cpu",
        "timings": {"floor": {**timing, "ratio": 1.0}, "kernels": timing},
        "saved_megabytes": {"kernels": 40.1},
        "peak_megabytes": {"kernels": 57.3},
    }


def test_benchmarks_show_ratio_spread_milliseconds_and_memory():
    text = rendered(bench_table([result(256, 1), result(1024, 2)]))
    for expected in ("256", "1024", "28", "kernels", "1.10 ± 0.01", "23.5", "40.1", "57.3", "–", "batch 64"):
        assert expected in text
    assert "2 threads" in text


def test_benchmarks_fit_into_eighty_columns():
    wide = result(1024, 2)
    wide["timings"] |= {"double backward": {**wide["timings"]["kernels"], "ratio": 20.31, "seconds": 2.017}}
    wide["saved_megabytes"]["double backward"] = 180.31
    lines = rendered(bench_table([wide])).splitlines()
    assert any("double backward" in line and "20.31 ± 0.01" in line and "180" in line for line in lines)


def test_benchmarks_without_a_peak_are_shown_without_it():
    old = result(256, 1)
    del old["peak_megabytes"]
    assert "| 23.5 | 40.1 | – |" in bench_markdown(old)


def test_benchmarks_are_read_alone_in_a_list_and_from_a_file():
    one = result(256, 1)
    assert bench_markdown(one) == bench_markdown([one]) == bench_markdown({"environment": {}, "cases": [one]})
    assert bench_markdown(one).count("\n| ") == 4


def test_what_is_no_benchmark_is_refused():
    with pytest.raises(ValueError, match="benchmark 0 has no case and no timings"):
        bench_table([{}])

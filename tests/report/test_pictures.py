from io import BytesIO

import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.image import imread
from matplotlib.path import Path

from jetprop.manifolds import Cube, Raster
from jetprop.report import image_grid, labelled_cube, picture, predicted_cubes
from jetprop.report.drawing import COLOURS

CUBE = Cube()
TRUTH = CUBE.outputs(CUBE.poses(1, start=97020))[0]
GUESSES = {"a": TRUTH + 0.03, "b": TRUTH - 0.006 * torch.arange(9), "c": torch.full((9,), torch.nan)}


def segments(axes, colour):
    found = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [
        torch.tensor(segment)
        for c in found
        if tuple(c.get_colors()[0]) == tuple(colour)  # type: ignore[index]
        for segment in c.get_segments()
    ]


def rgba(text):
    from matplotlib.colors import to_rgba

    return to_rgba(text)


def outline(lines):
    """The convex hull of drawn lines, as a path."""
    from scipy.spatial import ConvexHull

    corners = torch.cat(lines).double().numpy()
    return Path(corners[ConvexHull(corners).vertices])


@pytest.mark.parametrize("start", [0, 5, 97020])
@pytest.mark.parametrize("raster", [Raster(), Raster(81, 61, 0.03, (-1.2, -0.9))])
def test_the_outline_is_where_the_image_has_the_cube(start, raster):
    """Pixels inside the drawn lines are bright, those outside are dark, up to half a pixel at the edge."""
    cube = Cube(raster=raster, intensities=(1,) * 6)
    poses = cube.poses(1, start=start)
    image = cube.render(poses, 0)[0].value[0]
    figure = predicted_cubes(cube.outputs(poses)[0], {}, cube)
    hull = outline(segments(figure.axes[0], rgba("white")))
    rows, columns = torch.meshgrid(torch.arange(raster.rows), torch.arange(raster.columns), indexing="ij")
    points = torch.stack([columns.flatten(), rows.flatten()], 1).numpy()
    inside = torch.from_numpy(hull.contains_points(points)).view_as(image)
    assert 40 < int(inside.sum()) < 600
    assert ((image > 0.5) == inside).double().mean() > 0.995
    drawn = figure.axes[0].images[0]
    assert drawn.get_array().tolist() == image.tolist()  # type: ignore[union-attr]
    assert list(drawn.get_extent()) == [-0.5, raster.columns - 0.5, raster.rows - 0.5, -0.5]


def test_every_network_has_its_colour_and_what_is_not_finite_is_left_out():
    figure = predicted_cubes(TRUTH, GUESSES)
    for place, outputs in enumerate(GUESSES.values()):
        drawn = segments(figure.axes[0], rgba(COLOURS[place]))
        if not bool(outputs.isfinite().all()):
            assert drawn == []
            continue
        frame = CUBE.wireframe(outputs[None])
        expected = CUBE.raster.pixel(frame.points)[0][frame.edges[frame.visible[0]]]
        assert torch.allclose(torch.stack(drawn).double(), expected)


def test_the_magnified_part_shows_all_guesses_at_the_vertex_that_is_missed_most():
    figure = predicted_cubes(TRUTH, GUESSES)
    near = figure.axes[1]
    (left, right), (bottom, top) = near.get_xlim(), near.get_ylim()
    assert right - left == pytest.approx(bottom - top)
    middle = torch.tensor([(left + right) / 2, (bottom + top) / 2])
    corners = CUBE.raster.pixel(CUBE.wireframe(TRUTH[None]).points)[0]
    vertex = int((corners - middle).norm(dim=1).argmin())
    assert torch.allclose(corners[vertex], middle.double())
    off = []
    for outputs in (GUESSES["a"], GUESSES["b"]):
        guess = CUBE.raster.pixel(CUBE.wireframe(outputs[None]).points)[0]
        off.append((guess - corners).norm(dim=1))
        assert ((guess[vertex] - middle).abs() < (right - left) / 2).all()
    assert torch.stack(off).amax(0)[vertex] > 0.5 * torch.stack(off).max()


def test_the_side_view_shows_depth():
    away = TRUTH + torch.tensor([0, 0, 0.05] * 3)
    figure = predicted_cubes(TRUTH, {"a": away})
    there, here = (torch.stack(segments(figure.axes[2], rgba(c))) for c in (COLOURS[0], "white"))
    assert torch.allclose(there - here, torch.tensor([0.05, 0.0]).to(here), atol=1e-6)


def test_guesses_that_are_off_are_still_in_sight():
    off = TRUTH + torch.tensor([0.1, 0.0, 0.3] * 3)
    camera, _, side = predicted_cubes(TRUTH, {"a": off}).axes
    for axes in (camera, side):
        drawn = torch.cat(segments(axes, rgba(COLOURS[0])))
        for values, limits in zip(drawn.T, (axes.get_xlim(), axes.get_ylim()), strict=True):
            assert min(limits) < float(values.min())
            assert float(values.max()) < max(limits)


def test_perfect_outputs_can_be_drawn():
    predicted_cubes(TRUTH, {"a": TRUTH}).savefig(BytesIO(), format="svg")


def test_the_numbered_vertices_are_the_first_three():
    figure = labelled_cube(TRUTH)
    axes = figure.axes[0]
    drawn = torch.tensor([line.get_xydata()[0].tolist() for line in axes.lines])  # type: ignore[index]
    assert torch.allclose(drawn.double(), CUBE.raster.pixel(CUBE.wireframe(TRUTH[None]).points)[0, :3], atol=1e-4)
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]


def test_signed_pictures_are_symmetric_about_zero():
    one = picture("p", torch.tensor([[-2.0, 0.0, 1.0, 2.0]]), signed=True, unit="per radian")
    pixels = torch.from_numpy(imread(BytesIO(one.png()))[0, :, :3].copy())
    assert pixels.shape == (4, 3)
    assert pixels[1].min() > 0.94  # zero is white
    assert pixels[0, 2] > pixels[0, 0]  # below zero is blue
    assert pixels[3, 0] > pixels[3, 2]
    assert one.range == "±2.0 per radian"


def test_gray_pictures_run_from_zero_to_one():
    one = picture("p", [[0.0, 0.5, 1.0, 3.0]])
    gray = imread(BytesIO(one.png()))[0, :, 0]
    assert gray.tolist() == pytest.approx([0, 0.5, 1, 1], abs=0.01)
    assert one.range == "0 to 1"


def test_an_empty_signed_picture_is_white():
    assert picture("p", torch.zeros(2, 2), signed=True).limit == 1


@pytest.mark.parametrize("pixels", [[1.0, 2.0], [[float("nan")]], []])
def test_what_is_no_picture_is_refused(pixels):
    with pytest.raises(ValueError, match="finite matrix"):
        picture("p", pixels)


def test_a_grid_names_every_picture_and_its_range():
    pictures = [picture(name, torch.rand(3, 4), name != "a") for name in "abc"]
    figure = image_grid(pictures, columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    assert figure.axes[0].get_xlabel() == "0 to 1"
    for axes, one in list(zip(figure.axes, pictures, strict=True))[1:]:
        assert axes.images[0].get_clim() == pytest.approx((-one.limit, one.limit))
    with pytest.raises(ValueError, match="needs pictures"):
        image_grid([])

import json

import pytest
import torch
from matplotlib.image import imread

from jetprop.experiments import Context, Record, find
from jetprop.manifolds import Cube
from jetprop.report import Group, gallery_sheet, picture, write_experiment, write_gallery
from jetprop.report.derivatives import derivative_pictures
from jetprop.report.gallery import FIG3, FIG8, GALLERIES, groups_of
from report.synthetic import table_record


@pytest.fixture(scope="module")
def figure_one(tmp_path_factory):
    """As it comes back from the disk."""
    folder = tmp_path_factory.mktemp("fig1")
    record = find("avrutskiy2023", "fig1").run(Context("smoke", folder))
    return Record.load(record.save(folder))


def test_the_record_is_small_and_the_pictures_are_rendered_anew(figure_one):
    assert len(json.dumps(figure_one.data)) < 2000
    images, first, second = groups_of(figure_one)
    assert [len(group.pictures) for group in (images, first, second)] == [10, 5, 5]
    cube = Cube()
    for number, shown in zip(figure_one.data["shown"], images.pictures, strict=True):
        assert torch.equal(shown.pixels, cube.sample(1, start=number, order=0)[0].value[0])
    assert not any(one.signed for one in images.pictures)
    assert [one.signed for one in first.pictures] == [one.signed for one in second.pictures] == [False, *[True] * 4]
    names = [one.name for one in (*first.pictures, *second.pictures)]
    assert names[1:5] == ["(a) translation x", "(b) translation z", "(c) rotation x", "(d) rotation z"]
    assert names[8] == "(c) rotation x, translation y"


def test_derivatives_are_those_of_the_image_and_only_emptiness_is_cut_off():
    cube = Cube()
    poses = cube.poses(1, start=30)
    jet, _ = cube.render(poses, 2)
    image, pictures = derivative_pictures(cube, poses, FIG3 + FIG8)
    for label, one in zip(FIG3 + FIG8, pictures, strict=True):
        assert one.pixels.square().sum() == pytest.approx(float(jet.d(*label).square().sum()), rel=1e-3)
        assert one.limit == one.pixels.abs().max()
    assert image.pixels.sum() == pytest.approx(float(jet.value.sum()), rel=1e-3)
    assert [one.unit for one in pictures[4:]] == [
        "per length²",
        "per length²",
        "per radian and length",
        "per radian²",
    ]


def test_every_gallery_is_of_an_experiment():
    for name in GALLERIES:
        assert find(*name.split(" ")).name == name


def test_the_sheet_holds_every_picture_symmetric_about_zero(figure_one):
    groups = groups_of(figure_one)
    drawn = [axes for axes in gallery_sheet(groups).axes if axes.get_title()]
    pictures = [one for group in groups for one in group.pictures]
    assert [axes.get_title().replace("\n", " ") for axes in drawn] == [one.name for one in pictures]
    for axes, one in zip(drawn, pictures, strict=True):
        low, high = axes.images[0].get_clim()
        assert (low, high) == ((-one.limit, one.limit) if one.signed else (0, 1))
        assert axes.get_xlabel() == (one.range if one.signed else "")
    boxes = [axes.get_position() for axes in drawn]
    assert all(0 < box.x0 < box.x1 < 1 and 0 < box.y0 < box.y1 < 1 for box in boxes)
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_a_pixel_is_a_square_of_whole_size(figure_one, tmp_path):
    """At the 200 dpi of a PNG an image of 41 pixels takes 246, each pixel six."""
    for axes in gallery_sheet(groups_of(figure_one)[:1]).axes:
        assert (axes.get_window_extent().size * 200 / axes.figure.dpi).tolist() == pytest.approx([246, 246])  # type: ignore[union-attr]
    path = write_gallery(figure_one, tmp_path / "new" / "sheet.png")
    assert path is not None and imread(path).shape[2] == 4
    assert path.stat().st_size < 200_000


def test_the_page_shows_the_pictures(figure_one, tmp_path):
    text = write_experiment(figure_one, tmp_path / "page.html").read_text(encoding="utf-8")
    for expected in ("Fig. 1: images of the cube", "Fig. 3", "Fig. 8", "(d) rotation z, twice", "Blue is negative"):
        assert expected in text
    assert text.count("data:image/png") == 20


def test_pictures_held_by_a_record_are_on_the_sheet_too(tmp_path):
    record = table_record()
    assert write_gallery(record, tmp_path / "sheet.svg") is None
    assert not list(tmp_path.iterdir())
    record.data["images"] = [{"title": "Gradients", "pictures": [{"name": "a", "pixels": [[1.0]]}] * 6}]
    path = write_gallery(record, tmp_path / "sheet.svg")
    assert path is not None and "Gradients" in path.read_text(encoding="utf-8")


def test_a_record_of_before_has_no_pictures(figure_one):
    old = Record(**{**vars(figure_one), "data": {"norms": {}}})
    assert groups_of(old) == []


@pytest.mark.parametrize("groups", [[], [Group("empty", [])]])
def test_an_empty_sheet_is_refused(groups):
    with pytest.raises(ValueError, match="at least one group with pictures"):
        gallery_sheet(groups)


def test_groups_without_signed_pictures_need_no_scale():
    assert len(gallery_sheet([Group("Fig. 1: one", [picture("a", [[1.0]])])]).axes) == 1

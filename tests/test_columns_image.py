"""Images and masks: every odd kind of file has a documented outcome, and hostile ones are refused."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from shinso.columns.base import object_array
from shinso.columns.image import Image
from shinso.columns.mask import IGNORE, Mask
from shinso.columns.raster import BROKEN, LARGEST, is_picture, measure, read
from shinso.errors import DataError

COLOURS = np.random.default_rng(7).integers(0, 256, (12, 10, 3), np.uint8)
GREYS = COLOURS[..., 0].copy()


def saved(picture: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def colour_column(height: int = 12, width: int = 10) -> Image:
    return Image(name="photo", height=height, width=width).fit(object_array([COLOURS]))


def grey_column() -> Image:
    return Image(name="scan").fit(object_array([GREYS]))


def quadrants(height: int = 12, width: int = 10) -> np.ndarray:
    """Four flat colours, so that turning is seen also after JPEG."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (250, 10, 10)
    picture[: height // 2, width // 2 :] = (10, 250, 10)
    picture[height // 2 :, : width // 2] = (10, 10, 250)
    return picture


# ---- the kinds of value


def test_all_ways_to_give_an_image_agree(tmp_path: Path) -> None:
    data = saved(Pillow.fromarray(COLOURS))
    (tmp_path / "a.png").write_bytes(data)
    text = base64.b64encode(data).decode()
    column = colour_column()
    ways = [
        tmp_path / "a.png", data, text, "data:image/png;base64," + text, COLOURS, Pillow.fromarray(COLOURS),
    ]  # fmt: skip
    for way in ways:
        encoded = column.encode(way)
        assert encoded.dtype == np.uint8
        np.testing.assert_array_equal(encoded, COLOURS)
    np.testing.assert_array_equal(column.encode_many(object_array(ways)), np.stack([COLOURS] * 6))


def test_a_str_is_never_opened_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(saved(Pillow.fromarray(COLOURS)))
    with pytest.raises(DataError, match="base64"):
        colour_column().encode(str(path))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG"])
def test_formats(kind: str) -> None:
    options: dict[str, Any] = (
        {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    )
    data = saved(Pillow.fromarray(quadrants(64, 64)), kind, **options)
    encoded = colour_column(64, 64).encode(data).astype(int)
    assert np.abs(encoded - quadrants(64, 64)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_undone(orientation: int, kind: str) -> None:
    upright = Pillow.fromarray(quadrants(48, 32))
    turns = {
        1: [], 2: [Pillow.Transpose.FLIP_LEFT_RIGHT], 3: [Pillow.Transpose.ROTATE_180],
        4: [Pillow.Transpose.FLIP_TOP_BOTTOM], 5: [Pillow.Transpose.TRANSPOSE],
        6: [Pillow.Transpose.ROTATE_90], 7: [Pillow.Transpose.TRANSVERSE], 8: [Pillow.Transpose.ROTATE_270],
    }  # fmt: skip
    stored = upright
    for turn in turns[orientation]:
        stored = stored.transpose(turn)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = saved(stored, kind, exif=exif.tobytes() if kind != "TIFF" else exif)
    encoded = colour_column(48, 32).encode(data).astype(int)
    assert np.abs(encoded - quadrants(48, 32)).mean() < 12
    assert measure(data, "photo")[:2] == (32, 48)


def test_cmyk() -> None:
    data = saved(Pillow.fromarray(quadrants(32, 32)).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(colour_column(32, 32).encode(data).astype(int) - quadrants(32, 32)).mean() < 12


def test_palette_and_transparent_palette() -> None:
    flat = Pillow.fromarray(quadrants()).quantize(8)
    np.testing.assert_allclose(colour_column().encode(saved(flat)), quadrants(), atol=8)
    flat.info["transparency"] = flat.getpixel((0, 0))
    encoded = colour_column().encode(saved(flat, transparency=flat.getpixel((0, 0))))
    assert (encoded[0, 0] == 255).all()


def test_alpha_is_laid_on_white() -> None:
    picture = np.zeros((12, 10, 4), np.uint8)
    picture[:6, :, 3] = 255
    for value in (
        picture,
        saved(Pillow.fromarray(picture)),
        saved(Pillow.fromarray(picture), "WEBP", lossless=True),
    ):
        encoded = colour_column().encode(value)
        assert (encoded[:6] == 0).all()
        assert (encoded[6:] == 255).all()
    grey_alpha = Pillow.merge("LA", [Pillow.new("L", (10, 12), 0), Pillow.new("L", (10, 12), 0)])
    assert (grey_column().encode(saved(grey_alpha)) == 255).all()


def test_transparent_colour_of_a_png() -> None:
    data = saved(Pillow.new("RGB", (10, 12), (1, 2, 3)), transparency=(1, 2, 3))
    assert (colour_column().encode(data) == 255).all()
    data = saved(Pillow.new("L", (10, 12), 9), transparency=9)
    assert (grey_column().encode(data) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    wide = np.linspace(0, 65535, 120).astype(np.uint16).reshape(12, 10)
    encoded = grey_column().encode(saved(Pillow.fromarray(wide), kind))[..., 0]
    np.testing.assert_allclose(encoded, wide / 257, atol=0.6)
    np.testing.assert_array_equal(grey_column().encode(wide)[..., 0], encoded)


def test_sixteen_bit_colour() -> None:
    """Pillow does not write it, so the file is made by hand."""
    wide = np.repeat(np.linspace(0, 65535, 120).astype(">u2").reshape(12, 10, 1), 3, 2)
    data = png(10, 12, depth=16, colour=2, rows=[row.tobytes() for row in wide])
    np.testing.assert_allclose(colour_column().encode(data), wide / 257, atol=1)


def test_one_bit() -> None:
    bits = GREYS > 128
    for value in (bits, saved(Pillow.fromarray(bits)), saved(Pillow.fromarray(bits), "TIFF")):
        np.testing.assert_array_equal(grey_column().encode(value)[..., 0], bits * 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_gives_the_first_frame(kind: str) -> None:
    frames = [Pillow.new("RGB", (10, 12), colour) for colour in ("black", "white", "white")]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (colour_column().encode(data) == 0).all()


def test_arrays_of_common_ranges() -> None:
    column = grey_column()
    np.testing.assert_array_equal(column.encode(GREYS[..., None])[..., 0], GREYS)
    np.testing.assert_array_equal(column.encode(GREYS / 255)[..., 0], GREYS)
    np.testing.assert_array_equal(column.encode(GREYS.astype(np.int64))[..., 0], GREYS)


@pytest.mark.parametrize(
    "array",
    [np.full((4, 4), np.nan), np.full((4, 4), -1), np.full((4, 4), 300.0), np.zeros((4, 4, 7)), np.zeros(4),
     np.zeros((0, 4)), np.zeros((4, 4), complex), np.array([["a"]], object)],
)  # fmt: skip
def test_arrays_that_are_no_image(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="'scan'"):
        grey_column().encode(array)


# ---- what is refused


def png(width: int, height: int, depth: int = 8, colour: int = 0, rows: list[bytes] | None = None) -> bytes:
    """A PNG of any claimed size, with few bytes of pixels or those of `rows`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pixels = b"".join(b"\0" + row for row in rows) if rows else b"\0" * 100
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def tiff(width: int, height: int) -> bytes:
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (279, 4, 8),
    ]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", 0)


@pytest.mark.parametrize(
    "bomb",
    [png(50_000, 50_000), png(2**31 - 1, 2**31 - 1), bmp(60_000, 60_000), gif(65_535, 65_535),
     tiff(100_000, 100_000), b"P5 99999 99999 255 "],
)  # fmt: skip
def test_bombs_are_refused_before_decoding(bomb: bytes) -> None:
    with pytest.raises(DataError, match=r"million are read|damaged"):
        colour_column().encode(bomb)
    with pytest.raises(DataError):
        measure(bomb, "photo")


def test_a_bomb_says_its_size() -> None:
    with pytest.raises(DataError, match=r"50000 x 50000 pixels; at most 64 million"):
        colour_column().encode(png(50_000, 50_000))
    assert LARGEST == 64_000_000


def test_an_array_bomb_takes_no_memory() -> None:
    huge = np.broadcast_to(np.uint8(0), (50_000, 50_000))
    with pytest.raises(DataError, match="million"):
        colour_column().encode(huge)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_files_are_refused(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(Pillow.fromarray(noise), kind)
    with pytest.raises(DataError, match=r"damaged or truncated"):
        colour_column().encode(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "zero bytes"), (b"hello", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image"),
     (b"%PDF-1.7\n", "not an image"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
     (b"\x00\x00\x01\x00\x01\x00", "not an image"), (b"\0" * 64, "not an image")],
)  # fmt: skip
def test_what_is_no_image(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        colour_column().encode(path)
    assert str(path) in str(caught.value)
    assert "'photo'" in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        colour_column().encode(tmp_path / "none.png")
    with pytest.raises(DataError, match="directory"):
        colour_column().encode(tmp_path)
    with pytest.raises(DataError, match="received int"):
        colour_column().encode(3)
    with pytest.raises(DataError, match="base64"):
        colour_column().encode("not base64 at all!")


def test_decoders_for_other_formats_are_never_called() -> None:
    for kind in ("EPS", "PDF", "ICO", "TGA", "SGI", "PCX", "JPEG2000"):
        try:
            data = saved(Pillow.fromarray(COLOURS), kind)
        except BROKEN:
            continue
        with pytest.raises(DataError, match="not an image"):
            colour_column().encode(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_files_give_an_image_or_a_data_error(kind: str) -> None:
    rng = np.random.default_rng(3)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    options: dict[str, Any] = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}
    data = saved(Pillow.fromarray(COLOURS), kind, **options)
    column = colour_column()
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            damaged[place] = rng.integers(0, 256)
        try:
            assert column.encode(bytes(damaged)).shape == (12, 10, 3)
        except DataError:
            pass


# ---- what is learned


def test_fit_keeps_a_common_small_size() -> None:
    column = grey_column()
    assert (column.height, column.width, column.channels) == (12, 10, 1)
    assert column.mean == pytest.approx((GREYS.mean() / 255,), abs=1e-5)
    assert column.std == pytest.approx((GREYS.std() / 255,), abs=1e-5)


def test_fit_takes_the_median_size_within_bounds() -> None:
    values = object_array([np.zeros((300 + i, 600, 3), np.uint8) for i in range(9)])
    column = Image(name="photo").fit(values)
    assert (column.height, column.width) == (112, 224)
    small = Image(name="photo").fit(object_array([np.zeros((40 + i, 60, 3), np.uint8) for i in range(9)]))
    assert (small.height, small.width) == (48, 64)
    large = Image(name="photo").fit(object_array([np.zeros((500, 500), np.uint8)] * 2))
    assert (large.height, large.width, large.channels) == (224, 224, 1)


def test_fit_respects_a_given_size() -> None:
    column = colour_column(16, 24)
    assert column.encode(COLOURS).shape == (16, 24, 3)


def test_nothing_is_cut_off() -> None:
    """A dot in the corner of a wide picture is still there after it is brought to a square."""
    wide = np.zeros((40, 120), np.uint8)
    wide[:6, :6] = 255
    wide[-6:, -6:] = 255
    encoded = Image(name="scan", height=32, width=32).fit(object_array([wide])).encode(wide)
    assert encoded[0, 0] > 128
    assert encoded[-1, -1] > 128


def test_fit_skips_damaged_files_but_not_all() -> None:
    good = saved(Pillow.fromarray(COLOURS))
    column = Image(name="photo").fit(object_array([b"", good, None, good[:40], good]))
    assert (column.height, column.width) == (12, 10)
    with pytest.raises(DataError, match="zero bytes"):
        Image(name="photo").fit(object_array([b"", None]))
    with pytest.raises(DataError, match="missing"):
        Image(name="photo").fit(object_array([None, None]))


def test_columns_survive_json() -> None:
    for column in (colour_column(), grey_column()):
        data = json.loads(json.dumps(column.to_dict()))
        assert data.pop("kind") == "image"
        assert Image.restore(data) == column


def test_decode_is_the_inverse_of_scaling() -> None:
    scaled = COLOURS.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    decoded = colour_column().decode(scaled)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, COLOURS)


def test_missing_is_the_mean_image() -> None:
    column = colour_column()
    assert np.abs(column.encode(None).mean() - COLOURS.mean()) < 4
    assert column.summary(object_array([COLOURS, None]))["missing"] == 1


def test_hiding_all_parts_leaves_the_mean_image() -> None:
    column = colour_column()
    value: Any = COLOURS
    parts = column.parts(value)
    assert len(parts) == len(set(parts)) == 64
    for part in parts:
        before = column.encode(value)
        value = column.hide(value, part)
        assert (column.encode(value) != before).any(axis=-1).sum() <= 4
    np.testing.assert_array_equal(column.encode(value), column.encode(None))


def test_summary_and_show(tmp_path: Path) -> None:
    path = tmp_path / "<b>.png"
    path.write_bytes(saved(Pillow.fromarray(COLOURS)))
    summary = colour_column().summary(object_array([path, GREYS, None]))
    assert summary["sizes"] == {"10x12": 2}
    assert summary["modes"] == {"RGB": 1, "L": 1}
    assert len(summary["brightness"]) == 5
    json.dumps(summary)
    html = colour_column().show(path)
    assert html.startswith('<img src="data:image/png;base64,')
    assert "<b>" not in html
    large = colour_column().show(np.zeros((500, 1000, 3), np.uint8))
    assert 'width="160" height="80"' in large


def test_matches() -> None:
    paths = object_array([Path("a.png"), Path("b.JPG"), None])
    assert Image.matches(paths) > 0.8
    assert Image.matches(object_array(["a.png", "b.png"])) == 0
    assert Image.matches(object_array([None, None])) == 0
    assert not is_picture(b"hello")
    assert is_picture("data:image/png;base64,aaaa")


def test_grey_and_colour_meet() -> None:
    np.testing.assert_array_equal(colour_column().encode(GREYS), np.stack([GREYS] * 3, -1))
    assert grey_column().encode(COLOURS).shape == (12, 10, 1)


def test_a_large_jpeg_is_decoded_small() -> None:
    data = saved(Pillow.fromarray(quadrants(1600, 1600)), "JPEG")
    assert read(data, "photo", at_least=(64, 64)).size == (200, 200)
    small = colour_column(32, 32).encode(data).astype(int)
    assert np.abs(small - quadrants(32, 32)).mean() < 4


# ---- masks


def mask_column(*values: Any, height: int = 0, width: int = 0) -> Mask:
    return Mask(name="mask", height=height, width=width).fit(object_array(list(values)))


def test_mask_levels_are_classes() -> None:
    raw = np.kron(np.array([[0, 128], [255, 128]], np.uint8), np.ones((8, 8), np.uint8))
    column = mask_column(raw)
    assert column.levels == (0, 128, 255)
    assert column.shares == (0.25, 0.5, 0.25)
    classes = np.searchsorted([0, 128, 255], raw)
    np.testing.assert_array_equal(column.encode(saved(Pillow.fromarray(raw))), classes)
    probabilities = np.eye(3, dtype=np.float32)[column.encode(raw)].transpose(2, 0, 1)
    np.testing.assert_array_equal(column.decode(probabilities), raw)
    data = json.loads(json.dumps(column.to_dict()))
    assert data.pop("kind") == "mask"
    assert Mask.restore(data) == column


def test_mask_palette_index_is_the_class() -> None:
    raw = np.arange(4, dtype=np.uint8).repeat(16).reshape(8, 8)
    picture = Pillow.fromarray(raw)
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    assert picture.mode == "P"
    np.testing.assert_array_equal(mask_column(raw).encode(saved(picture)), raw)


def test_mask_255_is_no_class_after_counted_classes() -> None:
    raw = np.array([[0, 1], [2, 255]], np.uint8)
    column = mask_column(raw)
    assert (column.levels, column.ignored) == ((0, 1, 2), (255,))
    assert column.encode(raw).tolist() == [[0, 1], [2, IGNORE]]
    binary = mask_column(np.array([[0, 255]], np.uint8))
    assert (binary.levels, binary.ignored) == ((0, 255), ())


def test_mask_resize_makes_no_new_classes() -> None:
    raw = np.zeros((30, 50), np.uint8)
    raw[10:, 20:] = 255
    column = mask_column(raw, height=16, width=16)
    encoded = column.encode(raw)
    assert encoded.shape == (16, 16)
    assert set(np.unique(encoded).tolist()) == {0, 1}


def test_mask_blurred_by_jpeg_is_black_and_white() -> None:
    raw = np.zeros((64, 64), np.uint8)
    raw[20:40, 20:40] = 255
    blurred = np.asarray(Pillow.fromarray(raw).resize((37, 37)).resize((64, 64)))
    column = mask_column(blurred)
    assert column.levels == (0, 255)
    assert (column.encode(blurred) == (blurred >= 128)).all()


def test_mask_new_level_is_refused() -> None:
    column = mask_column(np.array([[0, 1, 2]], np.uint8))
    with pytest.raises(DataError, match=r"levels \[7\]"):
        column.encode(np.array([[7]], np.uint8).repeat(3, 1))
    with pytest.raises(DataError, match="one number a pixel"):
        column.encode(saved(Pillow.fromarray(COLOURS)))


def test_mask_missing_hide_show_summary() -> None:
    raw = np.zeros((8, 8), np.uint8)
    raw[4:] = 255
    column = mask_column(raw)
    assert (column.encode(None) == IGNORE).all()
    assert (column.encode(column.hide(raw, 255)) == 0).all()
    assert column.show(raw).startswith("<img ")
    assert column.summary(object_array([raw, None]))["shares"] == {"0": 0.5, "255": 0.5}


def test_masks_are_told_from_images() -> None:
    masks = Mask.examples(np.random.default_rng(0), 4)
    assert Mask.matches(masks) > Image.matches(masks)
    photos = Image.examples(np.random.default_rng(0), 4)
    assert Image.matches(photos) > Mask.matches(photos)
    drawing = object_array([(GREYS > 128)] * 4)
    assert Mask.matches(drawing) == 0


def test_real_masks(shared_data: Path) -> None:
    archive = shared_data / "magnetic_tile.zip"
    if not archive.exists():
        pytest.skip("magnetic_tile.zip is absent")
    import zipfile

    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if "Blowhole" in name and name.endswith(".png")][:20]
        masks = object_array([file.read(name) for name in names])
    column = Mask(name="mask").fit(masks)
    assert column.levels == (0, 255)
    assert Mask.matches(masks) > Image.matches(masks)

"""Arrays: the one place that decodes files and replays the operations of their manifests.

Decoding is exact and knows nothing of a model: whole-number pixels become 0..1 of their type's range, floating-point
and DICOM pixels keep their own unit until a `window` op. The ops:

    {"op": "window", "low": l, "high": h}                         (x − l) / (h − l), clipped to 0..1
    {"op": "invert"}                                              1 − x
    {"op": "crop", "top": t, "left": l, "height": h, "width": w}  the pixels from row t and column l
    {"op": "grey"}                                                luminance (ITU-R BT.601), one channel
    {"op": "resize", "height": h, "width": w, "fit": "stretch"}   bilinear with anti-aliasing
    {"op": "resize", …, "fit": "pad"}                             the same, aspect kept, centred on zeros
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.cohort.cohort import Cohort
from bedside.cohort.files import Files
from bedside.cohort.manifest import Manifest, files_of, manifests
from bedside.errors import DataError, MissingExtra
from bedside.intake.pixels import decode, describe

Floats = NDArray[np.float32]

NOISE_SIDE = 16
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


class Images:
    """The images of a cohort's field as arrays, one a row, in row order.

    `images[row]` is float32 of shape (h, w, c), grey images with c = 1; `channels` makes them all 1 (luminance) or 3
    (grey repeated). The first `keep` bytes decoded stay in memory. Raises DataError for a field that is no image, a row
    without one, and bytes that are none.
    """

    def __init__(self, cohort: Cohort, field: str | None = None, *, channels: int | None = None, keep: int = 0) -> None:
        self.field = field if field is not None else only_image_field(cohort)
        if cohort.schema[self.field].kind != "image":
            raise DataError(f"field '{self.field}' is a {cohort.schema[self.field].kind}, not an image")
        if channels not in (None, 1, 3):
            raise DataError(f"{channels} channels are asked for", "1 (grey) or 3 (colour)")
        self._channels = channels
        self._files: Files = files_of(cohort)
        self._digests: list[str | None] = cohort[self.field].to_list()
        self._row_ids = cohort["row_id"]
        self._manifests = manifests(cohort, self.field)
        self._kept: dict[str, Floats] = {}
        self._left = keep

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, row: int) -> Floats:
        digest = self.digest(row)
        if digest in self._kept:
            return self._kept[digest]
        try:
            out = with_channels(load(self._manifests[digest], self._files), self._channels)
        except DataError as error:
            raise DataError(f"field '{self.field}', file {digest[:12]}: {error.what}", error.way_out) from None
        if out.nbytes <= self._left:
            self._left -= out.nbytes
            self._kept[digest] = out
        return out

    def __iter__(self) -> Iterator[Floats]:
        return (self[row] for row in range(len(self)))

    def digest(self, row: int) -> str:
        """The manifest's digest of a row; raises DataError when the row has no image."""
        digest = self._digests[row]
        if digest is None:
            raise DataError(f"row {row + 1} has no image in the field '{self.field}'", "leave such rows out in clean")
        return digest

    def manifest(self, row: int) -> Manifest:
        """The manifest of a row."""
        return self._manifests[self.digest(row)]

    def shape(self, row: int) -> tuple[int, int, int]:
        """(h, w, c) of a row, without decoding it."""
        height, width, channels = self.manifest(row).shape
        return height, width, channels if self._channels is None else self._channels

    @property
    def channels(self) -> int:
        """1 when all images are grey, else 3."""
        return self._channels or max((each.shape[2] for each in self._manifests.values()), default=1)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Floats:
        """Shape (n, h, w, c); raises DataError unless all of these images have one shape."""
        made = [self[int(row)] for row in rows]
        shapes = sorted({each.shape for each in made})
        if len(shapes) > 1:
            raise DataError(
                f"images of {len(shapes)} shapes in one batch: {shapes[0]}, {shapes[1]}",
                "put the step `resize` before the model",
            )
        return np.stack(made) if made else np.zeros((0, 0, 0, self.channels), dtype=np.float32)


class Masks:
    """The masks of a cohort's field of kind "mask" (the reader `images` makes them), one a row, in row order.

    `masks[row]` is bool of shape (h, w), the size of the file's own image before any step, or None where the row has
    none. Raises DataError for a field that is no mask.
    """

    def __init__(self, cohort: Cohort, field: str) -> None:
        if cohort.schema[field].kind != "mask":
            raise DataError(f"field '{field}' is a {cohort.schema[field].kind}, not a mask")
        self.field = field
        self._files: Files = files_of(cohort)
        self._digests: list[str | None] = cohort[field].to_list()
        self._manifests = manifests(cohort, field)

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, row: int) -> NDArray[np.bool_] | None:
        digest = self._digests[row]
        if digest is None:
            return None
        try:
            array = load(self._manifests[digest], self._files, "mask")
        except DataError as error:
            raise DataError(f"field '{self.field}', file {digest[:12]}: {error.what}", error.way_out) from None
        return np.asarray((array > 0).any(axis=2))

    def __iter__(self) -> Iterator[NDArray[np.bool_] | None]:
        return (self[row] for row in range(len(self)))


def only_image_field(cohort: Cohort) -> str:
    """The one input of kind image; raises DataError when there is none or more than one."""
    names = [item.name for item in cohort.schema.inputs if item.kind == "image"]
    if len(names) != 1:
        told = "no input is an image" if not names else f"more than one input is an image: {', '.join(names)}"
        raise DataError(told, "read images with the reader `images`, or drop the others")
    return names[0]


def load(manifest: Manifest, files: Files, kind: str = "image") -> Floats:
    """The array of one manifest of an image (or mask), float32 (h, w, c) in 0..1 after all its ops."""
    if manifest.kind != kind or len(manifest.items) != 1:
        raise DataError(f"a {manifest.kind} of {len(manifest.items)} files is not one {kind}")
    array = replay(decode(files.get(manifest.items[0]), manifest.media), manifest.ops)
    if array.shape != manifest.shape:
        raise DataError(f"the image has shape {array.shape}, its manifest says {manifest.shape}", "read the data again")
    return array


def replay(array: Floats, ops: Sequence[Mapping[str, Any]]) -> Floats:
    """The array after these operations; raises DataError for one that is not known."""
    for op in ops:
        made = _OPS.get(str(op.get("op")))
        if made is None:
            raise DataError(f"the operation {op.get('op')!r} is not known", "read it with a newer bedside")
        array = made(array, op)
    return array


def with_channels(array: Floats, channels: int | None) -> Floats:
    """The array with 1 channel (luminance) or 3 (grey repeated); None leaves it."""
    if channels is None or array.shape[2] == channels:
        return array
    return grey(array) if channels == 1 else np.repeat(array, 3, axis=2)


def grey(array: Floats) -> Floats:
    """Luminance, shape (h, w, 1)."""
    return array if array.shape[2] == 1 else (array @ LUMINANCE)[:, :, None]


def resized(array: Floats, height: int, width: int, fit: str = "stretch") -> Floats:
    """Bilinear with anti-aliasing to (height, width, c); fit "pad" keeps the aspect and centres on zeros."""
    if array.shape[:2] == (height, width):
        return array
    if fit == "stretch":
        return _scaled(array, height, width)
    inner_height, inner_width = inner_size(array.shape[0], array.shape[1], height, width)
    out = np.zeros((height, width, array.shape[2]), dtype=np.float32)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    out[top : top + inner_height, left : left + inner_width] = _scaled(array, inner_height, inner_width)
    return out


def inner_size(height: int, width: int, into_height: int, into_width: int) -> tuple[int, int]:
    """The largest size of the same aspect that fits."""
    scale = min(into_height / height, into_width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def noise(rng: np.random.Generator, height: int, width: int, channels: int) -> tuple[Manifest, bytes]:
    """An invented image of this size: smooth noise, stored as few pixels and a resize op; manifest and file."""
    grain = (NOISE_SIDE, NOISE_SIDE) if channels == 1 else (NOISE_SIDE, NOISE_SIDE, 3)
    data = encode_png(rng.integers(0, 256, grain, dtype=np.uint8))
    made, _ = describe(data)
    op = {"op": "resize", "height": height, "width": width, "fit": "stretch"}
    return made.with_op(op, (height, width, channels)), data


def encode_png(array: NDArray[np.uint8]) -> bytes:
    """PNG bytes of an array (h, w) or (h, w, 3)."""
    image = _pillow()
    out = io.BytesIO()
    image.fromarray(array).save(out, format="PNG")
    return out.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("imaging", "an image") from None
    return Image


def _scaled(array: Floats, height: int, width: int) -> Floats:
    image = _pillow()
    size, bilinear = (width, height), image.Resampling.BILINEAR
    planes = [
        np.asarray(image.fromarray(np.ascontiguousarray(array[:, :, c])).resize(size, bilinear))
        for c in range(array.shape[2])
    ]
    return np.clip(np.stack(planes, axis=2), 0.0, 1.0).astype(np.float32)


def _crop(array: Floats, top: int, left: int, height: int, width: int) -> Floats:
    if top < 0 or left < 0 or top + height > array.shape[0] or left + width > array.shape[1]:
        raise DataError(f"a crop leaves the image of {array.shape[1]} × {array.shape[0]} pixels", "read the data again")
    return array[top : top + height, left : left + width]


def _window(array: Floats, op: Mapping[str, Any]) -> Floats:
    low, high = float(op["low"]), float(op["high"])
    return np.clip((array - low) / (high - low), 0.0, 1.0).astype(np.float32)


_OPS: dict[str, Callable[[Floats, Mapping[str, Any]], Floats]] = {
    "window": _window,
    "invert": lambda array, _op: (1.0 - array).astype(np.float32),
    "crop": lambda array, op: _crop(array, *(int(op[key]) for key in ("top", "left", "height", "width"))),
    "grey": lambda array, _op: grey(array),
    "resize": lambda array, op: resized(array, int(op["height"]), int(op["width"]), str(op["fit"])),
}

"""An exported file, opened: pictures in, boxes out, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from exporters.metadata import Metadata, read_metadata
from utils.errors import UserError


@dataclass(frozen=True)
class Opened:
    """What a format's reader gives.

    `entries`: the metadata as it stands in the file. `shape`: the input's (B, 3, H, W), None where it is free. `run`:
    from float32 pictures of a shape that the file takes to its output.
    """

    entries: Mapping[str, Any]
    shape: Sequence[int | None]
    run: Callable[[Tensor], Tensor]


class Exported:
    """An exported detector. Attributes: `path`, `device` and those of `exporters.metadata.Metadata`.

    Raises UserError where the metadata is malformed or is not what the file does.
    """

    def __init__(self, path: Path, opened: Opened, device: torch.device) -> None:
        self.path, self.device, self._run = path, device, opened.run
        self.metadata: Metadata = read_metadata(opened.entries, opened.shape, path)
        self._check()

    def __getattr__(self, name: str) -> Any:
        if name == "metadata":  # not there yet: a copy or an unpickled object asks before it has one
            raise AttributeError(name)
        return getattr(self.metadata, name)

    @property
    def classes(self) -> int:
        return len(self.metadata.names)

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), float in [0, 1], to float32 on their device, for any B.

        (B, anchors, 5 + classes): centre and size in pixels, objectness, class probabilities; or, of a file with NMS
        inside, (B, max_det, 6): x1, y1, x2, y2, score, class by falling score, then rows of zeros. A file for a fixed
        number of pictures is run as often as it takes, the last time with grey ones added. Raises UserError for a size
        that the file does not take.
        """
        count, size = len(images), tuple(images.shape[2:])
        if self.dynamic and any(side % self.stride for side in size):
            raise UserError(f"{self.path}: takes sizes in multiples of {self.stride}, not {size[0]} x {size[1]}")
        if not self.dynamic and size != self.size:
            takes = "takes {} x {} pixels, not {} x {}".format(*self.size, *size)
            raise UserError(f"{self.path}: {takes}; or export it with --dynamic")
        batch = count if self.dynamic else self.batch
        outputs = []
        for part in images.float().contiguous().split(max(batch, 1)):
            missing = batch - len(part)
            whole = pad(part, (0, 0, 0, 0, 0, 0, 0, missing), value=0.5) if missing else part
            outputs.append(self._checked(self._run(whole.contiguous()), len(whole))[: len(part)].to(images.device))
        return torch.cat(outputs) if outputs else images.new_zeros(0, *self._output_shape(size), dtype=torch.float32)

    def _checked(self, output: Tensor, batch: int) -> Tensor:
        width = 6 if self.nms else 5 + self.classes
        if output.ndim != 3 or len(output) != batch or output.shape[2] != width:
            found = tuple(output.shape)
            raise UserError(f"{self.path}: its output {found} is not that of {self.classes} classes; export it again")
        if self.nms and len(output) and output.shape[1] and not 0 <= output[..., 5].max() < self.classes:
            raise UserError(f"{self.path}: finds a class beyond its {self.classes} names; export it again")
        return output.float()

    def _check(self) -> None:
        """Run it once, small where it can be, and compare what comes out with what the metadata says."""
        size = (self.stride * 3,) * 2 if self.dynamic else self.size  # 3: no multiple of the next larger stride
        try:
            found = self(torch.full((1, 3, *size), 0.5)).shape[1:]
        except UserError:
            raise
        except Exception as error:  # each runtime has its own
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise UserError(f"{self.path}: does not run ({reason}); export it again") from None
        if found != self._output_shape(size):
            gives = f"gives {tuple(found)} for {size[0]} x {size[1]} pixels"
            promised = f"(stride {self.stride}, {self.classes} classes) promises {self._output_shape(size)}"
            raise UserError(f"{self.path}: {gives}, where its metadata {promised}; export it again")

    def _output_shape(self, size: tuple[int, ...]) -> tuple[int, int]:
        if self.nms:
            return self.max_det, 6
        return self.metadata.boxes(size), 5 + self.classes


def rows_of(output: Tensor) -> list[Tensor]:
    """Of the (B, max_det, 6) of a file with NMS inside, each picture's (n, 6) rows, without what fills up."""
    return [rows[rows[:, 4] > 0] for rows in output]

"""The command line of detect.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from predict.outputs import Wanted
from utils.config import option
from utils.errors import UserError

REFUSED = {
    "--update": "weights are never changed; export.py writes them in other formats",
    "--augment": "test-time augmentation is not implemented; an ensemble is: --weights a.pt b.pt",
    "--dnn": "ONNX files run in ONNX Runtime; give the .onnx file itself",
    "--data": "the names of the classes are in the checkpoint",
    "--visualize": "maps of features are not drawn",
}


@dataclass
class Options:
    """Detect objects in pictures, videos and streams."""

    weights: list[str] = option([], "checkpoint or exported file (required); several checkpoints form an ensemble")
    source: str = option(
        "", "picture, video, folder, glob, .txt or .streams list, webcam number, rtsp:// or http:// (required)"
    )
    imgsz: list[int] = option(
        [],
        "pixels: of the longer side, or height and width (default: as trained)",
        aliases=("--img", "--img-size"),
    )
    conf_thres: float = option(0.25, "minimum score", low=0, high=1)
    iou_thres: float = option(0.45, "IoU threshold of NMS", low=0, high=1)
    max_det: int = option(1000, "maximum number of detections per picture", low=1)
    batch_size: int = option(8, "pictures per forward pass; streams take one each", aliases=("--batch",), low=1)
    device: str = option("auto", "auto, cpu, mps, cuda:N")
    half: bool = option(False, "half precision: float16 on a GPU, bfloat16 on a CPU that has it")
    classes: list[str] = option([], "keep only these classes, by number or name")
    agnostic_nms: bool = option(False, "NMS across classes: a box may suppress one of another class")
    vid_stride: int = option(1, "use every Nth frame of a video", low=1)
    view_img: bool = option(False, "open a window that shows the results")
    nosave: bool = option(False, "write no annotated pictures and videos")
    save_txt: bool = option(False, "write label files")
    save_format: str = option(
        "yolo", "format of label files (0 = yolo, 1 = voc); voc implies --save-txt", choices=("yolo", "voc", "0", "1")
    )
    save_conf: bool = option(False, "with --save-txt: scores too")
    save_csv: bool = option(False, "write predictions.csv, one row per box")
    save_json: bool = option(False, "write predictions.json in COCO's results format")
    save_crop: bool = option(False, "write each box as a picture, by class")
    line_thickness: int | None = option(None, "pixels (default: by the picture's size)", low=1)
    hide_labels: bool = option(False, "draw boxes without names")
    hide_conf: bool = option(False, "draw names without scores")
    project: str = option("runs/detect", "folder of the results")
    name: str = option("exp", "name of the results folder; a number is appended if it exists")
    exist_ok: bool = option(False, "use the folder of that name again; its earlier results are replaced")

    def check(self) -> None:
        """Raise UserError for what is missing, or would do nothing."""
        if not self.weights:
            raise UserError("--weights is missing; give a checkpoint, such as runs/train/exp/weights/best.pt")
        if not self.source:
            raise UserError("--source is missing; give a picture, video, folder or stream")
        if len(self.imgsz) > 2 or any(size < 1 for size in self.imgsz):
            raise UserError(f"--imgsz {' '.join(map(str, self.imgsz))}: give one number, or height and width")
        if self.save_conf and not self.wanted().txt:
            raise UserError("--save-conf goes with --save-txt alone; add that, or leave it out")

    @property
    def size(self) -> int | tuple[int, int] | None:
        """Pixels of the longer side, height and width, or None for what the model was trained with."""
        return None if not self.imgsz else self.imgsz[0] if len(self.imgsz) == 1 else (self.imgsz[0], self.imgsz[1])

    def chosen(self, names: Sequence[str]) -> list[int | str]:
        """The numbers and names in `classes`, of a model with these names; commas part them, but within a name."""
        words = [part for each in self.classes for part in ([each] if each in names else each.split(","))]
        return [int(word) if word.isdecimal() else word for word in map(str.strip, words) if word]

    def wanted(self) -> Wanted:
        """What is to be written."""
        return Wanted(
            media=not self.nosave,
            txt=self.save_txt or self.save_format in ("voc", "1"),
            conf=self.save_conf,
            csv=self.save_csv,
            json=self.save_json,
            crop=self.save_crop,
            form="voc" if self.save_format in ("voc", "1") else "yolo",
            style={"line_thickness": self.line_thickness, "hide_labels": self.hide_labels, "hide_conf": self.hide_conf},
        )

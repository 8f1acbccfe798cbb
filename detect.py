"""Run a checkpoint or an exported file on pictures, videos, streams: `python detect.py --weights best.pt --source x`.

Reads top to bottom: main, run, work, follow.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from utils.console.signals import begin_imports, end_imports

if __name__ == "__main__":
    begin_imports()


from exporters import ExportedDetector
from predict import films, sources
from predict.folder import begin
from predict.frames import Frame, Origin, Unreadable
from predict.lanes import lanes_of
from predict.model import Model, load
from predict.options import REFUSED, Options
from predict.outputs import Outputs, counted
from predict.pipeline import AHEAD, Item, detect, read_files
from predict.streams import Stream, newest
from predict.view import Window
from utils import config
from utils import device as devices
from utils.console import log
from utils.console.signals import StopRequest
from utils.errors import UserError

LOGGER = logging.getLogger("anneal")


@dataclass
class Tally:
    """What was seen: frames, boxes by class, seconds by part, and how many sources or files failed."""

    frames: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    faults: int = 0

    def fault(self, text: str) -> None:
        """Say and count what could not be read or written."""
        self.faults += 1
        LOGGER.warning(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0, 1 where something was not read or written, 2 for a mistake, 128 + signal."""
    log.setup()
    try:
        about = {"prog": "detect.py", "description": "Detect objects; see docs/detect.md.", "refused": REFUSED}
        (options,), _ = config.parse([Options], argv, **about)
        options.check()
        return run(options)
    except UserError as error:
        LOGGER.error(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


def run(options: Options) -> int:
    """Detect as the options say, and leave the results in a new folder. Returns the exit code. Raises UserError."""
    found = sources.find(options.source)
    model = prepare_model(options)
    with sources.fetched(found) as origins:
        return work(options, origins, model)


def work(options: Options, origins: Sequence[Origin], model: Model) -> int:
    """`run` on sources that can be read from here, with a model that is set."""
    window = Window(model.class_names, options.wanted().style) if options.view_img else None
    folder = begin(options, origins)
    tally, outputs = Tally(), Outputs(folder, model.class_names, options.wanted(), origins)
    with StopRequest() as stop_request:
        try:
            live = origins[0].kind == "stream"
            items = watch(origins, options, model, tally, stop_request) if live else read(origins, options, model)
            batch, lanes = (len(origins), 1) if live else (options.batch_size, lanes_of(model, options.batch_size))
            with closing(items):  # ends the threads that read, whatever happens
                follow(detect(items, model, batch, tally.seconds, lanes, stop_request), outputs, tally, window)
        except OSError as error:
            tally.fault(f"{error.filename or folder}: cannot be written ({error.strerror}); free some space")
        finally:
            clock = time.perf_counter()
            outputs.close()
            tally.seconds["write"] += time.perf_counter() - clock
    tally.faults += outputs.faults.say()
    summarise(tally, model, folder)
    return 128 + stop_request.stop if stop_request.stop else int(tally.faults > 0)


def follow(items: Iterator[Item], outputs: Outputs, tally: Tally, window: Window | None) -> None:
    """Hand every frame to what writes it, until all are done or the window is closed."""
    for item in items:
        clock = time.perf_counter()
        if isinstance(item, Unreadable):
            tally.fault(str(item))
        elif isinstance(item, Origin):
            outputs.end(item)
        else:
            outputs.put(item)
            tally.frames += 1
            tally.boxes.update(outputs.names[int(number)] for number in item.rows[:, 5].tolist())
            if window is not None and not window.show(item):
                return
        tally.seconds["write"] += time.perf_counter() - clock


def read(origins: Sequence[Origin], options: Options, model: Model) -> Generator[Item]:
    """The frames of pictures and videos, prepared ahead, with a bar."""
    origins = [films.facts(origin) if origin.kind == "video" else origin for origin in origins]
    counts = [-(-origin.frames // options.vid_stride) if origin.frames else None for origin in origins]
    known = [1 if origin.kind == "picture" else count for origin, count in zip(origins, counts, strict=True)]
    total = sum(known) if None not in known else None
    ahead = max(AHEAD * options.batch_size, 4)
    items = read_files(origins, model, options.size, options.vid_stride, ahead)
    with log.progress(desc="detect", total=total, unit="img") as bar:
        for item in items:
            yield item
            bar.update(isinstance(item, Frame))


def watch(
    origins: Sequence[Origin], options: Options, model: Model, tally: Tally, stop_request: StopRequest
) -> Generator[Item]:
    """The newest frame of each stream, until all have ended or somebody asks to stop."""
    streams = [Stream(origin) for origin in origins]
    try:
        for frame in newest(streams, options.vid_stride, stop_request):
            frame.prepared = model.prepare(frame.picture, options.size)
            yield frame
    finally:
        for stream in streams:
            stream.close()
            counts = f"{stream.number} frames, {stream.dropped} dropped, {stream.broken} broken"
            LOGGER.info(f"{stream.origin.name}: {counts}")
            if stream.ended not in ("", "finished"):
                tally.fault(stream.ended)


def prepare_model(options: Options) -> Model:
    """The model, set as the options say."""
    model = load(options.weights, devices.select_device(options.device))
    model.conf, model.iou, model.max_det = options.conf_thres, options.iou_thres, options.max_det
    model.agnostic = options.agnostic_nms
    model.classes = options.chosen(model.class_names) or None
    model.check(options.size)
    if isinstance(model.network, ExportedDetector):
        model.network.warn(options.conf_thres, options.iou_thres)
    if devices.half_precision(options.half, model.device):
        model.half()
    return model


def summarise(tally: Tally, model: Model, folder: object) -> None:
    """Say what there was, and how long a picture took."""
    each = {part: 1000 * tally.seconds[part] / max(tally.frames, 1) for part in ("load", "inference", "NMS", "write")}
    parts = ", ".join(f"{milliseconds:.1f} ms {part}" for part, milliseconds in each.items())
    what = "1 picture" if tally.frames == 1 else f"{tally.frames} pictures"
    LOGGER.info(f"{what}, boxes: {counted(tally.boxes)}")
    LOGGER.info(f"{parts} per picture, not counting time spent waiting for one another")
    if tally.faults:
        LOGGER.warning(f"{tally.faults} of the sources or files failed, see above")
    LOGGER.info(f"results are in {folder}")


if __name__ == "__main__":
    end_imports()
    sys.exit(main())

"""TorchScript: runs without this program, in Python or C++. Its metadata is JSON in the member `config.txt`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from torch import Tensor

from exporters.formats import Export, Format, register
from exporters.model import Opened
from exporters.network import Network, suppress_each
from utils.errors import UserError

CONFIG = "config.txt"  # as in YOLOv5's files
MAX_CONFIG = 1 << 20


def write(export: Export, out: Path) -> None:
    """Write `export` to `out`, for the kind of device it was traced on."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that TorchScript is old
        script = torch.jit.script(suppress_each) if export.suppression else None
        network = Network(export.detector, export.metadata.half, export.suppression, script)
        traced = torch.jit.trace(network, export.example(), check_trace=False)
        torch.jit.save(traced, str(out), _extra_files={CONFIG: json.dumps(export.metadata.to_text())})


def read(path: Path, device: torch.device) -> Opened:
    """Open a file with torch, on `device`."""
    extra = {CONFIG: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch.jit.load(str(path), map_location=device, _extra_files=extra)
        model.eval()
        entries = json.loads(extra[CONFIG][:MAX_CONFIG])
    except (RuntimeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a usable TorchScript file ({reason}); export it again") from None
    if not isinstance(entries, dict):
        raise UserError(f"{path}: its metadata is no JSON mapping; export it again")
    traced_on = entries.get("device", device.type)
    if traced_on != device.type:
        remedy = f"export it with --device {device.type}, or run it there"
        raise UserError(f"{path}: was made for {str(traced_on)[:20]}; {remedy}")
    old = entries.get("shape")  # YOLOv5's files hold the shape of the input alone
    sound = isinstance(old, list) and len(old) == 4 and all(type(side) is int for side in old)
    shape = old if sound else [None, 3, None, None]

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        output = model(images.to(device))
        return output[0] if isinstance(output, tuple) else output

    return Opened(entries, shape, run)


register(Format("torchscript", ".torchscript", (), (), write, read, free=True))

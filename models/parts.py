"""Parts of a network by what users call them: `backbone`, `neck`, `head`, a layer's number, or a pattern of names."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from models.blocks import Conv, Upsample
from models.detector import Detector
from utils.errors import UserError

NAMES = ("backbone", "neck", "head")


def layers_of(model: Detector, name: str) -> range:
    """The layers of a part: the backbone is what lies before the first map is enlarged, and before the 1x1 convolution
    that narrows that map, if there is one; the head is the last layer, and the neck what lies between."""
    last = model.layers - 1
    enlarged = next((i for i, layer in enumerate(model.model) if isinstance(layer, Upsample | nn.Upsample)), last)
    before = model.model[enlarged - 1] if 0 < enlarged < last else None
    narrowed = isinstance(before, Conv) and before.conv.kernel_size == (1, 1)
    end = enlarged - narrowed
    return {"backbone": range(end), "neck": range(end, last), "head": range(last, last + 1)}[name]


def matching(model: Detector, word: str, flag: str) -> list[str]:
    """The names of the parameters that `word` means: a part, a layer's number, a name's beginning or a pattern.

    `model.3`, `model.*.bn.*` and `*.bias` are of the last two kinds. Raises UserError, naming `flag`, where there are
    none.
    """
    names = [name for name, _ in model.named_parameters()]
    if word in NAMES:
        layers = layers_of(model, word)
        return [name for name in names if int(name.split(".")[1]) in layers]
    if word.isascii() and word.isdigit():
        if int(word) >= model.layers:
            raise UserError(f"{flag} {word}: {model.cfg} has layers 0 to {model.layers - 1}; choose among them")
        return [name for name in names if name.split(".")[1] == str(int(word))]
    found = [name for name in names if name.startswith(word.rstrip(".") + ".") or fnmatchcase(name, word)]
    if not found:
        known = f"give backbone, neck, head, a layer from 0 to {model.layers - 1}, or a pattern such as model.3.*"
        raise UserError(f"{flag} {word}: no parameter of {model.cfg} is called that; {known}")
    return found


def frozen_names(model: Detector, words: Iterable[str]) -> list[str]:
    """The names of the parameters that `--freeze WORDS` means: a number alone is that many layers, from the first on.

    Raises UserError for what the layout does not have.
    """
    words = list(words)
    numbers = [word for word in words if word.isascii() and word.isdigit()]
    if len(numbers) == 1 and (first := int(numbers[0])) > model.layers:
        has = f"{model.cfg} has layers 0 to {model.layers - 1}, of which one number N freezes the first N"
        raise UserError(f"--freeze {first}: {has}; give fewer than {model.layers}")
    if len(numbers) == 1:
        words = [word for word in words if word not in numbers] + [str(i) for i in range(int(numbers[0]))]
    found = {name for word in words for name in matching(model, word, "--freeze")}
    return [name for name, _ in model.named_parameters() if name in found]

"""Files that mean harm, assembled by hand: pickles opcode by opcode, and the archives around them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

END = b"."


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """BININT, or LONG1 where it takes more."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module: str, qualified: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{qualified}\n".encode()


def args(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def call(function: bytes, *values: bytes) -> bytes:
    """REDUCE."""
    return function + args(*values) + b"R"


def mapping(**values: bytes) -> bytes:
    """A dictionary."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def made(kind: bytes, state: bytes) -> bytes:
    """NEWOBJ, then BUILD."""
    return kind + b")\x81" + state + b"b"


def storage(count: bytes = number(4), key: bytes = text("0"), kind: bytes = name("torch", "FloatStorage")) -> bytes:
    """A persistent reference to a member of the archive, which `archive` fills with 16 bytes."""
    return args(text("storage"), kind, key, text("cpu"), count) + b"Q"


def tensor(numbers: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    hooks = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), numbers, offset, size, stride, b"\x89", hooks)


def network(**state: bytes) -> bytes:
    """A published checkpoint around one module with this state."""
    return mapping(model=made(name("models.yolo", "DetectionModel"), mapping(**state)))


def archive(
    path: Path, pickle: bytes, members: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """A checkpoint file whose structure is `pickle`, a protocol 2 pickle unless it says otherwise."""
    pickle = pickle if pickle.startswith(b"\x80") else b"\x80\x02" + pickle + END
    content = {"data.pkl": pickle, "byteorder": b"little", "data/0": bytes(16), "version": b"3\n"}
    with zipfile.ZipFile(path, "w", compression) as file:
        for member, data in (content | dict(members or {})).items():
            file.writestr(f"archive/{member}", data)
    return path


def script_of(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def running(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that leave `canary` when they are run, and the name that each is refused for."""
    code = script_of(canary)
    shell = text(f"touch {canary}")
    script = canary.with_suffix(".py")  # whoever runs these puts `code` there
    get = name("builtins", "getattr")
    imported = call(name("importlib", "import_module"), text("os"))
    return {
        "os.system": (call(name("os", "system"), shell), "os.system"),
        "posix.system": (call(name("posix", "system"), shell), "posix.system"),
        "eval": (call(name("builtins", "eval"), text(code)), "builtins.eval"),
        "eval of Python 2": (call(name("__builtin__", "eval"), text(code)), "__builtin__.eval"),
        "exec": (call(name("builtins", "exec"), text(code)), "builtins.exec"),
        "a shell": (call(name("subprocess", "getoutput"), shell), "subprocess.getoutput"),
        "a process": (call(name("subprocess", "Popen"), b"](" + text("touch") + text(str(canary)) + b"e"), "Popen"),
        "a script": (call(name("runpy", "run_path"), text(str(script))), "runpy.run_path"),
        "open": (call(name("builtins", "open"), text(str(canary)), text("w")), "builtins.open"),
        "an import": (call(call(get, imported, text("system")), shell), "builtins.getattr"),
        "a nested call": (
            call(call(call(name("operator", "attrgetter"), text("system")), imported), shell),
            "operator.attrgetter",
        ),
        "a partial": (
            call(call(name("functools", "partial"), name("os", "system"), shell)),
            "functools.partial",
        ),
        "a map": (
            call(name("builtins", "list"), call(name("builtins", "map"), name("os", "system"), b"](" + shell + b"e")),
            "builtins.list",
        ),
        "opcode INST": (b"(" + shell + b"ios\nsystem\n", "opcode INST"),
        "opcode OBJ": (b"(" + name("builtins", "exec") + text(code) + b"o", "builtins.exec"),
        "a dotted name": (
            b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + args(shell) + b"R" + END,
            "protocol 4",
        ),
        "in a network": (network(names=call(name("os", "system"), shell)), "os.system"),
        "in a tensor": (
            network(_parameters=mapping(weight=tensor(call(name("os", "system"), shell), number(0), b")", b")"))),
            "os.system",
        ),
        "behind our format": (mapping(format=text("anneal"), version=call(name("os", "system"), shell)), "os.system"),
        "before a sound one": (call(name("os", "system"), shell) + b"0" + network(), "os.system"),
        "a mutable state": (
            made(name("types", "SimpleNamespace"), mapping(a=call(name("os", "system"), shell))),
            "types.SimpleNamespace",
        ),
    }


def looping() -> dict[str, tuple[bytes, str]]:
    """Pickles that name nothing harmful and would exhaust memory, time or the stack, and the reason each is refused."""
    memo = b"r" + struct.pack("<I", 0xFFFFFFFF)
    sequential = name("torch.nn.modules.container", "Sequential")
    twice = mapping(a=b"h\x00", b=b"h\x00")  # what the memo holds at 0, twice
    doubling = b"}q\x00"
    for _ in range(30):  # a dictionary whose one key is set anew each time, to a module that has the one before twice
        doubling += text("model") + made(sequential, mapping(_modules=twice)) + b"q\x00s"
    itself = sequential + b")\x81q\x00" + mapping(_modules=mapping(a=b"h\x00")) + b"b"
    long_list = b"](" + b"K\x01" * 400_000 + b"eq\x00"
    weight = {"size": args(number(4)), "stride": args(number(1))}
    return {
        "a key too deep to hash": (b"}(" + b")" + b"\x85" * 300_000 + b"K\x01u", "no plain value"),
        "an element too deep to hash": (
            call(name("builtins", "set"), b"](" + b")" + b"\x85" * 300_000 + b"e"),
            "no plain value",
        ),
        "a memo of 4 billion": (b"}" + memo, "neither a run of this trainer nor a published network"),
        "text of 4 GB": (b"X" + struct.pack("<I", 0xFFFFFFFF) + b"a", "not what torch.save writes"),
        "a number of 2 GB": (b"\x8b" + struct.pack("<i", 0x7FFFFFFF) + b"a", "not what torch.save writes"),
        "digits without end": (b"I" + b"9" * 100_000 + b"\n", "not what torch.save writes"),
        "too many steps": (b"(" + b"N" * 2_100_000 + b"t", "over 2,000,000 steps"),
        "copies of a list": (long_list + call(name("builtins", "set"), b"h\x00") * 20, "steps"),
        "a module in itself": (mapping(model=itself), "larger, deeper or emptier"),
        "modules that double": (doubling, "larger, deeper or emptier"),
        "a tensor over its numbers": (tensor(storage(), number(1), *weight.values()), "larger than its numbers"),
        "a tensor spread over nothing": (
            tensor(storage(), number(0), args(number(1 << 36)), args(number(0))),
            "larger than its numbers",
        ),
        "a negative stride": (tensor(storage(), number(3), args(number(4)), args(number(-1))), "an impossible tensor"),
        "a tensor of text": (tensor(text("0"), number(0), *weight.values()), "calls a known class with text"),
        "more numbers than bytes": (storage(number(1 << 38)), "not as many as it says"),
        "a storage elsewhere": (storage(key=text("../../../etc/passwd")), "other than a tensor's numbers"),
        "a storage that is not there": (storage(key=text("77")), "not what torch.save writes"),
        "a reference to no storage": (args(*[name("models", "a")] * 5) + b"Q", "other than a tensor's"),
        "a state for a class": (name("models.yolo", "Detect") + mapping(a=b"N") + b"b", "state to what is no object"),
        "a call of an object": (call(made(name("models.yolo", "Detect"), b"}"), b"N"), "calls what is no known class"),
        "an object of our function": (
            name("torch._utils", "_rebuild_tensor_v2") + b")\x81",
            "an object of what is no known class",
        ),
        "an extension code": (b"\x82\x01", "not what torch.save writes|opcode EXT1"),
        "a buffer from outside": (b"\x97", "opcode NEXT_BUFFER"),
        "an empty stack": (b"0000", "opcode POP"),
        "no end": (b"\x80\x02}", "not what torch.save writes"),
        "nothing": (b"\x80\x02", "not what torch.save writes"),
        "no network": (mapping(model=b"N"), "neither a run of this trainer nor a published network"),
        "a list": (b"]", "neither a run of this trainer nor a published network"),
    }

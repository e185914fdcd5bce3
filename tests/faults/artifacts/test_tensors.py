"""Weights and samples made by someone who means harm: refused, with the checksums right."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_faults import (
    INFINITE,
    ITEM,
    NAN,
    USER,
    Tensors,
    Use,
    assert_refused,
    entry,
    header,
    reseal,
    safetensors,
)

from cfcli.core.runs import run as runs


def plain(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    from safetensors.numpy import load_file

    kinds = {"float32": "F32", "float16": "F16"}
    return {
        name: (kinds[str(value.dtype)], list(value.shape), value.tobytes())
        for name, value in load_file(path).items()
    }


def cast(kind: str, dtype: str) -> Callable[[Tensors], bytes]:
    """All tensors as another type; bfloat16 is the upper half of float32."""

    def change(tensors: Tensors) -> bytes:
        out = {}
        for name, (_, shape, content) in tensors.items():
            value = np.frombuffer(content, np.float32)
            halves = value.view(np.uint32) >> 16
            out[name] = (
                kind,
                shape,
                (halves.astype(np.uint16) if kind == "BF16" else value.astype(dtype)).tobytes(),
            )
        return safetensors(out)

    return change


def filled(value: float, name: str = USER) -> Callable[[Tensors], bytes]:
    """One number of a tensor replaced."""

    def change(tensors: Tensors) -> bytes:
        kind, shape, content = tensors[name]
        array = np.frombuffer(content, {"F32": np.float32, "F16": np.float16}[kind]).copy()
        array[len(array) // 2] = value
        return safetensors({**tensors, name: (kind, shape, array.tobytes())})

    return change


def shaped(*shape: int, name: str = USER) -> Callable[[Tensors], bytes]:
    return lambda t: safetensors({**t, name: (t[name][0], list(shape), t[name][2])})


TENSORS: dict[str, Callable[[Tensors], bytes]] = {
    "empty": lambda t: b"",
    "a length alone": lambda t: struct.pack("<Q", 8),
    "a header longer than the file": lambda t: struct.pack("<Q", 1 << 20) + safetensors(t)[8:],
    "a header shorter than it is": lambda t: struct.pack("<Q", 10) + safetensors(t)[8:],
    "a header of 2^63": lambda t: struct.pack("<Q", 1 << 63) + safetensors(t)[8:],
    "a header of 2^64 - 1": lambda t: struct.pack("<Q", (1 << 64) - 1) + safetensors(t)[8:],
    "a header of 101 MB": header(b"{" + b" " * 101_000_000 + b"}"),
    "no header": header(b""),
    "a header that is a list": header(b"[]"),
    "a header that is null": header(b"null"),
    "a deep header": header(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a header not in UTF-8": header(b'{"\xff": 1}'),
    "no tensors": header(b"{}"),
    "metadata of another type": lambda t: safetensors(t, __metadata__=[1]),
    "offsets that overlap": entry(data_offsets=[4, 604]),
    "offsets beyond the end": entry(data_offsets=[0, 1 << 40]),
    "offsets that are negative": entry(data_offsets=[-600, 0]),
    "offsets in reverse": entry(data_offsets=[600, 0]),
    "offsets of no number": entry(data_offsets=["0", None]),
    "an unknown type": entry(dtype="F99"),
    "a shape that overflows": entry(shape=[1 << 62, 1 << 62]),
    "a shape of another size": entry(shape=[30, 6]),
    "a shape below 0": entry(shape=[-30, -5]),
    "int32": cast("I32", "int32"),
    "int64": cast("I64", "int64"),
    "bool": cast("BOOL", "bool"),
    "float64": cast("F64", "float64"),
    "float16": cast("F16", "float16"),
    "bfloat16": cast("BF16", ""),
    "turned": shaped(5, 30),
    "flat": shaped(150),
    "one dimension more": shaped(30, 5, 1),
    "rows to no columns": shaped(0, 5),
    "one more": lambda t: safetensors({**t, "extra": t[USER]}),
    "one missing": lambda t: safetensors({k: v for k, v in t.items() if k != "user_bias"}),
    "another name": lambda t: safetensors({k.replace("bias", "b"): v for k, v in t.items()}),
    "not a number": filled(NAN),
    "infinite": filled(INFINITE, ITEM),
    "minus infinite": filled(-INFINITE, "user_bias"),
    "bytes after the end": lambda t: safetensors(t) + b"more",
    "noise": lambda t: random.Random(1).randbytes(5000),
    "a zip": lambda t: b"PK\x03\x04" + bytes(100),
}


def test_tensors_written_by_hand_are_read(copy: Path, use: Use) -> None:
    path = copy / "mf" / "model.safetensors"
    path.write_bytes(safetensors(plain(path)))
    reseal(copy / "mf")
    assert use("predict")[0] == 0


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_are_none_are_refused(what: str, copy: Path, use: Use) -> None:
    path = copy / "mf" / "model.safetensors"
    path.write_bytes(TENSORS[what](plain(path)))
    reseal(copy / "mf")
    assert_refused(use("predict"), path.name)


SAMPLES: dict[str, Callable[[Tensors], bytes]] = {
    "noise": lambda t: random.Random(1).randbytes(5000),
    "no tensors": header(b"{}"),
    "one missing": lambda t: safetensors({k: v for k, v in t.items() if k != "user_noise"}),
    "fewer users": lambda t: safetensors({**t, "users": _rows(t["users"], 1, 3)}),
    "fewer items": lambda t: safetensors({**t, "items": _rows(t["items"], 1, 3)}),
    "fewer samples of users": lambda t: safetensors({**t, "users": _rows(t["users"], 0, 1)}),
    "another rank": lambda t: safetensors({**t, "users": _rows(t["users"], 2, 3)}),
    "one sample": lambda t: safetensors(
        {**t, **{name: _rows(t[name], 0, 1) for name in ("users", "items")}}
    ),
    "no samples": lambda t: safetensors(
        {**t, **{name: _rows(t[name], 0, 0) for name in ("users", "items")}}
    ),
    "fewer noises": lambda t: safetensors({**t, "user_noise": _rows(t["user_noise"], 0, 3)}),
    "not a number": filled(NAN, "users"),
    "infinite": filled(INFINITE, "items"),
    "a noise that is not a number": filled(NAN, "item_noise"),
    "a noise below 0": filled(-1e9, "item_noise"),
    "integers": lambda t: safetensors(
        {k: ("I16" if v[0] == "F16" else v[0], *v[1:]) for k, v in t.items()}
    ),
}


def _rows(tensor: tuple[str, list[int], bytes], axis: int, n: int) -> tuple[str, list[int], bytes]:
    kind, shape, content = tensor
    array = np.frombuffer(content, {"F32": np.float32, "F16": np.float16}[kind]).reshape(shape)
    cut = np.ascontiguousarray(array.take(range(n), axis))
    return kind, list(cut.shape), cut.tobytes()


@pytest.mark.parametrize("what", SAMPLES)
def test_samples_that_are_none_are_refused(what: str, copy: Path, use: Use) -> None:
    path = copy / "mf" / runs.SAMPLES
    path.write_bytes(SAMPLES[what](plain(path)))
    reseal(copy / "mf")
    assert_refused(use("std"), path.name)

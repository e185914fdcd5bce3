"""Where a training computes."""

import torch

from cfcli.core.errors import MachineError


def devices() -> list[str]:
    """Those of this machine, the fastest first."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    return [device for device, is_there in there.items() if is_there]


def choose_device(wanted: str) -> str:
    """``auto`` as CUDA, else MPS, else CPU; others as they are.

    Raises:
        MachineError: this machine has no such device.
    """
    if wanted == "auto":
        return devices()[0]
    if wanted not in devices():
        raise MachineError(
            f"device {wanted}: not on this machine; --device auto takes what is there"
        )
    return wanted

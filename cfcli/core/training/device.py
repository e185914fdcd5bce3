"""Where a training computes."""

import torch

from cfcli.core.errors import MachineError


def devices() -> list[str]:
    """The devices of this machine, the fastest first."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(wanted: str) -> str:
    """The device to train on.

    Args:
        wanted: ``cuda``, ``mps``, ``cpu``, or ``auto`` for the fastest of this machine.

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

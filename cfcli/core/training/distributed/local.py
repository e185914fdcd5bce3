"""Processes that Lightning starts. Those of one machine hear no other."""

import os
import socket
import sys

import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from cfcli.core.training.distributed import ranks

LOOPBACK = "127.0.0.1"


def stay_inside() -> None:
    """Makes the libraries by which ranks talk listen on the loopback interface alone."""
    name = "lo0" if sys.platform == "darwin" else "lo"
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", name)


class Launcher(LightningEnvironment):
    """Lightning's launcher, also where it would find another in the environment.

    Args:
        nodes: machines. On one, ranks find each other by a store that listens on the loopback
            interface alone; torch's own would listen on all.
    """

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.is_inside = nodes == 1

    @property
    def main_address(self) -> str:
        return LOOPBACK if self.is_inside else super().main_address

    @property
    def main_port(self) -> int:
        if "LOCAL_RANK" not in os.environ:  # before the others are started
            os.environ[ranks.FIRST] = str(os.getpid())
        if self.is_inside:
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # torch then starts no store
        if self.is_inside and self._main_port < 0 and not self.local_rank():
            server = socket.create_server((LOOPBACK, int(os.environ.get("MASTER_PORT", 0))))
            self._main_port = server.getsockname()[1]
            self._store = dist.TCPStore(
                LOOPBACK,
                self._main_port,
                is_master=True,
                wait_for_workers=False,
                master_listen_fd=server.detach(),
            )
        return super().main_port

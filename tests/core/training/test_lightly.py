"""Lightning is imported without what is not needed, and as ever where that fails or others share
the process."""

import subprocess
import sys

CODE = """
import sys
from cfcli.core.training import lightly
lightly.alone = {alone}
{before}
training = lightly.training()
import pytorch_lightning, torch
import pytorch_lightning.core.module as module
whole = "torchmetrics" in sys.modules and hasattr(sys.modules["torchmetrics"], "__path__")
print(whole, "matplotlib" in sys.modules)
torch._dynamo.reset()  # a name that the stand-in has not: the compiler itself takes its place
print(hasattr(sys.modules["torch._dynamo"], "__path__"), training.fit.__name__)
"""


def run(alone: bool, before: str = "") -> list[str]:
    code = CODE.format(alone=alone, before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_process_of_its_own_goes_without() -> None:
    assert run(True) == ["False", "False", "True", "fit"]


def test_a_process_of_others_has_all() -> None:
    assert run(False)[0] == "True"


def test_a_lightning_that_wants_more_gets_it() -> None:
    # It has no Metric, and cannot get one as long as it is there.
    broken = "lightly._stand_in('torchmetrics')"
    refuse = (
        "lightly._StandIn.__getattr__ = "
        "lambda self, name: (_ for _ in ()).throw(AttributeError(name))"
    )
    assert run(True, f"{refuse}; {broken}")[0] == "True"

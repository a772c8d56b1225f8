"""A feedback step in PyTorch as public Meta Pseudo Labels code writes it: a difference of losses.

The labels are hard and the sign is old minus new, so that it works; otherwise it is the usual
program: the labeled loss of the student before and after its step, without gradients.
"""

import time
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.cases import Case, threads
from benchmarks.torch_side import CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY, Task, tensors


class TorchFeedback:
    """Teacher and student of one case.

    Args:
        case: sizes; its network is the encoder with the AU head.
        sizes: as ``cases.sizes`` tells them.
        form: ``contiguous`` or ``channels_last``.
    """

    def __init__(self, case: Case, sizes: dict[str, Any], form: str) -> None:
        torch.set_num_threads(threads())
        torch.manual_seed(0)
        plain = Case("b1", case.side, case.batch, case.model)
        layout = torch.channels_last if form == "channels_last" else torch.contiguous_format
        space = SimpleNamespace(**sizes)
        self.teacher: Any = Task(plain, space).to(memory_format=layout)
        self.student: Any = Task(plain, space).to(memory_format=layout)
        self.student.load_state_dict(self.teacher.state_dict())
        found = tensors(plain, space)
        self.images = found["image"].contiguous(memory_format=layout)
        self.labels = found["labels"]
        self.optimizers = [
            torch.optim.AdamW(
                net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
            )
            for net in (self.teacher, self.student)
        ]

    def _logits(self, net: Any) -> torch.Tensor:
        return net({"image": self.images, "labels": self.labels}, loss=False)

    def _step(self, which: int, net: Any, loss: torch.Tensor) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP_NORM, foreach=True)
        self.optimizers[which].step()
        self.optimizers[which].zero_grad()

    def train(self) -> float:
        """Seconds of one step of both."""
        began, entropy = time.perf_counter(), functional.binary_cross_entropy_with_logits
        unlabeled, labeled = self._logits(self.teacher), self._logits(self.teacher)
        pseudo = (unlabeled.detach() >= 0).float()
        with torch.no_grad():
            old = entropy(self._logits(self.student), self.labels)
        self._step(1, self.student, entropy(self._logits(self.student), pseudo))
        with torch.no_grad():
            new = entropy(self._logits(self.student), self.labels)
        coefficient = 1.0 if float(old - new) > 0 else -0.1
        loss = coefficient * entropy(unlabeled, pseudo) + entropy(labeled, self.labels)
        self._step(0, self.teacher, loss)
        return time.perf_counter() - began

    def device_peak(self) -> int:
        """0: the host's memory counts."""
        return 0

"""PyTorch side of the benchmarks: the same trainings, in each mode that a user may choose."""

import time
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.cases import AUS, Case, arrays, threads
from benchmarks.torch_networks import (
    DWUNet,
    PIDecoder,
    efficientnet,
    resize,
    timm_efficientnet,
)

#: Weights of L_AU, L_PI and L_AP in the step of ``piap``.
WEIGHTS = (0.5, 0.45, 0.05)
LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 1e-3, 1e-4, 1.0
#: How a user may run it; ``contiguous`` is PyTorch's default.
FORMS = ("contiguous", "channels_last")


class Task(nn.Module):
    """The networks of one case, with what each of them learns from.

    Args:
        case: which networks.
        sizes: as ``cases.sizes`` tells them.
        random: False turns dropout and stochastic depth off.
        timm: the encoder is timm's.
    """

    def __init__(self, case: Case, sizes: SimpleNamespace, *, random: bool = True, timm=False):
        super().__init__()
        self.case, self.sizes = case, sizes
        for name in ("mean", "std"):
            value = torch.tensor(getattr(sizes, name)).reshape(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        if case.network in ("b1", "piap"):
            make = timm_efficientnet if timm else efficientnet
            self.encoder = make(AUS, sizes) if timm else make(AUS, sizes, random=random)
        if case.network in ("decoder", "piap"):
            self.decoder = PIDecoder(AUS, case.side, sizes.vector, sizes)
        if case.network in ("unet", "piap"):
            self.generator = DWUNet(AUS, sizes)
        if case.network == "piap":
            self.identity = efficientnet(AUS, sizes)
            for frozen in (self.generator, self.identity):
                frozen.requires_grad_(False)

    def train(self, mode: bool = True) -> "Task":
        """Frozen networks stay in eval mode."""
        super().train(mode)
        if self.case.network == "piap":
            self.generator.eval()
            self.identity.eval()
        return self

    def forward(self, batch: dict[str, torch.Tensor], *, loss: bool) -> torch.Tensor:
        """The loss of a batch, or what the network says of it."""
        if self.case.network == "piap":
            return self._piap(batch) if loss else self._vector_and_logits(batch["image"])[1]
        if self.case.network == "b1":
            logits, truth = self.encoder(self._normal(batch["image"])), batch["labels"]
        elif self.case.network == "unet":
            logits, truth = self.generator(self._normal(batch["image"])), batch["maps"]
        else:
            logits, truth = self.decoder(batch["features"]), batch["maps"]
        return functional.binary_cross_entropy_with_logits(logits, truth) if loss else logits

    def _normal(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std

    def _features(self, encoder: Any, images: torch.Tensor) -> torch.Tensor:
        size = (self.sizes.encoder_size,) * 2
        return encoder.extract_features(self._normal(resize(images, size)))

    def _vector_and_logits(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self._features(self.encoder, images)
        vector = features.mean((2, 3))
        return vector, self.encoder._fc(self.encoder._dropout(vector)), features

    def _piap(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        images = batch["image"]
        with torch.no_grad():
            maps = torch.sigmoid(self.generator(self._normal(images)))
            identity = self._features(self.identity, images).mean((2, 3))
        vector, logits, features = self._vector_and_logits(images)
        cross_entropy = functional.binary_cross_entropy_with_logits
        cosine = functional.cosine_similarity(vector, identity)
        losses = (
            cross_entropy(logits, batch["labels"]),
            cross_entropy(self.decoder(features), maps),
            -torch.log1p(-cosine.abs()).mean(),
        )
        return sum((w * loss for w, loss in zip(WEIGHTS, losses, strict=True)), torch.zeros(()))


def tensors(case: Case, sizes: SimpleNamespace) -> dict[str, torch.Tensor]:
    """The batch of ``cases.arrays``, channels first."""
    found = {}
    for name, array in arrays(case, vars(sizes)).items():
        tensor = torch.from_numpy(array)
        found[name] = tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor
    return found


class TorchSide:
    """Runs one case in one form.

    Args:
        case: what to run.
        sizes: as ``cases.sizes`` tells them.
        form: ``contiguous`` or ``channels_last``, with ``+compile`` through torch.compile.
        half: bfloat16 by autocast.
        timm: the encoder is timm's.
    """

    def __init__(
        self, case: Case, sizes: dict[str, Any], form: str, *, half: bool = False, timm=False
    ) -> None:
        torch.set_num_threads(threads())
        torch.manual_seed(0)
        space = SimpleNamespace(**sizes)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.half = half
        self.task = Task(case, space, timm=timm).to(self.device)
        self.batch = {k: v.to(self.device) for k, v in tensors(case, space).items()}
        if form.startswith("channels_last"):
            # torch's annotations know no module here
            self.task: Any = self.task.to(memory_format=torch.channels_last)
            for name, tensor in self.batch.items():
                if tensor.ndim == 4:
                    self.batch[name] = tensor.contiguous(memory_format=torch.channels_last)
        self.call = torch.compile(self.task) if form.endswith("+compile") else self.task
        if case.network == "decoder":
            self.batch["features"].requires_grad_()
        self.params = [p for p in self.task.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.params, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )

    def _run(self, *, loss: bool) -> torch.Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            return self.call(self.batch, loss=loss)

    def forward(self) -> float:
        """Seconds of one forward pass in eval mode."""
        self.task.eval()
        began = time.perf_counter()
        with torch.inference_mode():
            self._run(loss=False)
        return self._since(began)

    def train(self) -> float:
        """Seconds of one training step: gradients, their norm clipped, AdamW."""
        self.task.train()
        began = time.perf_counter()
        self._run(loss=True).backward()
        nn.utils.clip_grad_norm_(self.params, CLIP_NORM, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.batch["features"].grad = None
        return self._since(began)

    def _since(self, began: float) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def device_peak(self) -> int:
        """Bytes that the device held at most; 0 where it is the host."""
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else 0

    def operations(self) -> float:
        """Floating-point operations of forward and backward pass, two a multiply-add."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.task(self.batch, loss=True).backward()
        return float(counter.get_total_flops())

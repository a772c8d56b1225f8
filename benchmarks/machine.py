"""An assumed machine, and how long a step takes on so many of its devices."""

import dataclasses
import math
from typing import NamedTuple

from benchmarks.step_cost import Total


@dataclasses.dataclass(frozen=True)
class Machine:
    """Hosts of some devices each; every number is assumed unless it says otherwise.

    Attributes:
        devices_per_host: joined by fast links.
        tflops: peak of a device, 10^12 operations a second, two a multiply-add.
        utilization: share of it that the networks reach.
        link_gbs: 10^9 bytes a second that a device sends to another of its host.
        network_gbs: the same to a device of another host.
        launch_us: microseconds of a reduction before anything is sent.
        hop_us: of a message inside a host.
        network_hop_us: of a message between hosts.
        jpeg_kb: 10^3 bytes of a compressed image; measured on drawn faces.
        core_rate: images a second that a core reads for feedback; measured, see ``benchmarks/README.md``.
    """

    devices_per_host: int = 8
    tflops: float = 312.0
    utilization: float = 0.1
    link_gbs: float = 300.0
    network_gbs: float = 25.0
    launch_us: float = 10.0
    hop_us: float = 2.0
    network_hop_us: float = 5.0
    jpeg_kb: float = 25.0
    core_rate: float = 911.0

    def compute(self, multiply_adds: float) -> float:
        """Seconds of so many multiply-adds on one device."""
        return 2 * multiply_adds / (self.tflops * 1e12 * self.utilization)

    def wait(self, devices: int) -> float:
        """Seconds of a reduction of next to nothing: up a tree of the devices and down again."""
        if devices == 1:
            return 0.0
        inside = min(devices, self.devices_per_host)
        hops = math.log2(inside) * self.hop_us
        hops += math.log2(devices / inside) * self.network_hop_us
        return 1e-6 * (self.launch_us + 2 * hops)

    def send(self, size: float, devices: int) -> float:
        """Seconds that a ring takes for the bytes of a reduction: 2 (n - 1) / n of them pass each link."""
        link = self.link_gbs if devices <= self.devices_per_host else self.network_gbs
        return 2 * (devices - 1) / devices * size / (link * 1e9)


class Step(NamedTuple):
    """Seconds of one step, and what follows from them.

    Attributes:
        devices: n.
        images: labeled images a device, and as many unlabeled.
        compute: seconds of arithmetic.
        send: seconds of the bytes of all reductions.
        wait: seconds of the latency of all reductions.
    """

    devices: int
    images: int
    compute: float
    send: float
    wait: float

    @property
    def seconds(self) -> float:
        """Nothing overlaps."""
        return self.compute + self.send + self.wait

    @property
    def efficiency(self) -> float:
        """Share of the step that is arithmetic, all that one device alone would do."""
        return self.compute / self.seconds


def predict(machine: Machine, step: Total, devices: int, images: int) -> Step:
    """One step of a data-parallel training.

    Args:
        machine: assumed.
        step: operations and reductions.
        devices: n.
        images: labeled images a device, and as many unlabeled.

    Returns:
        The step's seconds.
    """
    return Step(
        devices,
        images,
        machine.compute(step.work.of(images).multiply_adds),
        machine.send(step.reduced, devices),
        step.collectives * machine.wait(devices),
    )

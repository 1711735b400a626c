"""The harness of the second device itself, and everything that must run on a device."""

import pytest
import torch
from second_device import SecondDevice

ON_BOTH = torch.arange(12.0).view(3, 4)


# --- the harness


@pytest.mark.parametrize(
    "mix",
    [
        lambda cpu, fake: cpu + fake,
        lambda cpu, fake: torch.cat([fake, cpu]),
        lambda cpu, fake: fake.where(cpu > 3, fake),
        lambda cpu, fake: cpu[fake.long()[0] % 3],
        lambda cpu, fake: fake.index_add_(0, torch.tensor([0, 1, 2]), fake),
        lambda cpu, fake: cpu.add_(fake),
        lambda cpu, fake: torch.nn.functional.linear(fake, cpu),
    ],
    ids=["add", "cat", "where", "index of the CPU", "index_add", "in place", "linear"],
)
def test_mixing_devices_raises(mix):
    cpu = ON_BOTH.clone()
    with SecondDevice():
        fake = cpu.to("fake")
        with pytest.raises(RuntimeError, match="expected all tensors on one device"):
            mix(cpu, fake)


def test_what_a_device_takes_from_the_cpu():
    with SecondDevice():
        fake = ON_BOTH.to("fake")
        assert fake.device.type == "fake" and fake.cpu().device.type == "cpu"
        assert torch.equal((fake * torch.tensor(2.0)).cpu(), ON_BOTH * 2)
        assert torch.equal(fake[torch.tensor([2, 0])].cpu(), ON_BOTH[[2, 0]])
        fake[1] = ON_BOTH[0]
        assert fake[1].tolist() == [0, 1, 2, 3] and ON_BOTH[1].tolist() == [4, 5, 6, 7]


def test_arrays_do_not_come_from_a_device():
    with SecondDevice():
        with pytest.raises(TypeError, match="second device to numpy"):
            ON_BOTH.to("fake").numpy()


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("item", lambda fake: bool(fake.sum() > 3)),
        ("item", lambda fake: float(fake[1, 2])),
        ("item", lambda fake: torch.equal(fake, fake)),
        ("nonzero", lambda fake: fake.nonzero()),
        ("nonzero", lambda fake: fake[fake > 3]),
        ("nonzero", lambda fake: fake.__setitem__(fake > 3, fake[fake > 3].sum().expand(8))),
        ("unique", lambda fake: fake.unique()),
        ("bincount", lambda fake: fake.flatten().long().bincount()),
        ("nms", lambda fake: torch.ops.torchvision.nms(fake, fake[:, 0], 0.5)),
        ("tolist", lambda fake: fake.tolist()),
        ("copy", lambda fake: fake.cpu()),
        ("copy", lambda fake: ON_BOTH.to("fake")),
        ("copy", lambda fake: torch.tensor([1, 2], device="fake")),
        ("copy", lambda fake: fake[[0, 1]]),
        ("copy", lambda fake: fake.copy_(ON_BOTH)),
        ("repeat_interleave", lambda fake: fake.long()[0].repeat_interleave(fake.long()[0])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_the_host_wait_is_counted(name, work):
    with SecondDevice() as device:
        fake = ON_BOTH.to("fake")
        device.waits.clear()
        work(fake)
        assert device.waits[name] >= 1


def test_what_lets_the_host_go_on_is_not_counted():
    with SecondDevice() as device:
        fake = ON_BOTH.to("fake")
        device.waits.clear()
        fake[fake > 3] = 0  # a masked fill
        torch.zeros(3, device="fake")
        fake.topk(2)
        ON_BOTH.to("fake", non_blocking=True)
        fake.long()[0].repeat_interleave(fake.long()[0] + 1, output_size=10)
        assert device.waits.total() == 0

import torch

from videomae_train.training.meter import Meter


def test_sums__leave_out_losses_that_are_not_finite() -> None:
    meter = Meter()
    for loss in (1.0, float("nan"), 2.0, float("inf")):
        meter.add(torch.tensor(loss), clips=3)
    assert meter.sums().tolist() == [3.0, 2.0, 12.0]
    meter.restart()
    meter.add(torch.tensor(5.0), clips=1)
    assert meter.sums().tolist() == [5.0, 1.0, 1.0]


def test_stopped__leaves_no_time_behind(monkeypatch) -> None:
    now = iter([0.0, 10.0, 110.0, 111.0, 112.0])
    monkeypatch.setattr("videomae_train.training.meter.time.perf_counter", lambda: next(now))
    meter = Meter()
    with meter.stopped():  # from 10 to 110
        pass
    meter.data_arrived()  # at 111: 11 seconds of waiting
    assert meter.restart() == (12.0, 11.0)


def test_restored_losses__join_those_of_another_device() -> None:
    """A checkpoint's lie on the CPU; meta, which has no values, stands for a GPU."""
    meter = Meter()
    meter.restore_losses(torch.tensor([3.0, 2.0]))
    meter.add(torch.zeros((), device="meta"), clips=1)
    assert meter.sums().device.type == "meta"

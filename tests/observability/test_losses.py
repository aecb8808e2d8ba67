"""What is lost of telemetry is added up, and stays counted when its source has ended."""

from parquedb.observability.losses import Losses


def test_losses_add_up_and_never_fall() -> None:
    losses, lost = Losses(), [2, 3]
    ends = [losses.count(lambda: lost[0]), losses.count(lambda: lost[1])]
    assert losses.lost() == 5
    lost[0] = 4
    ends[0]()
    lost[0] = 100
    assert losses.lost() == 7
    ends[0]()
    ends[1]()
    assert losses.lost() == 7

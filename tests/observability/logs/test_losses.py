"""What is lost of the logs is added up, and stays counted when its source has ended."""

from parquedb.observability.logs.losses import count_losses, records_lost


def test_losses_add_up_and_never_fall():
    before, lost = records_lost(), [2, 3]
    ends = [count_losses(lambda: lost[0]), count_losses(lambda: lost[1])]
    assert records_lost() - before == 5
    lost[0] = 4
    ends[0]()
    lost[0] = 100
    assert records_lost() - before == 7
    ends[0]()
    ends[1]()
    assert records_lost() - before == 7

from orchestrator.plan.durations import duration


def test_durations_read_well():
    assert [duration(seconds) for seconds in (4, 89, 600, 9000)] == ["4 s", "89 s", "10 min", "2.5 h"]

import pytest

from experiments.detection.finding import Looking, Share
from experiments.detection.settings import PastEnd, Selection, Settings


def chosen(times, **settings):
    select, found = Selection(Settings(finder="mesh", **settings)), []
    for number, time in enumerate(times):
        try:
            if select(number, time):
                found.append(number)
        except PastEnd:
            break
    return found


CONSTANT = [k / 25 for k in range(75)]


def test_all_frames_and_every_third():
    assert chosen(CONSTANT) == list(range(75))
    assert chosen(CONSTANT, every=3) == list(range(0, 75, 3))


def test_start_and_end_are_seconds():
    # 1.0 s is frame 25, 2.0 s frame 50, which is out.
    assert chosen(CONSTANT, start=1.0, end=2.0) == list(range(25, 50))
    assert chosen(CONSTANT, start=0.99, end=1.01) == [25]


def test_frames_a_second():
    # By hand: at 5 a second of 25 every fifth; at 10 the first at or after each tenth of a second.
    assert chosen(CONSTANT, fps=5) == list(range(0, 75, 5))
    assert chosen(CONSTANT[:11], fps=10) == [0, 3, 5, 8, 10]
    assert chosen(CONSTANT, fps=100) == list(range(75))
    # A variable rate: two frames in one tick, a gap of several.
    assert chosen([0.0, 0.1, 0.3, 1.2, 1.25, 3.9], fps=1) == [0, 3, 5]


def test_pictures_have_no_time():
    assert chosen([None] * 7, every=2, start=5.0, end=6.0, fps=1) == [0, 2, 4, 6]


@pytest.mark.parametrize("of", [1, 2, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_processes_share_the_blocks_and_see_the_frame_before_each(of, first):
    settings = Settings(finder="mesh", batch=4, every=2)
    seen = {}
    for place in range(of):
        share = Share(place, of, first)
        looking = Looking(settings, share)
        for number, time in enumerate(CONSTANT[:40]):
            if looking(number, time):
                seen.setdefault(number, []).append((looking.block, share.has(looking.block)))
        assert looking.selected == 20
    # 20 frames in five blocks of four: frame 2k is in block k // 4.
    own = {number: [block for block, mine in found if mine] for number, found in seen.items()}
    wanted = {2 * k: [k // 4] for k in range(4 * first, 20)}
    assert {number: blocks for number, blocks in own.items() if blocks} == wanted
    before = {2 * k for k in range(3, 20, 4) if k // 4 + 1 >= first}
    assert {n for n, found in seen.items() if len(found) > len(own[n]) or not own[n]} <= before
    assert before <= seen.keys()

"""Published counts of BP4D, DISFA, AFEW-VA, CASIA-WebFace and LFW, with which ``validate`` compares."""

from typing import NamedTuple

from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS
from piapdf_jax.folds import BP4D_PARTS, BP4D_TASKS, DISFA_PARTS, DISFA_SUBJECTS

#: Coded frames a part, as ME-GraphAU's lists count them.
BP4D_FRAMES = {1: 50_631, 2: 50_182, 3: 46_034}
DISFA_FRAMES = {1: 43_604, 2: 43_605, 3: 43_605}


class Counts(NamedTuple):
    """Published counts of coded frames.

    Attributes:
        aus: the action units that are counted, in the order of ``positives``.
        parts: participants by part.
        frames: by part, in ME-GraphAU's lists; those of participants and tasks add up to the same.
        subjects: by participant.
        tasks: by task; empty where a data set has none.
        positives: by part, the frames that show each unit. ME-GraphAU's class weights are 1 / rate on two parts,
            normalized; these are the only whole numbers that give all of them to the sixth decimal (DISFA: the
            smallest).
        tracked: by part, in JAA-Net's lists, which lack the frames in which its tracker lost the face.
    """

    aus: tuple[int, ...]
    parts: dict[int, list[str]]
    frames: dict[int, int]
    subjects: dict[str, int]
    tasks: dict[str, int]
    positives: dict[int, tuple[int, ...]]
    tracked: dict[int, int]


BP4D_COUNTS = Counts(
    aus=BP4D_AUS,
    parts=BP4D_PARTS,
    frames=BP4D_FRAMES,
    subjects={
        "F001": 3934, "F002": 3937, "F008": 3695, "F009": 3297, "F010": 3266, "F016": 3510, "F018": 3525,
        "F023": 3726, "M001": 4153, "M004": 3521, "M007": 3684, "M008": 3291, "M012": 3609, "M014": 3483,
        "F003": 3700, "F005": 3915, "F011": 3732, "F013": 3434, "F020": 3646, "F022": 3593, "M002": 3833,
        "M005": 3271, "M010": 3298, "M011": 3469, "M013": 3613, "M016": 3648, "M017": 3542, "M018": 3488,
        "F004": 3737, "F006": 3576, "F007": 3573, "F012": 3543, "F014": 3490, "F015": 3451, "F017": 3823,
        "F019": 3489, "F021": 3447, "M003": 3379, "M006": 3572, "M009": 3290, "M015": 3664,
    },
    tasks=dict(
        zip(BP4D_TASKS, (20_074, 20_837, 12_821, 20_208, 20_795, 19_553, 20_339, 12_220), strict=True)
    ),
    positives={
        1: (8322, 8172, 10085, 21055, 29862, 29183, 28277, 20274, 7664, 16080, 8023, 7076),
        2: (10223, 6568, 9870, 23312, 27651, 27954, 26187, 25762, 10024, 18379, 8657, 7867),
        3: (12497, 10370, 9800, 23309, 23103, 30133, 28066, 22339, 7181, 15947, 7608, 7286),
    },
    tracked={1: 50_601, 2: 50_166, 3: 45_809},
)  # fmt: skip
DISFA_COUNTS = Counts(
    aus=DISFA_AUS,
    parts=DISFA_PARTS,
    frames=DISFA_FRAMES,
    # One picture of SN010 is missing.
    subjects=dict.fromkeys(DISFA_SUBJECTS, 4845) | {"SN010": 4844},
    tasks={},
    positives={
        1: (1839, 1125, 5119, 2360, 1218, 4503, 10850, 4902),
        2: (1469, 879, 6653, 3558, 1287, 6187, 13206, 4123),
        3: (3198, 3640, 8161, 4409, 2968, 6161, 12191, 2508),
    },
    tracked={1: 43_173, 2: 40_344, 3: 42_627},
)

#: Published sizes of the data sets without coded frames.
SIZES: dict[str, dict[str, int]] = {
    "afew_va": {"clips": 600},
    "casia_webface": {"people": 10_575, "pictures": 494_414},
    "lfw_pairs": {"people": 5749, "pictures": 13_233, "pairs": 6000, "blocks": 10},
}
#: AFEW-VA's frames, of which only a round number is known.
AFEW_VA_FRAMES_ABOUT = 30_000

"""How hard a simulated run is: the plans, and what one seed draws within its plan."""

import random
from dataclasses import dataclass

from parquedb.settings import KIB, MIB, EngineSettings
from tests.support.sim_store import Weather

NAMESPACE = "posts"
IDS = [f"doc{number}" for number in range(9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How hard one run is."""

    name: str = "plain"
    hosts: int = 3
    clients: int = 3
    duration_s: float = 12.0
    fault_max: float = 0.05
    pause_max_s: float = 3.0
    takeover_s: float = 2.5
    ops_pause_s: float = 0.06
    readers: int = 0
    """Clients that only read: an owner that never writes meets its fence late."""
    wander: float = 0.03
    """How often a client turns to another host for no reason."""
    hunted: bool = False
    """Whether it is the owner that gets paused, and a rival opens at once."""
    handed: bool = False
    """Whether owners often close, and another opens at once."""
    damage_max: float = 0.0
    """How often a read returns a part or an altered copy of an object, at most."""
    spoils: bool = False
    """Whether stored objects are altered or lost for a while."""
    loaders: int = 0
    holders: int = 0
    followers: int = 0
    pagers: int = 0
    many: bool = False
    """Whether clients write by filter."""
    past: bool = False
    """Whether clients read the past."""
    graces_s: tuple[float, ...] = (1.0, 2.0)
    """How long superseded files stay; a snapshot's lease is a quarter of it."""
    merges_s: tuple[float, ...] = (0.2, 0.7)
    """How often owners look for files to merge."""
    windows_s: tuple[float, ...] = (1.0, 7 * 86_400)
    """How long history is kept."""
    schemas: bool = False
    """Whether schemas are registered."""


PLAIN = Plan()
STORM = Plan(name="storm", hosts=4, fault_max=0.12, takeover_s=1.2)
BUSY = Plan(name="busy", hosts=2, fault_max=0.02, takeover_s=4.0, ops_pause_s=0.03, duration_s=8.0)
SPLIT = Plan(
    name="split", clients=4, readers=2, fault_max=0.01, takeover_s=0.8, wander=0.15, pause_max_s=0.5, duration_s=8.0
)
TIGHT = Plan(name="tight", fault_max=0.02, takeover_s=2.0, pause_max_s=7.0, hunted=True, ops_pause_s=0.04)
LOADS = Plan(
    name="loads", clients=2, loaders=3, holders=1, many=True, schemas=True, fault_max=0.03, takeover_s=2.0,
    merges_s=(0.03, 0.2), duration_s=7.0,
)  # fmt: skip
HELD = Plan(
    name="held", hosts=2, clients=2, loaders=1, holders=3, many=True, fault_max=0.005, takeover_s=8.0, pause_max_s=0.3,
    graces_s=(1.0, 1.5), merges_s=(0.05, 0.2), windows_s=(1.0,), handed=True, duration_s=14.0,
)  # fmt: skip
PAST = Plan(
    name="past", clients=2, followers=2, pagers=1, holders=1, loaders=1, past=True, many=True, schemas=True,
    fault_max=0.03, takeover_s=1.5, hunted=True, duration_s=7.0,
)  # fmt: skip
ROT = Plan(
    name="rot", clients=2, followers=1, holders=1, loaders=1, past=True, many=True, fault_max=0.02, damage_max=0.02,
    spoils=True, takeover_s=1.5, duration_s=7.0,
)  # fmt: skip
PLANS = (PLAIN, STORM, BUSY, SPLIT, TIGHT, LOADS, HELD, PAST, ROT)


def draw_weather(rng: random.Random, plan: Plan) -> Weather:
    """Return how badly the network of one seed behaves."""
    most = plan.fault_max
    return Weather(
        lost_request=rng.uniform(0, most),
        lost_reply=rng.uniform(0, most),
        late=rng.uniform(0, most),
        duplicate=rng.uniform(0, most),
        conflict=rng.uniform(0, most),
        unavailable=rng.uniform(0, most),
        unavailable_applied=rng.uniform(0, most),
        refused=rng.uniform(0, most / 2),
        stall=rng.uniform(0, most),
        truncated=rng.uniform(0, plan.damage_max),
        altered=rng.uniform(0, plan.damage_max),
        page_max=rng.choice([2, 7, 1000]),
    )


def draw_settings(rng: random.Random, plan: Plan) -> EngineSettings:
    """Return the settings of one seed's owners: everything small, so that everything happens."""
    return EngineSettings(
        read_lease_s=rng.choice([0.0, 0.1, 0.2, 0.4]),
        checkpoint_entries_max=rng.choice([3, 8]),
        flush_rows=rng.choice([3, 10]),
        flush_interval_s=rng.choice([0.5, 2.0]),
        log_grace_s=1.0,
        snapshot_grace_s=rng.choice(plan.graces_s),
        history_window_s=rng.choice(plan.windows_s),
        collect_interval_s=0.3,
        compaction_interval_s=rng.choice(plan.merges_s),
        compaction_files=2,
        compaction_dead_share=rng.choice([0.1, 0.4]),
        compaction_file_bytes=rng.choice([KIB, MIB, MIB]),
        compaction_bytes_max=MIB,
        session_window=8,
        sessions_max=rng.choice([2, 1000]),
        session_idle_s=rng.choice([1, 60]),
        request_ids_max=rng.choice([10, 1000]),
        request_id_window_s=rng.choice([2, 60]),
        request_timeout_s=1.0,
        queue_ops_max=rng.choice([4, 1000]),
        group_ops_max=rng.choice([1, 4]),
        cache_bytes_max=rng.choice([0, 1 << 20]),
    )

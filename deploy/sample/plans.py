"""Who is in the sample programme and what they plan. All of it is illustrative; days count from the story's own."""

from typing import Final, NamedTuple

PROGRAMME: Final = "ulyanovsk-medical-cluster"
SEZ_PARK, NTM_PARK = "sez-industrial-park", "ntm-industrial-park"
PARTICIPANT: Final = "participant"

ZONE: Final = "//sez.ulyanovsk.example"
PERMITS: Final = "//permit-office.ulyanovsk.example"
REGION: Final = "//investment-agency.ulyanovsk.example"
NTM: Final = "//erp.ntm-group.example"
BAOJI: Final = "//erp.baoji-holding.example"

# The SEZ park's opening, in days from the story's: as planned, and as estimated when it slips.
SEZ_OPENS, SEZ_SLIPS_TO = 45, 87
NTM_OPENS: Final = 420
ANONYMOUS: Final = 16
SAID_BEFORE: Final = 60


class Tenant(NamedTuple):
    """A participant that launches production in a park; days are counted from the story's."""

    project: str
    park: str
    #: Negative when it has leased its site already.
    leased: int
    #: From the park's opening to the launch, at least.
    lag: int
    #: What its plan leaves on top.
    spare: int


TENANTS: Final = (
    Tenant("baoji-holding", SEZ_PARK, -40, 90, 7),
    Tenant("tomographic-scanners", SEZ_PARK, 14, 120, 10),
    Tenant("participant-01", SEZ_PARK, -30, 60, 0),
    Tenant("participant-02", SEZ_PARK, -28, 60, 5),
    Tenant("participant-03", SEZ_PARK, -12, 75, 14),
    Tenant("participant-04", SEZ_PARK, 7, 90, 3),
    Tenant("participant-05", SEZ_PARK, 21, 100, 20),
    Tenant("participant-06", NTM_PARK, 300, 90, 10),
    Tenant("participant-07", NTM_PARK, 320, 90, 30),
    Tenant("participant-08", NTM_PARK, 340, 120, 15),
)


class Work(NamedTuple):
    """A milestone and its dates, in days from the story's."""

    source: str
    project: str
    milestone: str
    planned: int
    estimated: int | None = None
    actual: int | None = None


WORKS: Final = (
    # The two gates
    Work(ZONE, SEZ_PARK, "design-completed", -205, actual=-200),
    Work(ZONE, SEZ_PARK, "construction-started", -160, actual=-150),
    Work(ZONE, SEZ_PARK, "park-commissioned", SEZ_OPENS, SEZ_OPENS),
    Work(NTM, NTM_PARK, "design-completed", 20, 34),
    Work(NTM, NTM_PARK, "construction-started", 60),
    Work(NTM, NTM_PARK, "park-commissioned", NTM_OPENS),
    # The makers with a memorandum
    Work(REGION, "device-maker-a", "agreement-signed", 30),
    Work(REGION, "device-maker-b", "agreement-signed", 45),
    Work(REGION, "device-maker-c", "agreement-signed", 40, 75),
    # Permits
    Work(PERMITS, "baoji-holding", "permit-approved", -20, actual=-18),
    Work(PERMITS, "participant-01", "permit-approved", -20, actual=-21),
    Work(PERMITS, "participant-04", "permit-approved", 20),
    Work(PERMITS, "participant-09", "permit-approved", -9),
    # Those who need neither park
    Work(ZONE, "participant-09", "production-launched", 120),
    Work(ZONE, "participant-10", "equipment-installed", -35, actual=-30),
    Work(ZONE, "participant-10", "production-launched", 15),
    Work(ZONE, "participant-11", "production-launched", -90, actual=-80),
    Work(ZONE, "participant-12", "production-launched", -200, actual=-203),
    Work(ZONE, "participant-13", "equipment-installed", 25, 33),
    Work(ZONE, "participant-13", "production-launched", 90),
    Work(ZONE, "participant-14", "construction-started", -50, actual=-50),
    Work(ZONE, "participant-14", "production-launched", 200),
    Work(ZONE, "participant-15", "equipment-installed", -5),
    Work(ZONE, "participant-15", "production-launched", 50),
    Work(ZONE, "participant-16", "production-launched", -300, actual=-290),
)

#: What waits for what within a project, and for how many days.
CHAINS: Final = (
    (ZONE, SEZ_PARK, "park-commissioned", "construction-started", 180),
    (NTM, NTM_PARK, "construction-started", "design-completed", 30),
    (NTM, NTM_PARK, "park-commissioned", "construction-started", 330),
    (ZONE, "participant-10", "production-launched", "equipment-installed", 30),
    (ZONE, "participant-13", "production-launched", "equipment-installed", 30),
    (ZONE, "participant-15", "production-launched", "equipment-installed", 30),
)

"""How many open milestones wait for each milestone, directly or through other open ones. Contract, section 2.1.

Where few wait for each, a set of them for each milestone is fastest: the sets stay small however large the network is.
Where many do, as in a long chain, the sets would be long; then a set is a number, a bit for each milestone.
"""

from collections.abc import Sequence
from functools import cache
from itertools import compress, count
from operator import ne
from typing import Final

from models.domain.network import Network
from models.domain.topological_order import reachable

#: So many are added to sets, for each milestone of a network, before bits are taken instead.
_MAX_ADDED: Final = 40
#: With more achievements at once than this, all dependents are counted again.
_MAX_INCREMENTAL: Final = 20


def count_dependents(network: Network, actual: Sequence[int], cancelled: Sequence[bool]) -> list[int]:
    """Return how many open milestones wait for each; nothing waits through an achieved or cancelled milestone.

    `actual` is not 0 for each milestone that is achieved.
    """
    counted = count_by_sets(network, actual, cancelled, _MAX_ADDED * len(network.milestones))
    return count_by_bits(network, actual, cancelled) if counted is None else counted


def count_by_sets(
    network: Network, actual: Sequence[int], cancelled: Sequence[bool], max_added: int
) -> list[int] | None:
    """Return the counts; None if more than `max_added` members would be added to sets."""
    predecessors = network.predecessors
    size = len(network.milestones)
    dependents = [0] * size
    sets: list[set[int] | None] = [None] * size
    for index in reversed(network.topological_order):
        if cancelled[index]:
            continue
        behind = sets[index] or set()
        sets[index] = None
        dependents[index] = len(behind)
        if actual[index]:
            continue
        links = predecessors[index]
        behind.add(index)
        max_added -= len(behind) * len(links)
        if max_added < 0:
            return None
        for predecessor, _ in links:
            if known := sets[predecessor]:
                known |= behind
            else:
                sets[predecessor] = behind.copy()
    return dependents


def count_by_bits(network: Network, actual: Sequence[int], cancelled: Sequence[bool]) -> list[int]:
    """Return the counts, however many wait."""
    predecessors = network.predecessors
    size = len(network.milestones)
    dependents = [0] * size
    # The set of open milestones behind each, as bits numbered in the order of this walk, so that no set is longer than
    # the walk so far, and shifted by the lowest possible bit, so that a set within one project is short.
    sets, offsets = [0] * size, [0] * size
    for number, index in enumerate(reversed(network.topological_order)):
        if cancelled[index]:
            continue
        behind, offset = sets[index], offsets[index]
        if behind:
            dependents[index] = behind.bit_count()
            sets[index] = 0
        if actual[index]:
            continue
        if behind:
            behind |= 1 << (number - offset)
        else:
            behind, offset = 1, number
        for predecessor, _ in predecessors[index]:
            if not (known := sets[predecessor]):
                sets[predecessor], offsets[predecessor] = behind, offset
            elif (known_offset := offsets[predecessor]) > offset:
                sets[predecessor], offsets[predecessor] = known << (known_offset - offset) | behind, offset
            else:
                shift = offset - known_offset
                sets[predecessor] = known | (behind << shift if shift else behind)
    return dependents


def update_dependents(
    network: Network,
    previous: list[int],
    previously_actual: Sequence[int],
    actual: Sequence[int],
    cancelled: Sequence[bool],
) -> list[int]:
    """Return the counts, given earlier ones of the same network with the same milestones cancelled."""
    changed = compress(count(), map(ne, previously_actual, actual))
    toggled = {index for index in changed if bool(previously_actual[index]) != bool(actual[index])}
    if len(toggled) > _MAX_INCREMENTAL:
        return count_dependents(network, actual, cancelled)
    if any((previous[index] or not actual[index]) and not cancelled[index] for index in toggled):
        # Others waited through it, or do so now.
        return count_dependents(network, actual, cancelled)
    dependents = previous.copy() if toggled else previous

    # Achievements in one batch mostly lead to the same milestones.
    @cache
    def live_predecessors(index: int) -> list[int]:
        if actual[index] and index not in toggled:
            return []
        return [predecessor for predecessor, _ in network.predecessors[index] if not cancelled[predecessor]]

    for index in toggled:
        if not cancelled[index]:
            for gate in reachable(index, live_predecessors) - {index}:
                dependents[gate] -= 1
    return dependents

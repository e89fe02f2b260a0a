"""Metric families: exports the metrics of a process, and sums those of several processes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.registry import Collector

Samples = Sequence[tuple[str, dict[str, str], float]]
"""Name, labels and value of each sample."""
Family = tuple[str, str, str, Samples]
"""Name, description, type and samples: a form that JSON can express."""

_COUNTED = frozenset({"counter", "histogram"})
_SMALLEST = ("_created", "process_start_time_seconds")
"""Ends of the names of samples that are points in time; the sum is the earliest one."""
_LIMITS = frozenset({"process_max_fds"})
"""Samples that are limits of each process; the sum is the limit of the first one."""


def export_families(collector: Collector) -> list[Family]:
    """Return the families of a registry."""
    return [
        (
            family.name,
            family.documentation,
            family.type,
            [(sample.name, dict(sample.labels), sample.value) for sample in family.samples],
        )
        for family in collector.collect()
    ]


def counted(families: Iterable[Family]) -> list[Family]:
    """Return the families that continue to count after the end of their process."""
    return [family for family in families if family[2] in _COUNTED]


@dataclass(slots=True)
class _Sum:
    description: str
    type: str
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(
        default_factory=dict[tuple[str, tuple[tuple[str, str], ...]], float]
    )

    def add(self, samples: Samples) -> None:
        for name, labels, value in samples:
            key = (name, tuple(labels.items()))
            known = self.values.get(key)
            if known is None:
                self.values[key] = value
            elif name.endswith(_SMALLEST):
                self.values[key] = min(known, value)
            elif name not in _LIMITS:
                self.values[key] = known + value


def sum_families(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """Return the sum of the families of several processes, sample by sample."""
    sums: dict[str, _Sum] = {}
    for families in processes:
        for name, description, type_, samples in families:
            sums.setdefault(name, _Sum(description, type_)).add(samples)
    return [
        (
            name,
            total.description,
            total.type,
            [(sample, dict(labels), value) for (sample, labels), value in total.values.items()],
        )
        for name, total in sums.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class FamilyCollector(Collector):
    """A collector of exported families."""

    families: Sequence[Family]

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        for name, description, type_, samples in self.families:
            metric = Metric(name, description, type_)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric

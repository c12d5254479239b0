"""Which tubes a namespace may see. What it may not is refused in the same words whether it exists or not."""

from collections.abc import Iterable, Sequence

from app.metrics.metric import Evaluation, Question, UnknownMetricError
from app.metrics.rules import Glob

_MOST_PATTERNS = 10
"""That an error names."""


def sight(question: Question, given: Evaluation) -> Glob | None:
    """The tubes that the question's namespace may see; None: all."""
    return given.rules.sight_of(question.namespace)


def check_seen(tubes: Iterable[str], seen: Glob | None, question: Question) -> None:
    """Raises UnknownMetricError where one of the tubes that were named may not be seen."""
    if seen is None:
        return
    for tube in tubes:
        if not seen.matches(tube):
            raise hidden(tube, seen, question)


def check_sees_any(seen: Glob | None, question: Question) -> None:
    """Raises UnknownMetricError where no tube at all may be seen: of those, 0 jobs would be said for ever."""
    if seen is not None and not seen.patterns:
        raise UnknownMetricError(f"namespace {question.namespace!r} may see no tubes: tenancy grants it none")


def hidden(tube: str, seen: Glob, question: Question) -> UnknownMetricError:
    """What is said of such a tube."""
    granted = ", ".join(seen.patterns[:_MOST_PATTERNS]) or "none"
    more = ", …" if len(seen.patterns) > _MOST_PATTERNS else ""
    return UnknownMetricError(
        f"namespace {question.namespace!r} may see no tube {tube!r}; the tubes that it may see: {granted}{more}"
    )


def patterns_seen(tubes: Glob, seen: Glob | None) -> Sequence[str]:
    """A rule's patterns as far as they may be told: a name in them may be a tube that isn't to be seen."""
    if seen is None:
        return tubes.patterns
    return seen.patterns if "*" in tubes.patterns else seen.of(tubes.patterns)

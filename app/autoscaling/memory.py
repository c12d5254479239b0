"""What counts although no object shows it: the controller's earlier wishes, and its changes of the last seconds.

Source: kube-controller-manager 1.36 and 1.37, pkg/controller/podautoscaler/horizontal.go (stabilizeRecommendation,
stabilizeRecommendationWithBehaviors, getReplicasChangePerPeriod). Its conditions tell a part of it.
"""

from app.autoscaling.autoscaler import Autoscaler, Scale
from app.autoscaling.pace import ceiling, earlier_changes_count, longest_period_s
from app.autoscaling.steps import Stage, Step, duration, pods


def stabilised(autoscaler: Autoscaler, scale: Scale, wished: int) -> Step | None:
    """What its earlier wishes make of this one, most likely; None where they don't count."""
    current = scale.wanted
    if _goes_on_growing(autoscaler, scale, wished):
        return _further(autoscaler, current, wished)
    if wished == current or _window_s(autoscaler, upwards=wished > current) == 0:
        return None
    limit = "ScaleUpLimit" if wished > current else "ScaleDownLimit"
    if autoscaler.reports("ScalingLimited", limit):
        return _over(autoscaler, current, wished)
    return _held(autoscaler, current, wished)


def possible(autoscaler: Autoscaler, scale: Scale, wished: int, now_unix_s: float) -> frozenset[int]:
    """Numbers between which its memory may lead it, before policies and limits as the object shows them."""
    current = scale.wanted
    numbers = {wished}
    if wished != current and (
        _window_s(autoscaler, upwards=wished > current)
        or changed_lately(autoscaler, now_unix_s, upwards=wished > current)
    ):
        numbers.add(current)
    if not autoscaler.has_behavior and (_grew_as_fast_as_it_may(autoscaler) or current != autoscaler.desired):
        numbers.add(ceiling(autoscaler, current))
    return frozenset(numbers)


def changed_lately(autoscaler: Autoscaler, now_unix_s: float, *, upwards: bool) -> bool:
    """Whether an earlier change may use up some of what the policies allow now."""
    if autoscaler.scaled_at_s is None or not earlier_changes_count(autoscaler, upwards=upwards):
        return False
    rules = autoscaler.up if upwards else autoscaler.down
    return now_unix_s - autoscaler.scaled_at_s <= longest_period_s(rules)


def _window_s(autoscaler: Autoscaler, *, upwards: bool) -> int:
    if upwards:
        return autoscaler.up.window_s if autoscaler.has_behavior else 0
    return autoscaler.down.window_s


def _goes_on_growing(autoscaler: Autoscaler, scale: Scale, wished: int) -> bool:
    return (
        not autoscaler.has_behavior
        and _grew_as_fast_as_it_may(autoscaler)
        and wished < ceiling(autoscaler, scale.wanted)
    )


def _grew_as_fast_as_it_may(autoscaler: Autoscaler) -> bool:
    """Then it wished for more than it has now, at its last look."""
    return autoscaler.reports("ScalingLimited", "ScaleUpLimit")


def _further(autoscaler: Autoscaler, current: int, wished: int) -> Step:
    sentence = (
        f"at its last look it wished for more pods than it may add at once, and without `behavior` the highest wish of"
        f" the last {duration(autoscaler.down.window_s)} counts: it goes on growing"
    )
    return Step(Stage.STABILISATION, wished, ceiling(autoscaler, current), sentence)


def _over(autoscaler: Autoscaler, current: int, wished: int) -> Step:
    upwards = wished > current
    window = duration(_window_s(autoscaler, upwards=upwards))
    beyond = "above" if upwards else "below"
    sentence = f"every wish of the last {window} was {beyond} {pods(current)}, so stabilisation is over"
    return Step(Stage.STABILISATION, wished, wished, sentence)


def _held(autoscaler: Autoscaler, current: int, wished: int) -> Step:
    upwards = wished > current
    which, beyond, reported = (
        ("lowest", "above", "ScaleUpStabilized") if upwards else ("highest", "below", "ScaleDownStabilized")
    )
    sentence = (
        f"of the last {duration(_window_s(autoscaler, upwards=upwards))} the {which} wish counts (stabilisation), so it"
        f" stays at {pods(current)} until all wishes of that time were {beyond} that"
    )
    if autoscaler.reports("AbleToScale", reported):
        sentence += f"; the autoscaler says so itself ({reported})"
    return Step(Stage.STABILISATION, wished, current, sentence)

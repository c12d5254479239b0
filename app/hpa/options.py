"""The annotations with which an HPA's author lets beanscale scale the workload between the controller's syncs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.quantity import QuantityError, milli, parse_quantity
from app.settings import SettingError, parse_duration

IMMEDIATE = "beanscale/immediate"
SCALE_TO_ZERO = "beanscale/scale-to-zero"
ACTIVATION = "beanscale/activation"
PAUSED = "beanscale/paused"
_PREFIX = "beanscale/"
_MAX_QUOTED = 60
"""Characters of an annotation's value in a message."""
_MAX_UNKNOWN = 3
"""Unknown annotations that are named; each is reported by itself."""


@dataclass(frozen=True, slots=True)
class ScalingOptions:
    """What beanscale does for an HPA; by default nothing."""

    immediate: bool = False
    """Scale up at once, instead of at the controller's next sync."""
    idle_s: float | None = None
    """Scale to 0 after this many seconds without jobs, and up again; None: never."""
    activation: int = 0
    """Scale up from 0 once a metric exceeds this; thousandths."""
    paused: bool = False
    """Do nothing for now."""
    errors: tuple[str, ...] = ()
    """A clause for each invalid annotation; nothing is done while there is one."""

    @property
    def requested(self) -> bool:
        """True if an annotation asks for something, or tries to."""
        return self.immediate or self.idle_s is not None or bool(self.errors)

    @property
    def active(self) -> bool:
        """True if beanscale may scale the workload."""
        return self.requested and not self.paused and not self.errors


NO_OPTIONS = ScalingOptions()


def parse_options(annotations: Mapping[str, str]) -> ScalingOptions:
    """Return the options in an HPA's annotations. Invalid ones are in `errors`."""
    if not any(key.startswith(_PREFIX) for key in annotations):
        return NO_OPTIONS
    errors: list[str] = []

    def boolean(key: str) -> bool:
        value = annotations.get(key, "false")
        if value not in {"true", "false"}:
            errors.append(f"annotation {key} is {value[:_MAX_QUOTED]!r}; write 'true' or 'false'")
        return value == "true"

    immediate, paused = boolean(IMMEDIATE), boolean(PAUSED)
    idle_s, activation = None, 0
    if SCALE_TO_ZERO in annotations:
        try:
            idle_s = parse_duration(annotations[SCALE_TO_ZERO])
        except SettingError:
            value = annotations[SCALE_TO_ZERO][:_MAX_QUOTED]
            errors.append(f"annotation {SCALE_TO_ZERO} is {value!r}; write a duration, like 30s or 5m")
    if ACTIVATION in annotations:
        try:
            activation = milli(parse_quantity(annotations[ACTIVATION]))
        except QuantityError:
            activation = -1
        if activation < 0:
            value = annotations[ACTIVATION][:_MAX_QUOTED]
            errors.append(f"annotation {ACTIVATION} is {value!r}; write a number of at least 0, like 10")
    known = {IMMEDIATE, SCALE_TO_ZERO, ACTIVATION, PAUSED}
    unknown = sorted(key for key in annotations if key.startswith(_PREFIX) and key not in known)[:_MAX_UNKNOWN]
    errors += [f"annotation {key[:_MAX_QUOTED]} is unknown; valid: {', '.join(sorted(known))}" for key in unknown]
    return ScalingOptions(immediate, idle_s, max(activation, 0), paused, tuple(errors))

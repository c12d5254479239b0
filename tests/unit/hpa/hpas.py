"""HPAs as kube-apiserver returns them, for tests."""

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]


CONFLICT = (
    'Operation cannot be fulfilled on deployments.apps "orders": the object has been modified; please apply your'
    " changes to the latest version and try again"
)
"""What kube-apiserver answers to a change of an older version."""


def external(name: str = "tube-orders", selector: Json | None = None, **target: Any) -> Json:
    """Return an entry of spec.metrics, with `averageValue="2"` or `value="10"`."""
    kind = "AverageValue" if "averageValue" in target else "Value"
    metric = {"name": name} | ({"selector": selector} if selector else {})
    return {"type": "External", "external": {"metric": metric, "target": {"type": kind, **target}}}


def hpa(
    *metrics: Json,
    name: str = "orders",
    minimum: int | None = 1,
    maximum: int = 10,
    current: int = 1,
    desired: int | None = None,
    behavior: Json | None = None,
    conditions: list[Json] | None = None,
    current_metrics: list[Json] | None = None,
    last_scale: str | None = None,
    generations: tuple[int, int] | None = None,
    annotations: dict[str, str] | None = None,
) -> Json:
    """Return an autoscaling/v2 HorizontalPodAutoscaler of Deployment/orders in namespace shop.

    `generations`: that of its spec, and the one that the status is of; `annotations`: those below `beanscale/`.
    """
    spec: Json = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"},
        "maxReplicas": maximum,
        "metrics": list(metrics) or [external(averageValue="2")],
    }
    status: Json = {"currentReplicas": current, "desiredReplicas": current if desired is None else desired}
    for holder, key, value in (
        (spec, "minReplicas", minimum),
        (spec, "behavior", behavior),
        (status, "conditions", conditions),
        (status, "currentMetrics", current_metrics),
        (status, "lastScaleTime", last_scale),
    ):
        if value is not None:
            holder[key] = value
    metadata: Json = {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"}
    if annotations:
        metadata["annotations"] = {f"beanscale/{key}": value for key, value in annotations.items()}
    if generations:
        metadata["generation"], status["observedGeneration"] = generations
    return {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def condition(kind: str, reason: str, status: str = "True", message: str = "") -> Json:
    """Return an entry of status.conditions."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


RULES = st.fixed_dictionaries(
    {},
    optional={
        "stabilizationWindowSeconds": st.sampled_from([0, 15, 60, 300]),
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "policies": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Pods", "Percent"]),
                    "value": st.integers(1, 200),
                    "periodSeconds": st.sampled_from([15, 60, 300]),
                }
            ),
            min_size=1,
            max_size=3,
        ),
    },
)
BEHAVIORS = st.none() | st.fixed_dictionaries({}, optional={"scaleUp": RULES, "scaleDown": RULES})
"""Values of `spec.behavior`."""

"""What the demo shows of an installation in progress, and of a failed one."""

from importlib import import_module

import pytest

from scripts.lib.demo_install import all_ready, describe_pods, helm_error, image_values, missing_image


def pod(name: str, *, ready: bool = False, waiting: str = "", **status: object) -> dict[str, object]:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"image": "beanscale:0.2.0", "state": state}],
            **status,
        },
    }


def test_pods_that_are_ready_are_counted_and_two_of_the_others_named() -> None:
    pods = [pod("a", ready=True), pod("b", waiting="ContainerCreating"), pod("c"), pod("d")]
    assert describe_pods(pods) == "1 of 4 pods ready; b: ContainerCreating; c: starting"


def test_no_pods_yet_is_reported() -> None:
    assert describe_pods([]) == "no pods yet"
    assert all_ready([])


def test_a_pod_without_a_node_has_the_reason() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu"}
    pods = [pod("a", phase="Pending", containerStatuses=None, conditions=[unscheduled])]
    assert describe_pods(pods) == "0 of 1 pods ready; a: not scheduled: 0/1 nodes: Insufficient cpu"
    assert not all_ready(pods)


def test_a_pod_that_is_being_deleted_is_terminating() -> None:
    leaving = {"metadata": {"name": "a", "deletionTimestamp": "2025-01-01T00:00:00Z"}, "status": {}}
    assert describe_pods([leaving]) == "0 of 1 pods ready; a: terminating"


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    assert missing_image([pod("a", ready=True), pod("b", waiting=reason)]) == (
        "the cluster has no image beanscale:0.2.0 and can't pull it (pod b)"
    )


def test_a_pod_that_waits_for_another_reason_has_no_image_error() -> None:
    assert missing_image([pod("a", waiting="ContainerCreating"), {"metadata": {"name": "new"}}]) is None


@pytest.mark.parametrize(
    ("reference", "values"),
    [
        ("beanscale", ["repository=beanscale"]),
        ("beanscale:0.2.0", ["repository=beanscale", "tag=0.2.0"]),
        ("localhost:5000/x/beanscale:1", ["repository=localhost:5000/x/beanscale", "tag=1"]),
        ("localhost:5000/beanscale", ["repository=localhost:5000/beanscale"]),
        (f"a/b@sha256:{'0' * 64}", ["repository=a/b", f"digest=sha256:{'0' * 64}"]),
    ],
)
def test_an_image_is_split_into_chart_values(reference: str, values: list[str]) -> None:
    assert image_values("image", reference) == [f"--set-string=image.{value}" for value in values]


@pytest.mark.parametrize("reference", ["", "beanscale@sha256:12", "a@b@c"])
def test_an_invalid_image_is_rejected(reference: str) -> None:
    with pytest.raises(ValueError, match="is not an image: expected REPOSITORY:TAG"):
        image_values("image", reference)


def test_the_reason_follows_helms_error_prefix() -> None:
    said = 'Release "beanscale" does not exist. Installing it now.\nError: context deadline exceeded\n'
    assert helm_error(said) == "context deadline exceeded"


def test_an_error_of_the_chart_is_complete_without_the_template_path() -> None:
    said = (
        "Error: execution error at (beanscale/templates/preflight.yaml:16:4): \n\nThey have it.\nChoices:\n  - leave\n"
    )
    assert helm_error(said) == "They have it.\n  Choices:\n    - leave"


def test_helm_without_output_is_reported() -> None:
    assert helm_error("") == "helm ended without a message"


def test_the_demo_can_import_its_modules() -> None:
    """scripts/demo imports from app; without this, a renamed symbol would break it unnoticed."""
    assert import_module("scripts.lib.demo").main

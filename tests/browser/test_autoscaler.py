"""Why an autoscaler does or doesn't scale; the cluster is one in words, everything else is real."""

import re
import time
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, StorageState, expect

from tests.browser.cluster import EVENTS, HPAS, Cluster
from tests.browser.conftest import NewPerson
from tests.browser.console import ConsoleProcess, Person, Tube, until
from tests.unit.explain.cluster import DEPLOYMENT, event, listed
from tests.unit.hpa.hpas import Json, condition, external, hpa


def of_orders(guest: Person) -> Page:
    """The autoscaler's page; the console finds an autoscaler at its first look at the cluster."""
    page = guest.goes_to("/autoscalers")
    page.get_by_role("link", name="shop/orders").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("shop/orders")
    return page


def waits_until_judged(guest: Person) -> None:
    """The console's first look at the cluster may be before its first reading of the tube; the next is 5 s later."""
    card = guest.goes_to("/autoscalers").get_by_role("listitem").filter(has_text="shop/orders")
    expect(card).to_contain_text(re.compile(r"\d, target 2 per pod"))


def test_the_list_explains_the_pods_of_each_autoscaler(guest: Person, tube: Tube) -> None:
    tube("orders").put(b"x")
    page = guest.goes_to("/autoscalers")
    card = page.get_by_role("listitem").filter(has_text="shop/orders")
    expect(card).to_contain_text("Deployment/orders")
    expect(card).to_contain_text("tube-orders")
    expect(card).to_contain_text("pod")


def test_the_steps_from_jobs_to_pods_are_shown_and_the_deciding_one_is_marked(guest: Person, cluster: Cluster) -> None:
    cluster.has_pods(2, 14)
    page = of_orders(guest)
    expect(page.locator("#sentence")).to_contain_text("2 pods now → 7")
    expect(page.locator("#steps li").first).to_contain_text("14 ÷ 2 = 7")
    expect(page.locator("#steps [aria-current=step]")).to_contain_text("this decides")
    expect(page.locator("#conditions")).to_contain_text("maxReplicas prevents more pods")
    expect(page.locator("#conditions .bad")).to_contain_text("Raise maxReplicas")
    expect(page.locator(".plot .line.current")).to_have_count(1)


def test_the_page_follows_the_cluster(guest: Person, cluster: Cluster) -> None:
    cluster.has_pods(2, 14)
    page = of_orders(guest)
    expect(page.locator("#sentence")).to_contain_text("2 pods now → 7")
    cluster.has_pods(7, 14)
    expect(page.locator("#sentence")).to_contain_text("7 pods, no change")


def test_the_slider_shows_the_pods_of_another_target(guest: Person, cluster: Cluster) -> None:
    cluster.has_pods(2, 14)
    page = of_orders(guest)
    expect(page.locator(".answer")).to_contain_text("target 2 → 7 pods")
    page.get_by_label("Jobs per pod").fill("5")
    expect(page.locator(".answer")).to_have_text("target 5 → 3 pods")
    page.get_by_label("Jobs per pod").press("ArrowRight")
    expect(page.locator(".answer")).to_contain_text("target 6 →")


def test_a_tube_links_to_the_autoscalers_that_use_it(guest: Person, tube: Tube, cluster: Cluster) -> None:
    tube("orders").put(b"x")
    cluster.has_pods(2, 14)
    of_orders(guest)
    page = guest.goes_to("/", q="orders")
    page.get_by_role("link", name="⇅ orders").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("shop/orders")
    page = guest.opens_tube("orders")
    expect(page.locator(".plot .line.current")).to_have_count(1)
    expect(page.locator(".legend")).to_contain_text("target ")


def test_a_load_is_put_and_its_prediction_drawn(guest: Person, tube: Tube, cluster: Cluster) -> None:
    client = tube("orders")
    before = int(client.stats_tube("orders")["total-jobs"])
    cluster.has_pods(2, 14)
    waits_until_judged(guest)
    page = of_orders(guest)
    guest.chooses("Start…", Into_tube="orders", Jobs=40, Per_second=20)
    expect(page.locator("#load-test progress")).to_be_visible()
    expect(page.locator(".plot .line.predicted")).to_have_count(1)
    until(lambda: int(client.stats_tube("orders")["total-jobs"]) == before + 40)
    expect(page.locator("#load-test")).to_contain_text("40 of 40 jobs put")


TUBE_ORDERS = {"matchLabels": {"tube": "orders"}}


@pytest.mark.parametrize(
    ("metric", "axis", "slider", "value"),
    [
        pytest.param(
            external("beanstalkd_tube_next_job_age_seconds", TUBE_ORDERS, value="30"),
            "seconds",
            "Seconds (the target)",
            r"\d+ seconds?, target 30 seconds",
            id="age",
        ),
        pytest.param(
            external("beanstalkd_tube_jobs_put_per_second", TUBE_ORDERS, averageValue="5"),
            "jobs/s",
            "Jobs/s per pod (the target)",
            r"[\d.]+ jobs?/s, target 5 jobs/s per pod",
            id="rate",
        ),
        pytest.param(
            external(averageValue="2"), "jobs", "Jobs per pod (the target)", r"\d, target 2 per pod", id="jobs"
        ),
        pytest.param(
            external("another-adapters", averageValue="2"), "value", "Target per pod", "target 2", id="unknown"
        ),
    ],
)
def test_the_unit_of_a_metric_is_on_axis_slider_and_list(
    guest: Person, cluster: Cluster, tube: Tube, metric: Json, axis: str, slider: str, value: str
) -> None:
    tube("orders").put(b"x")
    cluster.has_pods(2, 14, metric)
    card = guest.goes_to("/autoscalers").get_by_role("listitem").filter(has_text="shop/orders")
    expect(card).to_contain_text(re.compile(value))
    page = of_orders(guest)
    expect(page.locator(".plot svg text", has_text=re.compile(f"^{axis}$"))).to_have_count(1)
    expect(page.get_by_label(slider, exact=True)).to_have_count(1)
    page = guest.opens_tube("orders")
    expect(page.locator(".plot .line.current")).to_have_count(int(axis != "value"))
    expect(page.locator(".plot .line.value")).to_have_count(int(axis == "jobs"))


def test_a_pause_says_which_autoscalers_ignore_it(guest: Person, cluster: Cluster, tube: Tube) -> None:
    client = tube("orders")
    client.put(b"x")
    cluster.has_pods(2, 14, external(selector={"matchLabels": {"paused": "false"}}, averageValue="2"))
    guest.goes_to("/autoscalers")
    expect(guest.page.get_by_role("link", name="shop/orders")).to_be_visible()
    page = guest.opens_tube("orders")
    chip = page.get_by_role("link", name="⇅ shop/orders")
    expect(chip).to_have_text("⇅ shop/orders")
    page.get_by_role("button", name="Pause…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Autoscalers that ignore them: shop/orders.")
    page.get_by_role("button", name="Cancel").click()
    client.pause_tube("orders", 120)
    expect(chip).to_have_text("⇅ shop/orders (ignores its ready jobs while paused)")
    client.pause_tube("orders", 0)
    expect(chip).to_have_text("⇅ shop/orders")


def just_now(ago_s: float = 0) -> str:
    return datetime.fromtimestamp(time.time() - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


WHY = "tube-orders is 14, target 2 per pod: 14 ÷ 2 = 7 → 7 pods"


def test_what_beanscale_does_and_reported_is_shown(guest: Person, cluster: Cluster) -> None:
    cluster.reported(
        event("Scaled", f"Scaled Deployment/orders from 1 to 2: {WHY}", created=just_now(60)),
        event("SuccessfulRescale", "New size: 1", "horizontal-pod-autoscaler", created=just_now(90)) | {"count": 3},
        event("NotScaled", "forbidden: <b>no</b>", created=just_now(30), kind="Warning"),
    )
    cluster.has_pods(2, 14, annotations={"immediate": "true", "scale-to-zero": "5m"})
    page = of_orders(guest)
    expect(page.locator("#scaling")).to_have_text(
        "beanscale scales up within a second; scales to 0 after 5 min without jobs, and from 0 once a job is ready."
    )
    expect(page.locator("#steps [aria-current=step]")).to_contain_text(
        "this decides: beanscale scales to 7 within a second; the HPA controller at its next sync"
    )
    rows = page.locator("#events li span")
    expect(rows).to_have_text(
        [
            "NotScaled (beanscale): forbidden: <b>no</b>",
            f"Scaled (beanscale): Scaled Deployment/orders from 1 to 2: {WHY}",
            "SuccessfulRescale (horizontal-pod-autoscaler, 3 times): New size: 1",
        ]
    )
    page.get_by_role("button", name="5 min", exact=True).click()
    mark = page.locator("svg .happened.scaled")
    expect(mark.locator("title")).to_have_text(f"beanscale: Scaled Deployment/orders from 1 to 2: {WHY}")
    expect(page.locator("svg .happened.error title")).to_have_text("beanscale: forbidden: <b>no</b>")
    spoken = page.locator(".plot + [role=status]")
    page.locator(".plot").press("End")
    for _ in range(120):
        if "Scaled Deployment/orders from 1 to 2" in (spoken.text_content() or ""):
            break
        page.locator(".plot").press("ArrowLeft")
    expect(spoken).to_contain_text("Scaled Deployment/orders from 1 to 2")
    page.get_by_role("button", name="as a table").click()
    expect(page.locator(".chart-table")).to_contain_text("Scaled Deployment/orders from 1 to 2")
    card = guest.goes_to("/autoscalers").get_by_role("listitem").filter(has_text="shop/orders")
    expect(card.locator(".scaling")).to_contain_text("beanscale scales up within a second; scales to 0 after 5 min")
    page = guest.opens_tube("orders")
    page.get_by_role("button", name="5 min", exact=True).click()
    expect(page.locator("svg .happened.scaled")).to_have_count(1)
    expect(page.locator("#events")).to_contain_text("beanscale: Scaled Deployment/orders from 1 to 2")


def test_without_permission_for_events_a_sentence_is_shown(guest: Person, cluster: Cluster) -> None:
    cluster.forbids(EVENTS)
    cluster.has_pods(2, 14)
    page = of_orders(guest)
    expect(page.locator("#events-error")).to_be_visible()
    expect(page.locator("#events-error")).to_have_text(
        "Its Events can't be read: this account must be allowed to list events in namespace shop."
    )
    expect(page.locator("#sentence")).to_contain_text("2 pods now → 7")
    expect(page.locator("#scaling")).to_be_hidden()


def test_an_obstacle_is_a_note(guest: Person, cluster: Cluster) -> None:
    window = {"scaleUp": {"stabilizationWindowSeconds": 30}}
    cluster.has_pods(2, 14, annotations={"immediate": "true"}, behavior=window)
    page = of_orders(guest)
    expect(page.locator("#scaling")).to_have_text("beanscale does nothing.")
    expect(page.locator("#findings .note").first).to_contain_text(
        "behavior.scaleUp.stabilizationWindowSeconds is 30, so the HPA waits"
    )


def test_at_zero_nobody_is_told_to_scale_by_hand(guest: Person, cluster: Cluster) -> None:
    off = condition("ScalingActive", "ScalingDisabled", "False", "the replica count is zero")
    cluster.has_pods(0, 0, conditions=[off], annotations={"scale-to-zero": "5m"})
    page = of_orders(guest)
    expect(page.locator("#sentence")).to_have_text(
        "0 pods, no change: the HPA reports ScalingDisabled: the replica count is zero; beanscale scales it up once a"
        " job is ready."
    )
    expect(page.locator("#conditions .bad")).to_have_count(0)
    expect(page.locator("#connection")).to_have_text("live")


def test_without_a_cluster_the_page_shows_the_reason(
    new_person: NewPerson, console: ConsoleProcess, signed_in: StorageState
) -> None:
    page = new_person(console, storage_state=signed_in).goes_to("/autoscalers")
    expect(page.locator("#why")).to_contain_text("--no-kubernetes")


def test_nothing_is_shown_of_pods_that_the_console_cant_read(guest: Person, cluster: Cluster) -> None:
    """In the chart's role, only the scale of a workload can be read, which doesn't say how many pods are ready."""
    cluster.has_pods(2, 14)
    cluster.fails(DEPLOYMENT)
    cluster.says(f"{DEPLOYMENT}/scale", {"spec": {"replicas": 2}, "status": {"replicas": 1}})
    page = of_orders(guest)
    expect(page.locator("#workload")).to_contain_text("from 1 to 10 pods · 1 current")
    expect(page.locator("#workload")).not_to_contain_text("ready")


def test_of_a_missing_workload_the_condition_is_shown(guest: Person, cluster: Cluster) -> None:
    cluster.has_pods(2, 14)
    missing = condition("AbleToScale", "FailedGetScale", "False", 'deployments.apps "orders" not found')
    cluster.says(HPAS, listed(hpa(conditions=[missing], current=0)))
    page = of_orders(guest)
    sentence = 'No change: the HPA reports FailedGetScale: deployments.apps "orders" not found'
    expect(page.locator("#sentence")).to_contain_text(sentence)
    card = guest.goes_to("/autoscalers").get_by_role("listitem").filter(has_text="shop/orders")
    expect(card).to_contain_text(sentence)
    expect(card).to_contain_text("podsunknown")


def test_the_list_follows_the_condition_and_isnt_live(guest: Person, cluster: Cluster, tube: Tube) -> None:
    tube("orders").put(b"x")
    cluster.has_pods(2, 14)
    failed = condition("ScalingActive", "FailedGetExternalMetric", "False", "no endpoints available")
    cluster.says(HPAS, listed(hpa(conditions=[condition("AbleToScale", "SucceededGetScale"), failed], current=2)))
    page = guest.goes_to("/autoscalers")
    card = page.get_by_role("listitem").filter(has_text="shop/orders")
    expect(card).to_contain_text("2 pods, no change: no metric has a value now")
    expect(page.locator("#connection")).to_have_text("a metric has no value")


def test_the_page_of_a_deleted_autoscaler_says_so_and_doesnt_blame_servers(guest: Person, cluster: Cluster) -> None:
    cluster.has_pods(2, 14)
    page = of_orders(guest)
    expect(page.locator("#sentence")).to_contain_text("2 pods now → 7")
    cluster.says(HPAS, listed())
    expect(page.locator("#late")).to_contain_text("uses an external metric")
    expect(page.locator("#late")).not_to_contain_text("last read")
    expect(page.locator("main")).to_have_class("late")


def test_without_javascript_the_page_has_verdict_and_conditions_and_no_empty_panels(
    guest: Person, new_person: NewPerson, cluster: Cluster
) -> None:
    cluster.has_pods(2, 14)
    of_orders(guest)
    plain = new_person(guest.console, java_script_enabled=False, storage_state=guest.context.storage_state())
    page = plain.goes_to("/autoscaler", namespace="shop", name="orders")
    expect(page.locator("#sentence")).to_contain_text("2 pods now → 7")
    expect(page.locator("#conditions")).to_contain_text("maxReplicas prevents more pods")
    expect(page.get_by_role("heading", name="Over time")).to_have_count(0)
    page = plain.goes_to("/tube", server="eu", name="orders")
    expect(page.get_by_role("heading", name="Tube statistics")).to_have_count(0)
    expect(page.get_by_role("button", name="Reload")).to_have_count(0)

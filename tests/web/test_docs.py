"""The page of the API: every example answers, and people find what they look for."""

import json
import re
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from model_store import DEFAULT_ROOT
from service.api.openapi.document import make_document
from service.api.openapi.examples import EXAMPLES
from tests.web.checks import check_page, check_width

DOCUMENT = make_document("0")
ADMINISTRATION = "administration"
PICTURE = DEFAULT_ROOT.parents[1] / "docs/digits.png"
OF_TASKS = [(task, name) for task, examples in EXAMPLES.items() for name in examples]
OF_PROTOCOLS = [
    (operation["operationId"], name)
    for path, methods in DOCUMENT["paths"].items()
    for operation in methods.values()
    if operation["tags"][0] not in ("tasks", ADMINISTRATION) and "/versions/" not in path
    for name in operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {"": 0})
]
ANSWER = "section.answer"


def send(page: Page) -> int:
    """Press Send; the status of the answer."""
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator(f"{ANSWER}[data-state=done]").wait_for()
    return int(page.locator(ANSWER).get_attribute("data-status") or 0)


@pytest.mark.parametrize(("task", "example"), OF_TASKS)
def test_example_of_a_task_answers(page: Page, task: str, example: str) -> None:
    """Its address opens it, and "Send" shows the answer."""
    page.goto(f"/docs#{task}/{quote(example)}")
    expect(page.locator("button[aria-pressed=true]")).to_have_text(EXAMPLES[task][example][0])
    assert send(page) == 200
    expect(page.locator(f"{ANSWER} pre").last).to_contain_text("model")


def test_examples_of_the_protocols_answer(page: Page) -> None:
    """All but those that change the server, which its settings forbid."""
    statuses = {}
    page.goto("/docs")
    for operation, example in OF_PROTOCOLS:
        page.goto(f"/docs#{operation}/{quote(example)}")
        page.locator(f"[data-operation={operation}]").wait_for()
        statuses[operation, example] = send(page)
    assert set(statuses.values()) == {200}, statuses


def test_change_that_is_forbidden_says_why(page: Page, refused: set[str]) -> None:
    """The sentence of the server is shown with its status."""
    refused.add("/v2/logging")
    page.goto("/docs#post_v2_logging/verbose")
    assert send(page) == 403
    expect(page.locator(ANSWER)).to_contain_text("SLUICE_CONTROL")


def test_sentence_of_an_error_is_shown_whole(page: Page, refused: set[str]) -> None:
    """It may name all models; only texts that nobody reads, such as a picture in base64, are cut."""
    refused.add("/classify")
    page.goto("/docs#classify")
    page.locator(".try textarea").first.fill('{"model": "nobody", "inputs": ["a"]}')
    assert send(page) == 404
    expect(page.locator(f"{ANSWER} code")).to_contain_text("no model 'nobody': there are date-translator,")
    expect(page.locator(f"{ANSWER} code")).to_contain_text("sunspots-forecaster")


def test_options_are_sent_once(page: Page) -> None:
    """With JSON they are fields of the body, with a file they go into the query, and empty ones nowhere."""
    page.goto("/docs#classify/why")
    with page.expect_request("**/classify*") as sent:
        send(page)
    assert sent.value.url.endswith("/classify")
    page.goto("/docs#detect")
    page.get_by_label("Send", exact=True).select_option("file")
    page.locator(".try input[type=file]").set_input_files(PICTURE)
    page.get_by_text("Options (").click()
    page.get_by_label("max_detections").fill("3")
    with page.expect_request("**/detect*") as sent:
        assert send(page) == 200
    assert sent.value.url.endswith("/detect?max_detections=3")
    curl = "curl 'http://[^']+/detect\\?max_detections=3' .*--data-binary @digits.png"
    expect(page.locator(".command code")).to_have_text(re.compile(curl, re.DOTALL))
    expect(page.locator(f"{ANSWER} code")).to_contain_text('"detections"')


def test_answer_may_be_a_picture(page: Page) -> None:
    """It is shown as one if the form asks for one; pictures inside JSON are shown above it."""
    page.goto("/docs#detect")
    page.get_by_label("Answer as").select_option("image/png")
    assert send(page) == 200
    expect(page.locator(f"{ANSWER} img")).to_have_js_property("complete", True)
    page.goto("/docs#generate/interpolate")
    page.locator("[data-operation=generate]").wait_for()
    assert send(page) == 200
    expect(page.locator(f"{ANSWER} .gallery img")).to_have_count(5)


def test_events_are_shown_as_they_come(page: Page) -> None:
    """Each with its name, and then that the answer is complete."""
    page.goto("/docs#predict_sequence/stream")
    assert send(page) == 200
    expect(page.locator(".events li")).to_have_count(4)
    expect(page.locator(".events .chip").last).to_have_text("done")
    expect(page.locator(ANSWER)).to_contain_text("4 events, and the answer is complete")


def test_body_that_is_no_json_is_not_sent(page: Page) -> None:
    """The form says where it is wrong, while one types."""
    page.goto("/docs#regress")
    page.get_by_label("Body").fill('{"inputs": [1,\n 2,}')
    said = 'This is not JSON: line 2, column 4: expected a value, got "}".'
    expect(page.locator(".try .note")).to_have_text(said)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text(said)


def test_version_goes_into_the_path(page: Page) -> None:
    """An operation that exists for a version too is shown once, with a field for the version."""
    page.goto("/docs#post_v2_models_model_versions_version_infer")
    expect(page.locator("article.operation")).to_have_attribute("data-operation", "post_v2_models_model_infer")
    page.get_by_label("version").fill("1")
    with page.expect_request("**/infer") as sent:
        assert send(page) == 200
    assert sent.value.url.endswith("/v2/models/digits-classifier/versions/1/infer")


def test_search_is_used_with_the_keyboard(page: Page) -> None:
    """A slash leads to it, the arrows to what it finds, and Enter opens that."""
    page.goto("/docs")
    page.locator("nav a[data-id=classify]").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("beam search")
    expect(page.locator(".docs-groups a")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    heading = page.get_by_role("heading", name="Series to their forecasts")
    expect(heading).to_be_focused()
    assert page.url.endswith("#predict_sequence")
    page.get_by_role("searchbox").fill("no such words")
    expect(page.get_by_text("Nothing has all these words.")).to_be_visible()


def test_every_operation_has_its_place(page: Page) -> None:
    """The list names all operations of the document; those of a version belong to the one without."""
    page.goto("/docs")
    page.locator("nav a[data-id=classify]").wait_for()
    shown = set(page.locator(".docs-groups a").evaluate_all("links => links.map((link) => link.dataset.id)"))
    described = {
        operation["operationId"]
        for path, methods in DOCUMENT["paths"].items()
        for operation in methods.values()
        if "/versions/" not in path
    }
    assert shown == described


def test_commands_for_the_shell_are_what_is_sent(page: Page) -> None:
    """The body of the command is the example, as JSON on one line."""
    page.goto("/docs#generate/labels")
    command = page.locator(".command code").inner_text()
    body = re.search(r"-d '(.*)'", command)
    assert body is not None
    assert json.loads(body[1]) == EXAMPLES["generate"]["labels"][1]


def test_page_fits_a_telephone(page: Page) -> None:
    """At 360 pixels nothing is wider than the page, with an answer on it too."""
    page.goto("/docs#predict_sequence/intervals")
    assert send(page) == 200
    check_width(page, 360)
    check_page(page)


def test_models_of_the_server_have_examples_too(page: Page) -> None:
    """Whoever has models of their own chooses one, and its first example stands in the form."""
    page.goto("/docs#reconstruct/denoise")
    choice = page.get_by_label("Model", exact=True)
    expect(choice).to_have_value("digits-denoiser")
    choice.select_option("photo-restorer")
    expect(page.get_by_label("Body")).to_have_value(re.compile('"model": "photo-restorer"'))
    expect(choice).to_be_focused()
    assert send(page) == 200


def test_example_of_a_model_that_is_not_there_says_so(page: Page) -> None:
    """And which models there are."""
    cards = {"models": [{"name": "own", "ready": True, "tasks": ["regress"]}]}
    page.route("**/models", lambda route: route.fulfill(json=cards))
    page.goto("/docs#regress")
    expect(page.locator(".try .note")).to_have_text("This server has no model “diabetes-regressor”. It has own.")
    expect(page.get_by_label("Model", exact=True)).to_have_value("")

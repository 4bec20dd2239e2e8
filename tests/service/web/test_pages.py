"""The pages and their files: media types, security headers, caching, and their addresses below a prefix."""

import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_store import DEFAULT_ROOT
from service.web.pages import HEADERS, PAGES, read_files
from tests.support.servers import FAST, Serving, settings_for

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PREFIX = "/models/v1"


def serve(**changes: object) -> Iterator[httpx.Client]:
    settings = settings_for(DEFAULT_ROOT, models=("diabetes-regressor",), **changes)
    with Serving(settings, FAST) as serving, serving.client() as client:
        client.headers.update(BROWSER)
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    yield from serve()


@pytest.fixture(scope="module")
def below_prefix() -> Iterator[httpx.Client]:
    yield from serve(base_path=PREFIX)


def test_unknown_file_is_404_in_json(client: httpx.Client) -> None:
    """A file that is not among the pages, also outside of their folder, is refused as every unknown route is."""
    for path in ("/web/nowhere.js", "/web/../pages.py", "/web/%2e%2e/pages.py", "/web/", "/web"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "error" in answer.json()
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_bentoml_page_and_its_files_are_not_served(client: httpx.Client) -> None:
    """The page of BentoML, which loads a tracker of another company, is gone with its files."""
    assert "bentoml" not in client.get("/docs").text.lower()
    for path in ("/static_content/index.js", "/assets/index.css"):
        assert client.get(path).status_code == 404


def test_other_methods_than_get_and_head_are_refused(client: httpx.Client) -> None:
    """A page cannot be posted to; HEAD has the headers of GET without its body."""
    assert client.post("/docs").status_code == 405
    head = client.head("/docs")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["etag"] == client.get("/docs").headers["etag"]


@pytest.mark.parametrize("path", [*PAGES, *(f"/web/{name}" for name in sorted(read_files()))])
def test_every_file_has_the_security_headers(client: httpx.Client, path: str) -> None:
    """Pages and files are answered with their media type, and with a policy that allows this origin only."""
    answer = client.get(path)
    assert answer.status_code == 200
    assert {name: answer.headers[name] for name in HEADERS} == dict(HEADERS)
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert answer.headers["content-type"].startswith(kinds[Path(PAGES.get(path, path)).suffix])


def test_policy_allows_no_other_origin_and_no_inline_code() -> None:
    """Scripts, styles and requests are those of the server, and no page of others may frame ours."""
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("name", [name for name in sorted(read_files()) if name.endswith(".html")])
def test_pages_have_no_inline_code_and_no_absolute_address(name: str) -> None:
    """What the policy would block is not there, and links stay below a prefix."""
    text = read_files()[name].content.decode()
    for wrong in (" style=", "<style", " onclick=", "<script>", 'href="/', 'src="/', "://", "javascript:"):
        assert wrong not in text, wrong


def test_no_file_has_more_than_400_lines() -> None:
    """The pages follow the limit of all other code."""
    lines = {name: file.content.count(b"\n") for name, file in read_files().items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


@pytest.mark.parametrize("name", [name for name in sorted(read_files()) if name.endswith(".js")])
def test_modules_import_modules_that_are_there(name: str) -> None:
    """Each import is relative and names a file of ours: no build step or browser would find another."""
    for target in re.findall(
        r'^(?:import|export|\}) .*?from "(.+?)";', read_files()[name].content.decode(), re.MULTILINE
    ):
        assert target.startswith(("./", "../")), target
        assert os.path.normpath(os.path.join(os.path.dirname(name), target)) in read_files(), target


def test_known_etag_gives_304_without_a_body(client: httpx.Client) -> None:
    """A browser that has the file gets 304, also if a proxy has made the tag strong; one with another gets the file."""
    first = client.get("/web/style.css")
    etag = first.headers["etag"]
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = client.get("/web/style.css", headers={"if-none-match": known})
        assert again.status_code == 304, known
        assert again.content == b""
        assert again.headers["etag"] == etag
        assert "content-security-policy" in again.headers
    assert client.get("/web/style.css", headers={"if-none-match": '"other"'}).status_code == 200


def test_files_are_compressed_where_that_is_accepted(client: httpx.Client) -> None:
    """gzip is sent to who accepts it, and the plain file to all others."""
    plain = client.get("/web/style.css", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with client.stream("GET", "/web/style.css", headers={"accept-encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 2
    assert "Accept-Encoding" in plain.headers["vary"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_root_is_json_for_programs(client: httpx.Client, accept: str) -> None:
    """Who does not ask for HTML gets what KServe's first protocol has at `/`."""
    answer = client.get("/", headers={"accept": accept})
    assert answer.json() == {"status": "alive"}
    assert answer.headers["vary"] == "Accept"


def test_root_is_the_playground_for_browsers(client: httpx.Client) -> None:
    """A browser gets the page, with its own title."""
    assert "<title>Sluice playground</title>" in client.get("/").text


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(PREFIX, PREFIX + "/"), (PREFIX + "/docs/", PREFIX + "/docs"), (PREFIX + "/live/", PREFIX + "/live")],
)
def test_pages_have_one_address_each(below_prefix: httpx.Client, asked: str, expected: str) -> None:
    """Relative links need it: a prefix without its slash, or a page with one, is redirected by a relative address."""
    answer = below_prefix.get(asked, follow_redirects=False)
    assert answer.status_code == 307
    assert not answer.headers["location"].startswith(("/", "http"))
    assert httpx.URL(str(answer.url)).join(answer.headers["location"]).path == expected
    assert below_prefix.get(expected).status_code == 200


def test_pages_work_below_a_prefix(below_prefix: httpx.Client) -> None:
    """With a prefix of all routes, pages and files are below it, and nowhere else."""
    for path in (*PAGES, "/web/style.css"):
        assert below_prefix.get(PREFIX + path).status_code == 200
    for path in ("/docs", "/web/style.css"):
        assert below_prefix.get(path).status_code == 404


def test_file_has_one_address(client: httpx.Client) -> None:
    """The name of a file and a slash is no file."""
    assert client.get("/web/style.css/").status_code == 404


def test_requests_for_files_share_one_label(client: httpx.Client) -> None:
    """The metrics count files by their route, not by what callers ask for."""
    client.get("/web/style.css")
    client.get("/web/nowhere-else.js")
    metrics = client.get("/metrics").text
    assert 'route="/web/{file:path}"' in metrics
    assert "nowhere-else" not in metrics

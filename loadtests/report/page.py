"""The HTML report: the verdict, the figures, where the time went, and how it was measured."""

from collections.abc import Iterable, Sequence
from html import escape

from loadtests.report.step import Step, list_notes, tell_verdict, write_finding, write_ms
from loadtests.report.table import SPLIT, SWEEP, split_cells, sweep_cells

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #18794e; --bad: #c0232c }
@media (prefers-color-scheme: dark) { :root { --good: #4cc38a; --bad: #ff6369 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
.verdict { font-size: 1.4rem; padding-left: .8rem; border-left: .4rem solid }
.good { border-color: var(--good) } .bad { border-color: var(--bad) }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
"""


def write_page(steps: Sequence[Step]) -> str:
    """The whole page; it needs nothing but itself."""
    holds = all(step.verdict.holds for step in steps)
    parts = [
        f'<h1 class="verdict {"good" if holds else "bad"}">{escape(_capital(tell_verdict(steps)))}</h1>',
        *(f"<p>{escape(_capital(note))}.</p>" for note in list_notes(steps)),
    ]
    if len(steps) > 1:
        parts += [
            _table(SWEEP, (sweep_cells(step) for step in steps)),
            "<p>Times are in milliseconds. Rest (network, reading requests, writing answers, load generator), "
            "queue, batch and run are means of a request; rows are those of a run.</p>",
        ]
    else:
        parts += _describe_run(steps[0])
    parts += ["<h2>How it was measured</h2>", _describe_plan(steps)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Load test</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _describe_run(step: Step) -> list[str]:
    findings = ((*write_finding(each), "yes" if each.holds else "no") for each in step.verdict.findings)
    routes = step.figures.routes if len(step.figures.routes) == 1 else (*step.figures.routes, step.figures.total)
    rows = (
        (
            *(route.name, str(route.requests), str(route.failures), f"{route.requests_per_s:.1f}"),
            *(write_ms(each) for each in (route.mean_s, route.p50_s, route.p95_s, route.p99_s)),
        )
        for route in routes
    )
    headings = ("route", "requests", "failed", "requests/s", "mean ms", "p50 ms", "p95 ms", "p99 ms")
    parts = [
        _table(("objective", "measured", "limit", "holds"), findings),
        "<h2>Figures of the client</h2>",
        _table(headings, rows),
        "<h2>Where the time went</h2>",
    ]
    if step.times is None:
        parts.append("<p>The server has no statistics of this model.</p>")
    else:
        parts += [
            _table(SPLIT, [split_cells(step)]),
            f"<p>Means of a request in milliseconds. A run had {step.times.rows_per_run:.1f} rows. The rest is the "
            "network, reading requests, writing answers and the load generator.</p>",
        ]
    if step.figures.failures:
        failures = ((each.text, each.route, str(each.count)) for each in step.figures.failures)
        parts += ["<h2>Failures</h2>", _table(("failure", "route", "count"), failures)]
    return parts


def _describe_plan(steps: Sequence[Step]) -> str:
    plan = steps[0].plan
    if plan.rate_per_s:
        loop = (
            f"an open loop: {plan.rate_per_s:g} requests a second, whether or not earlier ones are answered. Latency "
            "counts from when a request was due"
        )
    else:
        callers = ", ".join(str(step.plan.users) for step in steps)
        loop = f"a closed loop: {callers} callers, each of which sends when its last request is answered"
    links = ", ".join(f'<a href="{escape(step.plan.locust_page.name)}">{step.plan.users} callers</a>' for step in steps)
    rows = "a body of its own" if plan.body else f"{plan.rows_per_request} rows a request"
    return (
        f"<p>Model {escape(plan.model)} at {escape(plan.host)} by {escape(', '.join(plan.protocols))}, {rows}, "
        f"{plan.run_time_s} s a run, by {loop}. Locust's pages with charts over time: {links}.</p>"
    )


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

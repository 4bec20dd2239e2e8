"""What must hold on every page: names for screen readers, no scrolling to the side."""

from playwright.sync_api import Page

_NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, button, a, img, canvas, [role=img]')]
  .filter((each) => each.checkVisibility() || each.type === 'file')
  .filter((each) => !(each.labels?.length || each.getAttribute('aria-label') || each.getAttribute('aria-labelledby')
    || each.textContent.trim() || each.hasAttribute('alt')))
  .map((each) => each.outerHTML.slice(0, 120))"""
_TWICE = """() => {
  const ids = [...document.querySelectorAll('[id]')].map((each) => each.id);
  return ids.filter((id, at) => ids.indexOf(id) !== at);
}"""
_LEVELS = """() => [...document.querySelectorAll('h1, h2, h3, h4')]
  .filter((each) => each.checkVisibility()).map((each) => Number(each.localName[1]))"""
_TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def check_page(page: Page) -> None:
    """Every control has a name, no id is there twice, and the page has one main heading that comes first."""
    assert page.evaluate(_NAMELESS) == []
    assert page.evaluate(_TWICE) == []
    levels = page.evaluate(_LEVELS)
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert page.title()


def check_width(page: Page, width: int) -> None:
    """Nothing is wider than a window of this many pixels."""
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate(_TOO_WIDE) <= 0

/**
 * The page /docs: the API of this server, out of /docs.json.
 *
 * An address such as `docs#classify/why` leads to an operation and one of its examples.
 */

import { get, getModels } from "../api.js";
import { h, replace } from "../dom.js";
import { plural } from "../format.js";
import { showError } from "../result.js";
import { ApiDocument } from "./document.js";
import { breakable, showOperation } from "./operation.js";

class DocsPage {
  constructor(parent, document, cards) {
    this.document = document;
    this.cards = cards;
    this.search = h("input", {
      type: "search",
      placeholder: "Search  ( / )",
      "aria-label": "Search the operations",
      autocomplete: "off",
    });
    this.search.addEventListener("input", () => this.list());
    this.count = h("p", { class: "visually-hidden", role: "status" });
    this.groups = h("div", { class: "docs-groups" });
    this.menu = h("details", { class: "docs-menu", open: true }, h("summary", null, "Operations"), this.groups);
    this.content = h("div", { class: "docs-content" });
    const nav = h("nav", { class: "docs-nav", "aria-label": "Operations" }, this.search, this.count, this.menu);
    nav.addEventListener("keydown", (event) => this.move(event));
    parent.querySelector("h1").textContent = "API";
    parent.querySelector(".docs")?.remove();
    parent.append(h("div", { class: "docs" }, nav, this.content));
    addEventListener("hashchange", () => this.go());
    addEventListener("keydown", (event) => this.press(event));
    this.narrow = matchMedia("(max-width: 56rem)");
    this.list();
    this.go(true);
  }

  /** The operations that fit the search. */
  list() {
    const query = this.search.value;
    const found = this.document.search(query);
    const link = (operation) =>
      h(
        "li",
        null,
        h(
          "a",
          { href: `#${operation.id}`, title: operation.path, dataset: { id: operation.id } },
          h("span", { class: `method small ${operation.method.toLowerCase()}` }, operation.method),
          h("span", null, breakable(operation.path)),
        ),
      );
    const groups = this.document.groups.map(({ title, operations }) => [
      title,
      operations.filter((each) => found.includes(each)),
    ]);
    const lists = query.trim()
      ? [h("ul", null, found.map(link))]
      : groups
          .filter(([, operations]) => operations.length)
          .map(([title, operations]) => [h("h2", null, title), h("ul", null, operations.map(link))]);
    replace(this.groups, lists, found.length ? null : h("p", { class: "muted" }, "Nothing has all these words."));
    replace(this.count, query.trim() ? `${plural(found.length, "operation")} found` : "");
    if (query.trim()) this.menu.open = true;
    this.mark();
  }

  mark() {
    for (const link of this.groups.querySelectorAll("a")) {
      if (link.dataset.id === this.current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }

  /** To the operation of the address. */
  go(isFirst = false) {
    const [id, example] = location.hash.slice(1).split("/").map(decode);
    const operation = this.document.byId.get(id);
    this.left?.abort();
    this.left = new AbortController(); // for what is asked on this page of an operation
    this.current = operation?.id;
    this.mark();
    document.title = operation ? `${operation.method} ${operation.path} · Sluice API` : "Sluice API";
    if (this.narrow.matches) this.menu.open = !operation;
    if (!operation) {
      replace(this.content, this.overview(id));
      return;
    }
    const onExample = (name) => history.replaceState(null, "", `#${operation.id}/${encodeURIComponent(name)}`);
    const options = { example, cards: this.cards, onExample, left: this.left.signal };
    replace(this.content, showOperation(this.document, operation, options));
    if (isFirst) return;
    this.content.querySelector("h2").focus({ preventScroll: true });
    this.content.scrollIntoView({ block: "start" });
  }

  overview(asked) {
    const missing = asked ? h("p", { class: "note" }, `There is no operation “${asked}”.`) : null;
    const groups = this.document.groups.map(({ title, description, operations }) =>
      h(
        "section",
        { class: "docs-group" },
        h("h2", null, title),
        h("p", { class: "muted" }, description),
        h(
          "ul",
          { class: "docs-list" },
          operations.map((operation) =>
            h(
              "li",
              null,
              h(
                "a",
                { href: `#${operation.id}` },
                h("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method),
                h("code", null, breakable(operation.path)),
              ),
              h("span", { class: "muted" }, operation.summary),
            ),
          ),
        ),
      ),
    );
    return h(
      "div",
      null,
      missing,
      h("p", null, this.document.description),
      h(
        "p",
        { class: "muted" },
        `Version ${this.document.version}. For programs: `,
        h("a", { href: "docs.json" }, "docs.json"),
        " (OpenAPI 3.1).",
      ),
      groups,
    );
  }

  /** "/" searches, as on other pages of documentation. */
  press(event) {
    const isTyping = event.target.matches?.("input, textarea, select");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.search.focus();
    this.search.select();
  }

  /** Arrows go through the search and the operations; Enter in the search opens the first, Escape empties it. */
  move(event) {
    const stops = [this.search, ...this.groups.querySelectorAll("a")];
    const at = stops.indexOf(event.target);
    if (at < 0) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      stops[Math.max(0, Math.min(stops.length - 1, to))].focus();
    } else if (at === 0 && event.key === "Enter") stops[1]?.click();
    else if (at === 0 && event.key === "Escape") {
      this.search.value = "";
      this.list();
    }
  }
}

/** A part of an address that somebody typed may be no encoding. */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function open() {
  const main = document.querySelector("main");
  const wait = h("p", { class: "docs muted", role: "status" }, "Reading the description of the API…");
  main.append(wait);
  try {
    const { json } = await get("docs.json");
    const cards = await getModels().catch(() => []);
    new DocsPage(main, new ApiDocument(json), cards);
  } catch (error) {
    wait.remove();
    const wrong = h("div", { class: "docs" });
    main.append(wrong);
    showError(wrong, error);
  }
}

open();

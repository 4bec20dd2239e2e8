/** "Try it out": a form that sends an operation, its examples, and the command that does the same. */

import { fileInput, numberInput, select, textInput } from "../fields.js";
import { h, replace } from "../dom.js";
import { programsOf } from "../code.js";
import { codeBlock, showError } from "../result.js";
import { tabs } from "../tabs.js";
import { sendCall } from "./answer.js";
import { FORM_TYPE, JSON_TYPE, bodyKinds, isSent, makeCall, writeCurl } from "./call.js";
import { formatJson, parseJson } from "./json.js";
import { missingModel, modelChoice } from "./own_models.js";
import { shortType } from "./schema.js";

const STREAM = "text/event-stream";

/**
 * @param {import("./document.js").ApiDocument} document
 * @param {import("./document.js").Operation} operation
 * @param {{example?: string, cards: any[], onExample: (name: string) => void, left: AbortSignal}} options `cards` are of
 *   the models that this server has; empty where that is not known. `left`: another operation is shown
 * @returns {HTMLElement}
 */
export function makeTryout(document, operation, options) {
  return new Tryout(document, operation, options).element;
}

class Tryout {
  constructor(document, operation, { example, cards, onExample, left }) {
    Object.assign(this, { document, operation, cards, onExample, left });
    this.kinds = bodyKinds(operation);
    this.kind = this.kinds[0]?.kind ?? "none";
    this.files = [];
    this.fields = new Map();
    this.text = "";
    this.example = operation.examples.find(({ name }) => name === example) ?? operation.examples[0];
    this.accept = this.answers()[0]?.value ?? "*/*";
    this.answer = h("section", { class: "answer", "aria-label": "Answer", dataset: { state: "none" } });
    this.command = h("div", { class: "command" });
    this.parts = h("div", { class: "try-parts" });
    this.note = h("div");
    this.send = h("button", { type: "submit", class: "primary" }, "Send");
    this.stop = h("button", { type: "button", hidden: true, onclick: () => this.controller?.abort() }, "Stop");
    const form = h(
      "form",
      { onsubmit: (event) => this.submit(event), onkeydown: (event) => this.press(event), novalidate: true },
      this.parts,
      this.note,
      h("div", { class: "row" }, this.send, this.stop, h("small", { class: "muted" }, "Ctrl + Enter sends too")),
    );
    this.element = h(
      "section",
      { class: "try card", "aria-labelledby": "try" },
      h("h3", { id: "try" }, "Try it out"),
      form,
      this.answer,
      h("h4", null, "The same from a program"),
      this.command,
    );
    this.fill();
  }

  /** The forms of the answer that a caller can ask for. */
  answers() {
    const types = Object.entries(this.operation.answers).filter(
      ([type]) => type !== STREAM && !type.includes("octet-stream"),
    );
    const titles = { [JSON_TYPE]: "JSON", "image/png": "A picture", "audio/wav": "A sound" };
    return types.map(([type, { schema }]) => {
      const says = schema?.format === "binary" && schema.description ? `: ${schema.description}` : "";
      return { value: type, label: `${titles[type] ?? type}${says}` };
    });
  }

  /** The form for the kind of body and example that are chosen. */
  fill() {
    const { operation } = this;
    const examples = operation.examples.length && this.kind === "json" ? this.examples() : null;
    const parts = [
      examples,
      this.ownModels(),
      this.kindOfBody(),
      ...this.parameters(),
      this.body(),
      this.formOfAnswer(),
    ];
    replace(this.parts, ...parts.filter(Boolean));
    this.change();
  }

  examples() {
    const { examples } = this.operation;
    const buttons = examples.map((each) =>
      h(
        "button",
        {
          type: "button",
          class: "small",
          "aria-pressed": String(each === this.example),
          dataset: { example: each.name },
          onclick: () => this.choose(each),
        },
        each.title,
      ),
    );
    if (this.text === "") this.text = formatJson((this.example ??= examples[0]).value);
    return h(
      "div",
      { class: "field", role: "group", "aria-label": "Examples" },
      h("span", { class: "label" }, "Example"),
      h("div", { class: "row" }, buttons),
    );
  }

  choose(example) {
    this.example = example;
    this.text = formatJson(example.value);
    this.onExample(example.name);
    this.fill();
    this.parts.querySelector(`[data-example="${CSS.escape(example.name)}"]`)?.focus();
  }

  kindOfBody() {
    if (this.kinds.length < 2) return null;
    const options = this.kinds.map(({ kind, title }) => ({ value: kind, label: title }));
    return select(
      "Send",
      options,
      (kind) => {
        this.kind = kind;
        this.files = [];
        this.text = "";
        this.fill();
        this.parts.querySelector("select")?.focus();
      },
      this.kind,
    ).element;
  }

  parameters() {
    const isVersion = ({ name }) => name === "version";
    const shown = this.operation.parameters.filter((each) => isSent(each, this.kind));
    const more =
      this.operation.pathOfVersion && !shown.some(isVersion)
        ? [
            {
              name: "version",
              in: "path",
              required: false,
              description: "a number or an alias; empty: the one that serves",
              schema: { type: "string" },
            },
          ]
        : [];
    const required = [...shown.filter((each) => each.required), ...more];
    const optional = shown.filter((each) => !each.required);
    const options = optional.length
      ? h(
          "details",
          { class: "options", open: this.kind === "none" && optional.length < 4 },
          h("summary", null, `Options (${optional.length})`),
          this.grid(optional),
        )
      : null;
    return [required.length ? this.grid(required) : null, options];
  }

  grid(parameters) {
    return h(
      "div",
      { class: "field-grid" },
      parameters.map((each) => this.parameter(each)),
    );
  }

  parameter({ name, description, schema, example, required }) {
    const field = makeField(this.document, { name, description, schema, required }, () => this.change());
    const before = this.fields.get(name)?.value ?? (required ? example : undefined);
    if (before !== undefined && before !== null && before !== "") field.value = before;
    this.fields.set(name, field);
    field.field.dataset.parameter = name;
    return field.element;
  }

  body() {
    const { kind } = this;
    if (kind === "json" || kind === "text") {
      const label = kind === "json" ? "Body" : "Text";
      const lines = kind === "json" ? Math.min(18, Math.max(4, this.text.split("\n").length + 1)) : 4;
      const hint = kind === "json" && this.operation.group === "tasks" ? "Options are fields of the body." : undefined;
      const field = textInput({
        label,
        value: this.text,
        lines,
        hint,
        onInput: (text) => {
          this.text = text;
          this.change();
        },
      });
      field.field.classList.add("editor");
      field.field.spellcheck = false;
      return field.element;
    }
    if (kind !== "file" && kind !== "form") return null;
    const types = kind === "file" ? this.kinds.find((each) => each.kind === kind).types : this.fileTypes();
    const chosen = h("ul", { class: "files", "aria-live": "polite" });
    const show = () =>
      replace(
        chosen,
        this.files.map(({ name, size }) => h("li", null, `${name}, ${size.toLocaleString("en")} bytes`)),
      );
    const input = fileInput({
      ...{
        label: kind === "file" ? "Choose a file" : "Choose files",
        accept: types.join(","),
        multiple: kind === "form",
      },
      onFile: (file) => {
        this.files = kind === "file" ? [file] : [...this.files, file];
        show();
        this.change();
      },
    });
    show();
    return h("div", { class: "field" }, input.element, chosen);
  }

  fileTypes() {
    const encoding = this.operation.bodies[FORM_TYPE]?.encoding?.files?.contentType ?? "";
    return encoding
      .split(",")
      .map((type) => type.trim())
      .filter(Boolean);
  }

  formOfAnswer() {
    const answers = this.answers();
    if (answers.length < 2) return null;
    return select(
      "Answer as",
      answers,
      (accept) => {
        this.accept = accept;
        this.change();
      },
      this.accept,
    ).element;
  }

  draft() {
    const values = {};
    for (const [name, field] of this.fields) {
      if (field.value !== null) values[name] = String(field.value);
    }
    const { operation, kind, files, accept } = this;
    const isStream = (kind === "json" && parseJson(this.text).value?.stream === true) || values.stream === "true";
    return { operation, values, kind, text: this.text, files, accept: isStream ? STREAM : accept };
  }

  /** After each change: the command, and what is wrong with the form. */
  change() {
    const fault = this.fault();
    replace(this.note, fault ? h("p", { class: "note small" }, fault) : missingModel(this.cards, this.model()));
    this.showPrograms();
  }

  /** curl for every request, and the other languages for JSON. */
  showPrograms() {
    const draft = this.draft();
    const command = writeCurl(draft);
    const programs = [
      { name: "curl", code: command, shown: command.length > 1500 ? `${command.slice(0, 1200)}…` : command },
    ];
    const { value } = draft.kind === "json" ? parseJson(draft.text) : {};
    if (value && draft.operation.method === "POST") {
      const request = {
        route: makeCall(draft).route,
        body: value,
        accept: draft.accept === STREAM ? JSON_TYPE : draft.accept,
      };
      programs.push(...programsOf(request).slice(1));
    }
    const entries = programs.map(({ name, code, shown }, i) => ({
      title: name,
      show: (panel) => {
        this.language = i;
        panel.append(codeBlock(code, shown));
      },
    }));
    replace(this.command, tabs("Language", entries, Math.min(this.language ?? 0, entries.length - 1)).element);
  }

  fault() {
    if (this.kind === "json") {
      if (this.text.trim() === "" && !this.operation.needsBody) return "";
      return parseJson(this.text).fault ?? "";
    }
    if (this.kind === "file" && !this.files.length) return "Choose a file to send.";
    if (this.kind === "form" && !this.files.length) return "Choose one or more files to send.";
    return "";
  }

  /** The model that a request names, in its path or body. */
  model() {
    const isInPath = this.operation.parameters.some(({ name, in: place }) => name === "model" && place === "path");
    if (isInPath) return this.fields.get("model")?.value;
    return this.kind === "json" ? parseJson(this.text).value?.model : undefined;
  }

  /** The models of this server that do the task, each with an example of its own. */
  ownModels() {
    if (this.operation.group !== "tasks" || this.kind !== "json") return null;
    return modelChoice(this.cards, this.operation.id, this.model(), (body) => {
      this.example = this.operation.examples.find(({ value }) => value.model === body.model);
      this.text = formatJson(this.example?.value ?? body);
      this.fill();
      this.parts.querySelector("[data-choice=model]")?.focus();
    });
  }

  press(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.submit(event);
  }

  async submit(event) {
    event.preventDefault();
    const fault = this.fault();
    if (fault) {
      showError(this.answer, new Error(fault));
      return;
    }
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.stop.hidden = false;
    await sendCall(this.answer, makeCall(this.draft()), AbortSignal.any([controller.signal, this.left]));
    if (this.controller === controller) this.stop.hidden = true;
  }
}

/** A field for a parameter. It begins empty, so that the server's own default holds. */
function makeField(document, { name, description, schema, required }, onInput) {
  const choices = (schema.anyOf ?? [schema]).map((choice) => document.resolve(choice));
  const [only] = choices;
  const hint = [description, choices.length > 1 || !only.type ? shortType(document, schema) : ""]
    .filter(Boolean)
    .join("; ")
    .replaceAll("`", "");
  const label = required ? `${name} (required)` : name;
  const values = only.enum ?? (only.type === "boolean" ? [true, false] : null);
  if (choices.length === 1 && values) {
    const field = select(name, [{ value: "", label: "as the server does" }, ...values.map(String)], onInput);
    field.element.append(h("small", { class: "hint" }, hint));
    return field;
  }
  if (choices.length === 1 && (only.type === "integer" || only.type === "number")) {
    const limits = { min: only.minimum, max: only.maximum, step: only.type === "integer" ? 1 : "any" };
    return numberInput({ label, hint, ...limits, onInput });
  }
  return textInput({ label, hint, onInput });
}

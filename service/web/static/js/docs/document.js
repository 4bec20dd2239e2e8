/**
 * Reads the OpenAPI 3.1 document: operations in groups, with everything that they refer to.
 *
 * @typedef {object} Parameter
 * @property {string} name
 * @property {"path"|"query"|"header"} in
 * @property {boolean} required
 * @property {string} description
 * @property {any} schema
 * @property {any} [example]
 *
 * @typedef {object} Operation
 * @property {string} id
 * @property {string} method in capitals
 * @property {string} path such as "/v2/models/{model}/infer"
 * @property {string} [pathOfVersion] the same with a version in it
 * @property {string} group
 * @property {string} summary
 * @property {string} description
 * @property {Parameter[]} parameters
 * @property {Record<string, any>} bodies media type -> its schema and examples
 * @property {boolean} needsBody
 * @property {Record<string, any>} answers media type -> its schema, of status 200
 * @property {string} answer what the answer is
 * @property {Record<string, any>} headers of the answer
 * @property {{status: string, description: string}[]} errors
 * @property {{name: string, title: string, value: any}[]} examples
 * @property {string} text all words, for the search
 */

const VERSION = "/versions/{version}";
const JSON_TYPE = "application/json";
const GROUPS = {
  tasks: ["Tasks", "Pictures, texts, sounds, series and numbers in; labels, boxes, texts and numbers out."],
  protocol: [
    "Open Inference Protocol",
    "Tensors in and out, and what the server tells of its models. Triton's clients speak it.",
  ],
  kserve: ["Other protocols", "KServe's first protocol, its forecasts, and OpenAI's embeddings."],
  information: ["Health and metrics", "What probes, Prometheus and these pages read."],
  administration: [
    "Administration",
    "Loads and unloads models and changes logs and traces, where the settings allow it.",
  ],
};

export class ApiDocument {
  /** @param {any} json the document */
  constructor(json) {
    this.json = json;
    this.title = json.info.title;
    this.version = json.info.version;
    this.description = json.info.description;
    const all = Object.entries(json.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, raw]) => this.read(method.toUpperCase(), path, raw)),
    );
    const byCall = new Map(all.map((operation) => [`${operation.method} ${operation.path}`, operation]));
    const isVariant = ({ method, path }) =>
      path.includes(VERSION) && byCall.has(`${method} ${path.replace(VERSION, "")}`);
    /** @type {Map<string, Operation>} by id; those of a version lead to those without one */
    this.byId = new Map();
    for (const operation of all) {
      const main = isVariant(operation)
        ? byCall.get(`${operation.method} ${operation.path.replace(VERSION, "")}`)
        : operation;
      if (main !== operation) main.pathOfVersion = operation.path;
      this.byId.set(operation.id, main);
    }
    /** @type {Operation[]} */
    this.operations = all.filter((operation) => !isVariant(operation));
  }

  /** @returns {{name: string, title: string, description: string, operations: Operation[]}[]} none is empty */
  get groups() {
    const names = [...new Set([...Object.keys(GROUPS), ...this.operations.map(({ group }) => group)])];
    return names
      .map((name) => {
        const [title, description] = GROUPS[name] ?? [name, ""];
        return { name, title, description, operations: this.operations.filter(({ group }) => group === name) };
      })
      .filter(({ operations }) => operations.length);
  }

  /** What a value that may be a reference stands for. */
  resolve(value) {
    let found = value;
    for (let i = 0; found?.$ref && i < 20; i += 1) {
      found = found.$ref
        .slice(2)
        .split("/")
        .reduce((at, part) => at?.[decode(part)], this.json);
    }
    return found ?? {};
  }

  read(method, path, raw) {
    const bodies = this.resolve(raw.requestBody).content ?? {};
    const answer = this.resolve(raw.responses?.["200"]);
    const examples = Object.entries(bodies[JSON_TYPE]?.examples ?? {}).map(([name, example]) => {
      const { summary, value } = this.resolve(example);
      return { name, title: summary ?? name, value };
    });
    const errors = Object.entries(raw.responses ?? {})
      .filter(([status]) => status !== "200")
      .map(([status, response]) => ({ status, description: this.resolve(response).description ?? "" }));
    const operation = {
      ...{ id: raw.operationId, method, path, group: raw.tags?.[0] ?? "other" },
      ...{ summary: raw.summary ?? "", description: raw.description ?? "" },
      parameters: (raw.parameters ?? []).map((each) => this.readParameter(each)),
      ...{ bodies, needsBody: Boolean(this.resolve(raw.requestBody).required) },
      ...{ answers: answer.content ?? {}, answer: answer.description ?? "", headers: answer.headers ?? {} },
      ...{ errors, examples },
    };
    return { ...operation, text: this.words(operation) };
  }

  readParameter(raw) {
    const parameter = this.resolve(raw);
    const schema = parameter.schema ?? Object.values(parameter.content ?? {})[0]?.schema ?? {};
    return { required: false, description: "", ...parameter, schema };
  }

  words({ id, method, path, summary, description, parameters, bodies, examples }) {
    const fields = Object.values(bodies).flatMap(({ schema }) => Object.entries(this.resolve(schema).properties ?? {}));
    const parts = [
      ...[id, method, path, summary, description],
      ...parameters.flatMap((each) => [each.name, each.description]),
      ...fields.flatMap(([name, field]) => [name, field.description ?? ""]),
      ...examples.flatMap(({ title, value }) => [title, value?.model ?? ""]),
    ];
    return parts.join(" ").toLowerCase();
  }

  /**
   * The operations that have all words, those first that have them in their path or summary.
   * @param {string} query
   * @returns {Operation[]} all for an empty query
   */
  search(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const score = ({ path, summary, id }) => {
      const title = `${path} ${summary} ${id}`.toLowerCase();
      return words.filter((word) => title.includes(word)).length;
    };
    const found = this.operations.filter(({ text }) => words.every((word) => text.includes(word)));
    return words.length ? found.sort((a, b) => score(b) - score(a)) : found;
  }
}

function decode(part) {
  return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
}

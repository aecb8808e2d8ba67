/** The API of the gateway as a page: `openapi.json`, put in the order in which people look for things. */

import { fill, h } from "./dom.js";
import { parse } from "./exact_json.js";
import { Gateway, Proof, explained } from "./gateway.js";
import { section } from "./parts.js";
import { SignIn } from "./sign_in.js";
import { jsonView } from "./values.js";

const METHODS = ["get", "head", "post", "put", "patch", "delete"];
const JSON_TYPE = "application/json";

/** @typedef {any} Json what is described is known by the gateway, and a page that shows it need not know it better */

class Description {
  /** @param {Json} all the OpenAPI description */
  constructor(all) {
    this.all = all;
  }

  /** @returns {HTMLElement} */
  view() {
    const { info, paths, components } = this.all;
    return h(
      "div",
      { class: "view" },
      h("div", { class: "head" }, h("h1", {}, `${info.title} ${info.version}`)),
      h("p", { class: "facts" }, ...marked(info.description ?? "")),
      h("p", { class: "facts" }, "For programs: ", h("a", { href: "openapi.json" }, "openapi.json"), "."),
      ...Object.entries(paths).map(([path, item]) => this.#path(path, item)),
      section("Schemas", null, ...Object.entries(components.schemas).map(([name, one]) => schema(name, one))),
    );
  }

  /**
   * @param {string} path
   * @param {Json} item
   */
  #path(path, item) {
    const methods = METHODS.filter((method) => item[method]);
    const operations = methods.map((method) => this.#operation(method, path, item[method], item.parameters ?? []));
    return h("section", { class: "card", "aria-label": path }, h("h2", { class: "name" }, path), ...operations);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Json} operation
   * @param {Json[]} shared parameters of all methods of the path
   */
  #operation(method, path, operation, shared) {
    const parameters = [...shared, ...(operation.parameters ?? [])].map((one) => this.#resolved(one));
    const body = operation.requestBody ? this.#resolved(operation.requestBody) : null;
    const responses = Object.entries(operation.responses).map(([status, one]) => [status, this.#resolved(one)]);
    return h(
      "details",
      {},
      h("summary", {}, h("b", { class: `method ${method}` }, method.toUpperCase()), " ", operation.summary ?? ""),
      operation.description ? h("p", {}, ...marked(operation.description)) : null,
      h("pre", { class: "source", tabindex: 0, "aria-label": "Example" }, example(method, path, body)),
      parameters.length
        ? table(
            ["Parameter", "In", "Type", "Meaning"],
            parameters.map((one) => [
              h("code", {}, one.name, one.required ? " *" : ""),
              one.in,
              typed(one.schema ?? {}),
              h("span", { class: "message" }, ...marked(one.description ?? "")),
            ]),
          )
        : null,
      body ? table(["Body", "Schema"], contents(body)) : null,
      table(
        ["Status", "Meaning", "Body"],
        responses.map(([status, one]) => [
          status,
          h("span", { class: "message" }, ...marked(one.description ?? "")),
          h("span", {}, ...contents(one).flatMap(([kind, link]) => [kind, " ", link, " "])),
        ]),
      ),
    );
  }

  /**
   * Follow a reference, if it is one.
   * @param {Json} one
   * @returns {Json}
   */
  #resolved(one) {
    if (!one.$ref) return one;
    return one.$ref
      .split("/")
      .slice(1)
      .reduce((/** @type {Json} */ at, /** @type {string} */ part) => at[part], this.all);
  }
}

/**
 * Return a call by curl, to be filled in.
 * @param {string} method
 * @param {string} path
 * @param {Json | null} body
 */
function example(method, path, body) {
  const kind = body ? Object.keys(body.content)[0] : null;
  const data = kind === JSON_TYPE ? `-d '{}'` : "--data-binary @file";
  return [
    `curl -sS ${method === "get" ? "" : `-X ${method.toUpperCase()} `}"$GATEWAY${path}"`,
    '-H "X-API-Key: $PARQUEDB_API_KEY"',
    ...(kind ? [`-H 'Content-Type: ${kind}' ${data}`] : []),
  ].join(" \\\n  ");
}

/**
 * Return the kinds of body that something may have, with their schemas.
 * @param {Json} one a request body or a response
 * @returns {(string | HTMLElement)[][]}
 */
function contents({ content = {} }) {
  return Object.entries(content).map(([kind, /** @type {Json} */ told]) => [kind, typed(told.schema ?? {})]);
}

/**
 * Say in short what a schema allows.
 * @param {Json} told
 * @returns {HTMLElement}
 */
function typed(told) {
  if (told.$ref) {
    const name = told.$ref.split("/").at(-1);
    return h("a", { href: `#schema-${name}` }, name);
  }
  const bounds = [told.minimum ?? told.minLength, told.maximum ?? told.maxLength];
  const range = bounds.some((one) => one !== undefined) ? ` ${bounds[0] ?? ""}…${bounds[1] ?? ""}` : "";
  const kind = told.enum ? told.enum.join(" | ") : [told.type ?? "any"].flat().join(" | ");
  return h("span", {}, kind, range);
}

/**
 * @param {string} name
 * @param {Json} told
 */
function schema(name, told) {
  const view = jsonView(parse(JSON.stringify(told)));
  return h("details", { id: `schema-${name}` }, h("summary", {}, h("b", {}, name)), view);
}

/**
 * @param {string[]} heads
 * @param {(Node | string)[][]} rows
 */
function table(heads, rows) {
  const head = h("tr", {}, ...heads.map((one) => h("th", { scope: "col" }, one)));
  const body = rows.map((row) => h("tr", {}, ...row.map((one) => h("td", {}, one))));
  return h("div", { class: "wide" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
}

/**
 * Return a text whose parts between backticks are code.
 * @param {string} text
 */
function marked(text) {
  return text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

/** Open what the address names: a link to a schema leads into what is folded. */
function unfold() {
  const found = location.hash.startsWith("#schema-") ? document.getElementById(location.hash.slice(1)) : null;
  found?.setAttribute("open", "");
  found?.scrollIntoView();
}

async function show() {
  try {
    fill(main, new Description(JSON.parse(await gateway.ask("openapi.json"))).view());
    unfold();
  } catch (error) {
    fill(main, h("p", { class: "note bad", role: "alert" }, explained(error)));
  }
}

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const proof = new Proof();
const gateway = new Gateway(proof);
const signIn = new SignIn((given) => {
  proof.set(given);
  void show();
});
document.body.append(signIn.element);
gateway.onUnknown = (refusal) => {
  const isFirst = proof.get() === null;
  proof.set(null);
  signIn.ask(isFirst ? null : explained(refusal));
};
addEventListener("hashchange", unfold);
void show();

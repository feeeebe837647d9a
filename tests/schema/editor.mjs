// The policy's schema by ajv, which compiles it in strict mode, and in an editor: every policy of the
// tests is opened in yaml-language-server over standard input and output, without a network.
//
// Both must accept what `reapctl check` accepts and refuse what it refuses, but for what no schema
// can; and the editor must name a key that is misspelt. The argument is where npm installed them.

import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const require = createRequire(path.join(path.resolve(process.argv[2]), "node_modules/"));
const Ajv = require("ajv").default;
const addFormats = require("ajv-formats").default;
const rpc = require("vscode-jsonrpc/node");
const yaml = require("yaml");

const read = (name) => readFileSync(path.join(root, name), "utf8");
const files = (folder, end) =>
  readdirSync(path.join(root, folder))
    .filter((it) => it.endsWith(end))
    .map((it) => `${folder}/${it}`);

const schema = JSON.parse(read("policies/policy.schema.json"));
const onlyTheReader = new Set(
  read("tests/schema/only-the-reader.txt")
    .split("\n")
    .filter((it) => it && !it.startsWith("#"))
    .map((it) => it.replace(/ \[.*\]$/, "")),
);
const valid = [...files("policies", ".yaml"), ...files("reapctl/tests/corpus", ".policy.yaml")].map(
  (name) => ({ name, text: read(name), isValid: true }),
);
const invalid = read("reapctl/tests/it/diagnostics.txt")
  .split("=== ")
  .slice(1)
  .map((section) => {
    const end = section.indexOf("\n");
    const [text] = section.slice(end + 1).split("--- reapctl check\n");
    return { name: section.slice(0, end), text, isValid: false };
  });
// What an editor says of these.
const said = {
  "a misspelt condition": "Property target_tag is not allowed.",
  "a misspelt key of a rule": "Property requires is not allowed.",
  "a misspelt requirement": "Property max_agee is not allowed.",
  "an access type that is not known": 'Value is not accepted. Valid values: "Standard", "JustInTime".',
};
const failures = [];

// What a policy says, or nothing if it is no YAML.
const parse = (text) => {
  try {
    const document = yaml.parseDocument(text);
    return document.errors.length + document.warnings.length ? undefined : document.toJS();
  } catch {
    return undefined;
  }
};

const ajv = addFormats(new Ajv({ strictTypes: true, allowUnionTypes: true }));
const validate = ajv.compile(schema);
for (const { name, text, isValid } of [...valid, ...invalid]) {
  const policy = parse(text);
  const isRefused = policy !== undefined && !validate(policy);
  if (isValid ? isRefused : !isRefused && !onlyTheReader.has(name)) {
    failures.push(`ajv: ${name}: ${isRefused ? ajv.errorsText(validate.errors) : "not refused"}`);
  }
}

// In an editor.
const server = spawn(process.execPath, [require.resolve("yaml-language-server/bin/yaml-language-server"), "--stdio"]);
server.stderr.pipe(process.stderr);
const connection = rpc.createMessageConnection(
  new rpc.StreamMessageReader(server.stdout),
  new rpc.StreamMessageWriter(server.stdin),
);
const settings = {
  yaml: {
    validate: true,
    schemaStore: { enable: false },
    schemas: { [pathToFileURL(path.join(root, "policies/policy.schema.json"))]: ["*.yaml"] },
  },
};
connection.onRequest("workspace/configuration", ({ items }) => items.map((it) => settings[it.section] ?? null));
connection.onRequest("client/registerCapability", () => null);
const published = new Map();
let done;
const all = new Promise((resolve) => (done = resolve));
const cases = [...valid, ...invalid].map((it, at) => ({
  ...it,
  // In the folder of the schema, which the first line of a policy names.
  uri: pathToFileURL(path.join(root, `policies/case-${at}.yaml`)).href,
}));
connection.onNotification("textDocument/publishDiagnostics", ({ uri, diagnostics }) => {
  published.set(uri, diagnostics);
  if (published.size === cases.length) done();
});
connection.listen();
const folder = { uri: pathToFileURL(root).href, name: "policies" };
await connection.sendRequest("initialize", {
  processId: process.pid,
  rootUri: folder.uri,
  workspaceFolders: [folder],
  capabilities: { workspace: { configuration: true, workspaceFolders: true } },
});
await connection.sendNotification("initialized", {});
await connection.sendNotification("workspace/didChangeConfiguration", { settings });
for (const { uri, text } of cases) {
  await connection.sendNotification("textDocument/didOpen", {
    textDocument: { uri, languageId: "yaml", version: 1, text },
  });
}
const late = setTimeout(() => {
  const missing = cases.filter((it) => !published.has(it.uri)).map((it) => it.name);
  console.error(`the editor says nothing of ${missing.join(", ")}`);
  process.exit(1);
}, 60_000);
await all;
clearTimeout(late);
for (const { name, uri, isValid } of cases) {
  const messages = published.get(uri).map((it) => it.message);
  if (isValid && messages.length) failures.push(`editor: ${name}: ${messages.join("; ")}`);
  if (!isValid && !messages.length && !onlyTheReader.has(name)) failures.push(`editor: ${name}: no message`);
  if (said[name] && !messages.some((it) => it.startsWith(said[name]))) {
    failures.push(`editor: ${name}: ${messages.join("; ")}`);
  }
}
console.log(`${valid.length} policies validate in ajv and in an editor, ${invalid.length} are refused as they must be`);
if (failures.length) console.error(failures.join("\n"));
process.exit(failures.length ? 1 : 0);

// Holds custom resources, a JSON list on standard input, against the schemas of their operators.
// The first argument is the folder of the packages; prints a JSON list of [object, problem].
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const packages = {
  "monitoring.coreos.com": "prometheus-operator",
  "external-secrets.io": "external-secrets",
  "keda.sh": "keda",
  "gateway.networking.k8s.io": "gateway-api",
  "argoproj.io": "argo-rollouts",
};
const problems = [];
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const [group, version] = object.apiVersion.split("/");
  const parts = ["@kubernetes-models", packages[group], group, version, `${object.kind}.js`];
  try {
    const models = await import(pathToFileURL(join(process.argv[2], ...parts)));
    new models[object.kind](object).validate();
  } catch (error) {
    problems.push([`${object.kind} ${object.metadata.name}`, error.message]);
  }
}
console.log(JSON.stringify(problems));

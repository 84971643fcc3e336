// Calls a service with a client whose types are made of its document: `node client.js URL PICTURE`.
// That tsc takes it is half of the test: `result.code` tells a result from a refusal.
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, picture, collection_name] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url });
const image_content = readFileSync(picture).toString("base64");
const names = { product_id: "p1", image_id: "i1" };

function handled<Answer>(answer: { data?: Answer; error?: unknown }): Answer {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const refused = handled(
  await client.POST("/v1/product_search", { body: { collection_name, image_content } }),
).result;
if (refused.code === 0) throw new Error("found in a collection that is not there");
const refusal: components["schemas"]["ProductSearchRefusal"]["code"] = refused.code;

const created = handled(
  await client.POST("/v1/create_product", {
    body: {
      collection_name,
      product_list: [{ product_id: "p1", product_name: "One", category: "其他" }],
    },
  }),
).result;
if (created.code !== 0) throw new Error(created.message);

const added = handled(
  await client.POST("/v1/add_image", {
    body: { collection_name, image_list: [{ ...names, image_content }] },
  }),
).result;
if (added.code !== 0) throw new Error(added.message);

const task_id: string = added.task_id;
let status: components["schemas"]["TaskStatusResult"];
do {
  const asked = handled(await client.POST("/v1/task_status", { body: { task_id } })).result;
  if (asked.code !== 0) throw new Error(asked.message);
  status = asked;
  await new Promise((resolve) => setTimeout(resolve, 200));
} while (status.task_status === "PROCESSING");

const found = handled(
  await client.POST("/v1/product_search", { body: { collection_name, image_content } }),
).result;
if (found.code !== 0) throw new Error(found.message);

const listed = handled(await client.POST("/v1/list_collections", { body: {} })).result;
if (listed.code !== 0) throw new Error(listed.message);

const kept = handled(
  await client.GET("/v1/picture", {
    params: { query: { collection_name, ...names } },
    parseAs: "arrayBuffer",
  }),
);

const missing = await client.GET("/v1/picture", {
  params: { query: { collection_name, ...names, image_id: "i2" } },
});

console.log(
  JSON.stringify({
    refusal,
    created: created.successful_list,
    succeeded: status.succeeded_list,
    found: found.images.map((image) => image.product_id),
    listed: listed.collection_list.some((one) => one.collection_name === collection_name),
    picture: kept.byteLength,
    missing: missing.error?.code,
    ready: handled(await client.GET("/readyz")).status,
  }),
);

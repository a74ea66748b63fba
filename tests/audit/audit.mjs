// Runs every audit against the URL it is given, one after the other; prints what came of them.
import { serverAudits } from "graphql-http";

const [url] = process.argv.slice(2);
const results = [];
for (const audit of serverAudits({ url, fetchFn: fetch })) {
  results.push(await resultOf(audit));
}
console.log(JSON.stringify(results));

async function resultOf({ id, name, fn }) {
  try {
    const { status, reason = "", response } = await fn();
    return { id, name, status, reason, answer: response ? await shown(response) : "" };
  } catch (error) {
    const cause = error.cause ? `: ${error.cause}` : "";
    return { id, name, status: "crashed", reason: `${error}${cause}`, answer: "" };
  }
}

async function shown(response) {
  const body = response.bodyUsed ? "" : (await response.text()).slice(0, 300);
  return `${response.status} ${response.headers.get("content-type")} ${body}`;
}

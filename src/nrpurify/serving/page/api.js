// The server's API: requests with the token, errors as sentences, events of a running attack.

const KEY = "nrpurify-token";

export function setToken(token) {
  sessionStorage.setItem(KEY, token);
}

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/** A refusal, with the server's own sentence. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function checked(answer) {
  if (answer.ok) return answer;
  let detail = `the server answered ${answer.status}`;
  try {
    detail = (await answer.json()).detail ?? detail;
  } catch {
    // not the server's own answer, such as a proxy's page
  }
  throw new Refused(answer.status, detail);
}

async function post(path, photo, accept, signal) {
  const body = new FormData();
  body.append("image", photo);
  return checked(await fetch(path, { method: "POST", body, signal, headers: headers({ Accept: accept }) }));
}

export async function models() {
  return (await checked(await fetch("v1/models", { headers: headers() }))).json();
}

export async function purify(photo, purifier, signal) {
  const query = new URLSearchParams({ purifier });
  return (await post(`v1/purify?${query}`, photo, "application/json", signal)).json();
}

export async function predict(photo, victim, purifier, signal) {
  const query = new URLSearchParams({ victim, purifier });
  return (await post(`v1/predict?${query}`, photo, "application/json", signal)).json();
}

/** Attack a photograph; `progress` gets each event, the promise the result. */
export async function attack(photo, query, progress, signal) {
  const answer = await post(`v1/attack?${query}`, photo, "text/event-stream", signal);
  for await (const [kind, values] of events(answer.body)) {
    if (kind === "result") return values;
    if (kind === "problem") throw new Refused(values.status, values.detail);
    progress(values);
  }
  throw new Refused(0, "the server ended the attack without a result; try again");
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const found = /^event: (\w+)\ndata: (.*)$/.exec(block);
      if (found) yield [found[1], JSON.parse(found[2])];
    }
  }
}
